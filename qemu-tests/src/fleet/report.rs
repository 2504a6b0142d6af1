//! What happened, as numbers.

use super::{
    claims, plan,
    simulation::{Log, Told},
};
use coracle_format::version::Version;

/// The tables, as Markdown.
pub(super) fn tables(log: &Log) -> String {
    let machines = log.machines.len();
    let hours = (plan::END - plan::START) / plan::HOUR;
    let mut out = format!(
        "{machines} machines, {hours} hours of virtual time, {} looks at the channel, one every {} hours.\n",
        log.looks,
        super::device::POLL / plan::HOUR,
    );
    out += &heading(&["", "median", "99 %", "most"]);
    out += &row("requests per machine and day", log, |machine| per_day(machine.requests));
    out += &row("metadata per machine and day, bytes", log, |machine| per_day(machine.metadata));
    out += &row("body of a look that finds nothing new, bytes", log, |machine| {
        machine.idle.map_or(0, |(_, most)| most)
    });
    out += &row("transfers of a bundle in all", log, |machine| machine.bundles);
    out += &heading(&["Time", &format!("run {}", plan::SECOND), &format!("run {}", plan::THIRD)]);
    for (at, what) in moments() {
        let (second, third) = (running(log, at, plan::SECOND), running(log, at, plan::THIRD));
        out += &line(&[&format!("{}, {what}", claims::hours(at)), &second.to_string(), &third.to_string()]);
    }
    let back = log.armed.iter().filter(|armed| armed.to == plan::THIRD && !armed.stayed).count();
    let left = log.armed.iter().filter(|armed| armed.from == plan::THIRD).count();
    let bad = format!(
        "Of the bad release, {back} machines rolled back by themselves; {left} left it when it was withdrawn."
    );
    out + "\n" + &bad + "\n"
}

/// The head of a table: the first column is text, the others are numbers.
fn heading(names: &[&str]) -> String {
    format!("\n{}|---|{}\n", line(names), "---:|".repeat(names.len() - 1))
}

fn line(cells: &[&str]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn moments() -> Vec<(u64, String)> {
    let mut moments: Vec<_> = plan::second_waves()
        .iter()
        .map(|wave| (wave.start, format!("wave of {} % begins", wave.share / 100)))
        .collect();
    moments.extend([
        (plan::PAUSED, "paused".to_owned()),
        (plan::RESUMED, "resumed".to_owned()),
        (plan::THIRD_PUBLISHED + 2 * plan::HOUR, "first wave of the bad release".to_owned()),
        (plan::WITHDRAWN, "it is withdrawn".to_owned()),
        (plan::END, "end".to_owned()),
    ]);
    moments.sort();
    moments
}

/// How many machines run a release just before that time.
pub(super) fn running(log: &Log, at: u64, version: Version) -> usize {
    let mut counts = vec![plan::FIRST; log.machines.len()];
    for armed in log.armed.iter().filter(|armed| armed.at < at && armed.stayed) {
        if let Some(runs) = counts.get_mut(armed.machine) {
            *runs = armed.to;
        }
    }
    counts.iter().filter(|runs| **runs == version).count()
}

const fn per_day(figure: u64) -> u64 {
    figure * plan::DAY / (plan::END - plan::START)
}

fn row(name: &str, log: &Log, figure: impl Fn(&Told) -> u64) -> String {
    let mut figures: Vec<u64> = log.machines.iter().map(figure).collect();
    figures.sort_unstable();
    let at = |percent: usize| {
        let last = figures.len().saturating_sub(1);
        figures.get(last * percent / 100).copied().unwrap_or(0).to_string()
    };
    line(&[name, &at(50), &at(99), &at(100)])
}
