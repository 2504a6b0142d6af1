//! `coracle inspect`.

use super::args;
use crate::{
    error::{Error, Kind, Result},
    inspection::{Inspection, SlotContents, inspect},
    show::{Format, bytes, table},
};
use std::fmt::Write as _;

pub(super) fn run(args: &args::Inspect, format: Format) -> Result<()> {
    let image = if args.image.is_dir() { args.image.join("disk.raw") } else { args.image.clone() };
    match super::verify::kind(&image)? {
        super::verify::File::Bundle => return super::verify::inspect(&image, format),
        super::verify::File::Delta => return super::delta::inspect(&image, format),
        super::verify::File::Other => {}
    }
    let inspection = inspect(&image)?;
    let text = match format {
        Format::Json => serde_json::to_string(&inspection)
            .map(|line| line + "\n")
            .map_err(|source| Error::new(Kind::Internal, "cannot write JSON").because(source))?,
        Format::Human => human(&inspection),
    };
    super::print(&text)
}

fn human(inspection: &Inspection) -> String {
    let rows: Vec<Vec<String>> = inspection
        .partitions
        .iter()
        .map(|partition| {
            vec![
                partition.number.to_string(),
                partition.role.to_owned(),
                partition.format.to_owned(),
                mebibytes(partition.offset),
                mebibytes(partition.bytes),
            ]
        })
        .collect();
    let mut out = table(&["number", "role", "format", "offset", "size"], &rows);
    let record = &inspection.record;
    let sequence = record.sequence.map_or_else(|| "none".to_owned(), |number| number.to_string());
    put(
        &mut out,
        format_args!(
            "\nslot record: sequence {sequence}, A {}, B {}, last good {}\n",
            record.a, record.b, record.last_good
        ),
    );
    for slot in &inspection.slots {
        describe(&mut out, slot);
    }
    out
}

fn describe(out: &mut String, slot: &SlotContents) {
    put(out, format_args!("\nslot {}: {} {} ({})\n", slot.slot, slot.name, slot.version, slot.arch));
    for (name, value) in [
        ("kernel", slot.kernel.clone()),
        ("release", slot.release.clone()),
        ("root hash", slot.root_hash.clone()),
        ("command line", slot.command_line.clone()),
        (
            "boot artefact",
            format!(
                "{} (kernel {}, initramfs {})",
                bytes(slot.boot_bytes),
                bytes(slot.kernel_bytes),
                bytes(slot.initramfs_bytes)
            ),
        ),
        (
            "root",
            format!("{}, {} files, hash tree {}", bytes(slot.root_bytes), slot.files, bytes(slot.tree_bytes)),
        ),
    ] {
        put(out, format_args!("  {name:<14} {value}\n"));
    }
    let rows: Vec<_> = slot.largest.iter().map(|(path, size)| vec![bytes(*size), path.clone()]).collect();
    put(out, format_args!("\n{}", table(&["size", "largest files"], &rows)));
    let rows: Vec<Vec<String>> =
        slot.packages.iter().map(|line| line.split(' ').map(str::to_owned).collect()).collect();
    put(out, format_args!("\n{}", table(&["for", "package", "version", "arch"], &rows)));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

fn mebibytes(count: u64) -> String {
    format!("{} MiB", count >> 20)
}
