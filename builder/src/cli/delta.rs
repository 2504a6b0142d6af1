//! `coracle delta`.

use super::args::{Delta, DeltaAction};
use crate::{
    context::Context,
    delta::{self, Written},
    error::Result,
    files,
    show::{self, Format},
};
use serde_json::json;
use std::path::Path;

pub(super) fn run(ctx: &Context, args: &Delta, format: Format) -> Result<()> {
    if let Some(DeltaAction::Apply { delta, old, new }) = &args.action {
        let written = delta::apply(ctx, delta, old, new)?;
        let lines: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        return super::say(format, "release", &(lines.join("\n") + "\n"));
    }
    // The command line has been checked: all three are there.
    let [old, new, out] = [&args.old, &args.new, &args.out].map(|path| path.clone().unwrap_or_default());
    let written = delta::make(ctx, (&old, &new), &out)?;
    written.notes.iter().for_each(|note| ctx.report.warn(note));
    if let Some(picture) = args.explain.iter().flatten().next() {
        let title = format!("{}: {}", out.display(), summary(&written));
        files::replace(picture, written.explanation.svg(&title).as_bytes())?;
        ctx.report.info(picture.display().to_string());
    }
    tell(ctx, (&out, &written), args.explain.is_some(), format)
}

fn tell(ctx: &Context, (out, written): (&Path, &Written), explain: bool, format: Format) -> Result<()> {
    match format {
        Format::Human => {
            ctx.report.info(format!("{}  ({})", out.display(), summary(written)));
            if explain { super::print(&written.explanation.table()) } else { Ok(()) }
        }
        Format::Json => {
            let pieces: Vec<_> = written
                .explanation
                .rows
                .iter()
                .filter(|_| explain)
                .map(|row| json!({"name": row.name, "bytes": row.bytes, "cost": row.cost, "how": row.how}))
                .collect();
            let [frames, copies, files] = written.operations;
            let value = json!({
                "v": show::SCHEMA, "event": "delta", "file": out.display().to_string(),
                "from": written.from.to_string(), "to": written.to.to_string(),
                "delta_bytes": written.bytes, "full_bytes": written.full_bytes,
                "sha256": written.sha256.to_string(),
                "operations": {"frames": frames, "copy": copies, "files": files},
                "overhead_bytes": written.explanation.overhead, "pieces": pieces,
            });
            super::print(&format!("{value}\n"))
        }
    }
}

fn summary(written: &Written) -> String {
    let tenths = written.bytes.saturating_mul(1000) / written.full_bytes.max(1);
    let [bytes, full] = [written.bytes, written.full_bytes].map(show::bytes);
    format!("{bytes} instead of {full}, {}.{} %", tenths / 10, tenths % 10)
}
