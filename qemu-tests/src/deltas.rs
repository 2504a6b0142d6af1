//! How large updates are: the project's deltas against what general tools make of the same releases, in one run.
//!
//! ```text
//! plan       which releases, and what is expected of each pair
//! recipe     how a release is built; modules, with all modules of a kernel
//! contents   a built release taken apart into files
//! tools      general tools: programs that make differences, and chunks
//! byhand     the best of them for each file
//! ours       the project's own
//! goal       what must be, what is wanted
//! report, plot
//! ```

mod byhand;
mod contents;
mod goal;
mod measure;
mod modules;
mod ours;
mod plan;
mod plot;
mod recipe;
mod report;
#[cfg(test)]
mod tests;
mod tools;

pub use report::Summary;

use anyhow::{Context as _, Result};
use std::{collections::BTreeMap, fs, path::PathBuf};

/// Measure how large updates are: ours, and what general tools make of the same releases.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// Only this pair, or all of this kind; may be repeated
    #[arg(long = "pair", value_name = "NAME")]
    pub pairs: Vec<String>,
    /// Print one object per pair on standard output
    #[arg(long)]
    pub json: bool,
    /// Write the table (deltas.md) and a picture (deltas.svg) to this directory
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Leave our own deltas out
    #[arg(long)]
    pub without_ours: bool,
    /// Measure nothing: show what `--json` told before, in files of one object a line; may be repeated
    #[arg(long = "from", value_name = "FILE", conflicts_with_all = ["pairs", "without_ours"])]
    pub from: Vec<PathBuf>,
    /// Say which pairs there are, and measure none
    #[arg(long)]
    pub list: bool,
}

/// The `[kernel]` of a manifest that has the kernel 6.12.y.
pub fn kernel(y: u32) -> String {
    recipe::pinned(y)
}

/// The same with all its modules.
pub fn kernel_with_all_modules(y: u32) -> Result<String> {
    recipe::all_modules(&crate::context()?, y)
}

/// Measures the pairs, one after the other; `tell` gets the object of each as soon as it is known.
pub fn run(options: &Options, mut tell: impl FnMut(&serde_json::Value) -> Result<()>) -> Result<Summary> {
    if !options.from.is_empty() {
        return told(&options.from);
    }
    let ctx = crate::context()?;
    let pairs = plan::chosen(&options.pairs)?;
    let program = (!options.without_ours).then(|| ours::Program::build(&ctx)).transpose()?;
    let (mut rows, known) = (Vec::new(), byhand::Known::default());
    for (number, pair) in pairs.iter().enumerate() {
        ctx.report.info(format!("pair {} of {}: {}", number + 1, pairs.len(), pair.name));
        let outcome = measure::measure(&ctx, pair, program.as_ref(), &known);
        if let Err(error) = &outcome {
            ctx.report.warn(format!("{}: {error:#}", pair.name));
        }
        let row = report::Row::new(pair, outcome);
        tell(&row.json())?;
        rows.push(row);
    }
    Ok(Summary::new(rows))
}

/// What was measured before, in the order of the pairs; of one that was measured again the last counts.
fn told(files: &[PathBuf]) -> Result<Summary> {
    let (pairs, mut rows) = (plan::pairs(), BTreeMap::new());
    for path in files {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in (1..).zip(text.lines()) {
            let row = serde_json::from_str(line)
                .map_err(anyhow::Error::from)
                .and_then(|object| report::Row::told(&pairs, &object));
            let row = row.with_context(|| format!("cannot read line {number} of {}", path.display()))?;
            rows.insert(pairs.iter().position(|pair| pair.name == row.name), row);
        }
    }
    Ok(Summary::new(rows.into_values().collect()))
}

/// The names of all pairs, a line each.
pub fn names() -> String {
    plan::pairs().into_iter().map(|pair| pair.name + "\n").collect()
}
