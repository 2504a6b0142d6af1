//! `coracle delta`.

use super::args::{Delta, DeltaAction};
use crate::{
    context::Context,
    delta::{self, Opened, Written},
    digest::Digest,
    error::Result,
    files,
    keys::{self, refused},
    show::{self, Format},
};
use coracle_format::delta::{Method, Operation};
use coracle_trust::verify_bundle;
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
    written.tell(&ctx.report);
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
                "kernel": written.kernel.map(|kernel| {
                    json!({"memory_mib": kernel.memory_mib, "whole_bytes": kernel.whole_bytes})
                }),
                "overhead_bytes": written.explanation.overhead, "pieces": pieces,
            });
            super::print(&format!("{value}\n"))
        }
    }
}

/// Shows a delta; nothing vouches for what it says.
pub(super) fn inspect(path: &Path, format: Format) -> Result<()> {
    show(path, &Opened::open(path)?, None, format)
}

/// Checks who vouches for what a delta leads to. What it makes can be checked only with the release that it starts from.
pub(super) fn verify((path, root): (&Path, &[u8]), format: Format) -> Result<()> {
    let opened = Opened::open(path)?;
    let refuse = |why| refused(format!("{} is not to be believed", path.display()), why);
    let verified = verify_bundle(root, &opened.metadata, Some(keys::now()), 0).map_err(refuse)?;
    verified.index(&opened.index_bytes).map_err(refuse)?;
    show(path, &opened, Some(verified.root_version), format)
}

fn show(path: &Path, opened: &Opened, root_version: Option<u32>, format: Format) -> Result<()> {
    let index = &opened.index;
    let [from, to] = [opened.header.base, index.boot.sha256].map(Digest);
    let rows: Vec<Vec<String>> = opened.table.operations().iter().map(row).collect();
    let plain = index.root.bytes.saturating_add(index.boot.bytes);
    let text = match format {
        Format::Json => {
            let value = json!({
                "v": show::SCHEMA, "event": "delta", "name": index.name.as_str(),
                "version": index.version.as_str(), "arch": index.arch.name(),
                "from": from.to_string(), "to": to.to_string(),
                "delta_bytes": opened.header.total(), "unpacked_bytes": plain,
                "operations": rows.len(), "root_version": root_version,
            });
            format!("{value}\n")
        }
        Format::Human => {
            let trust = root_version.map_or_else(
                || "not checked: `coracle verify` does".to_owned(),
                |version| {
                    format!("accepted, root version {version}; the rest is checked while it is applied")
                },
            );
            let header = ["frames", "method", "carries", "old bytes", "files", "memory to compress"];
            let facts = [
                (
                    "image",
                    format!("{} {} ({})", index.name.as_str(), index.version.as_str(), index.arch.name()),
                ),
                ("delta", show::bytes(opened.header.total())),
                ("makes", show::bytes(plain)),
                ("from", from.to_string()),
                ("to", to.to_string()),
                ("trust", trust),
            ];
            let facts = facts.iter().map(|(name, value)| format!("{name:<10} {value}\n"));
            let begin = format!("{}\n\n{}\n", path.display(), show::table(&header, &rows));
            std::iter::once(begin).chain(facts).collect()
        }
    };
    super::print(&text)
}

fn row(operation: &Operation) -> Vec<String> {
    let method = match operation.method {
        Method::Frames => "frames",
        Method::Copy(_) => "copy",
        Method::Files(_) => "files",
    };
    let last = operation.first.saturating_add(operation.frames).saturating_sub(1);
    let memory = match operation.encoder_mib() {
        0 => String::new(),
        mib => format!("{mib} MiB"),
    };
    vec![
        format!("{}-{last}", operation.first),
        method.to_owned(),
        show::bytes(operation.stream),
        show::bytes(operation.sources().map(|extent| extent.bytes).sum()),
        operation.files().len().to_string(),
        memory,
    ]
}

fn summary(written: &Written) -> String {
    let tenths = written.bytes.saturating_mul(1000) / written.full_bytes.max(1);
    let [bytes, full] = [written.bytes, written.full_bytes].map(show::bytes);
    format!("{bytes} instead of {full}, {}.{} %", tenths / 10, tenths % 10)
}
