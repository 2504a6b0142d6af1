//! `history`: what happened to both slots.

use super::text::{harmless, moment, table};
use crate::error::Result;
use crate::executor::Executor;
use crate::report::{Object, Report, Style, hex, short};
use coracle_slots::history::Entry;

/// Shows every entry, oldest first.
pub(super) fn show(executor: &Executor, report: &mut Report<'_>) -> Result<()> {
    let entries = executor.history()?;
    match report.style() {
        Style::Human if entries.is_empty() => report.data("nothing has happened to the slots yet\n"),
        Style::Human => {
            let rows: Vec<[String; 6]> = entries.iter().map(row).collect();
            report.data(&table(&rows))
        }
        Style::Json => entries.iter().try_for_each(|entry| report.data(&object(entry).line())),
    }
}

fn row(entry: &Entry) -> [String; 6] {
    let verdict = entry.verdict.map(|verdict| verdict.to_string());
    let detail = Some(harmless(entry.detail.as_str())).filter(|detail| !detail.is_empty());
    let version = harmless(entry.version.as_str());
    let why: Vec<String> = verdict.into_iter().chain(detail).collect();
    [
        moment(entry.at),
        format!("slot {}", entry.slot),
        entry.event.to_string(),
        if version.is_empty() { "-".to_owned() } else { version },
        short(&entry.release),
        why.join(": "),
    ]
}

fn object(entry: &Entry) -> Object {
    Object::event("history")
        .number("sequence", entry.sequence)
        .number("at", entry.at)
        .text("what", &entry.event.to_string())
        .text("slot", &entry.slot.to_string())
        .text("version", entry.version.as_str())
        .text("release", &hex(&entry.release))
        .maybe_text("verdict", entry.verdict.map(|verdict| verdict.to_string()).as_deref())
        .text("detail", entry.detail.as_str())
}
