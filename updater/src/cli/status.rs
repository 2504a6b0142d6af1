//! `status`: what runs, what both slots hold, what happened last.

use super::Image;
use super::text::{harmless, moment, table};
use crate::channel::status as channel;
use crate::error::Result;
use crate::executor::{Executor, version_text};
use crate::report::{Object, Report, Style, hex, short};
use coracle_format::version::Version;
use coracle_slots::words::LastWords;
use coracle_slots::{NotARecord, Record, Slot, SlotState};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Kernel lines that a person is shown.
const LINES: usize = 12;

/// Whether `state` is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatePartition {
    /// It is mounted.
    Mounted,
    /// It is not.
    Missing,
}

impl StatePartition {
    /// Whether `/state` is another file system than the root.
    pub(super) fn look() -> Self {
        let device = |path: &str| std::fs::metadata(Path::new(path)).ok().map(|found| found.dev());
        match (device("/state"), device("/")) {
            (Some(state), root) if root != Some(state) => Self::Mounted,
            (_, _) => Self::Missing,
        }
    }
}

/// Everything that is shown.
struct View<'a> {
    image: &'a Image,
    record: Record,
    unreadable: Option<[NotARecord; 2]>,
    running: Slot,
    versions: [String; 2],
    words: Option<LastWords>,
    state: StatePartition,
    channel: Option<channel::Status>,
}

/// Shows it.
pub(super) fn show(
    executor: &Executor,
    image: &Image,
    state: StatePartition,
    report: &mut Report<'_>,
) -> Result<()> {
    let (record, unreadable) = executor.inspect()?;
    let version = |slot: Slot| version_text(executor.descriptor(slot).as_ref(), &record, slot);
    let versions = Slot::ALL.map(version);
    // A disk that cannot be read here could not be read above either.
    let words = executor.words()?;
    let running = executor.running();
    let channel = image.update.channel.as_ref().map(|configured| {
        channel::Status::load(Path::new(channel::PATH)).unwrap_or_else(|| channel::Status {
            channel: configured.name.clone(),
            place: configured.url.clone(),
            state: "not-looked".to_owned(),
            why: "nobody has looked since the machine was started".to_owned(),
            ..channel::Status::default()
        })
    });
    let view = View { image, record, unreadable, running, versions, words, state, channel };
    match report.style() {
        Style::Human => report.data(&view.text()),
        Style::Json => report.data(&view.object().line()),
    }
}

impl View<'_> {
    fn text(&self) -> String {
        let config = &self.image.config;
        let mut out = format!(
            "{} {} runs from slot {}{}\n\n",
            config.image_name,
            config.image_version,
            self.running,
            if self.is_on_trial() { ", on trial" } else { "" }
        );
        let mut slots = vec![["slot", "state", "version", "release"].map(str::to_owned)];
        slots.extend(Slot::ALL.map(|slot| self.slot_row(slot)));
        out += &table(&slots);
        out.push('\n');
        out += &table(&self.facts());
        if let Some(words) = &self.words {
            out.push('\n');
            out += &words_text(words);
        }
        out
    }

    fn slot_row(&self, slot: Slot) -> [String; 4] {
        let (state, release) = (self.record.state(slot), self.record.release(slot));
        let running = if slot == self.running { " (runs)" } else { "" };
        let version = harmless(&self.versions[slot.index()]);
        let release = Some(short(&release)).filter(|_| release != [0; 32]);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let version = Some(version).filter(|version| !version.is_empty());
        [format!("{slot}{running}"), state.to_string(), or_dash(version), or_dash(release)]
    }

    fn facts(&self) -> Vec<[String; 2]> {
        let record = &self.record;
        let choice = record.choose(&[]);
        let floors = record.floors();
        let mut rows = vec![
            ("record", self.record_text()),
            ("next boot", format!("slot {} ({})", choice.slot, choice.reason)),
            (
                "hold",
                if record.hold() { "rolled back by hand: coracle-update retry releases it" } else { "no" }
                    .to_owned(),
            ),
            (
                "floors",
                format!(
                    "version {}, epoch {}, root {}, released {}",
                    Version::from_u64(floors.version),
                    floors.epoch,
                    floors.root_version,
                    moment(floors.released)
                ),
            ),
        ];
        if record.misses() > 0 {
            let broken = if record.selector_is_broken() { "broken: it " } else { "" };
            let text = format!("{broken}has passed over the armed release {} times", record.misses());
            rows.push(("selector", text));
        }
        if let Some(channel) = &self.channel {
            rows.extend(channel_rows(channel));
        }
        for (release, verdict) in record.all_blocked() {
            rows.push(("failed", format!("release {} ({verdict})", short(&release))));
        }
        if self.state == StatePartition::Missing {
            rows.push(("state", "not mounted: an interrupted update would start over".to_owned()));
        }
        rows.into_iter().map(|(name, text)| [name.to_owned(), text]).collect()
    }

    fn record_text(&self) -> String {
        match self.unreadable {
            None => "ok".to_owned(),
            Some([first, second]) => {
                format!("UNREADABLE ({first}; {second}): this is what the slots themselves say")
            }
        }
    }

    fn is_on_trial(&self) -> bool {
        matches!(self.record.state(self.running), SlotState::Trial { .. })
    }

    fn object(&self) -> Object {
        let (config, record) = (&self.image.config, &self.record);
        let (choice, floors) = (record.choose(&[]), record.floors());
        let faults: Vec<String> = self.unreadable.iter().flatten().map(NotARecord::to_string).collect();
        let blocked = record.all_blocked().map(|(release, verdict)| {
            Object::part().text("release", &hex(&release)).text("verdict", &verdict.to_string())
        });
        let floors = Object::part()
            .text("version", &Version::from_u64(floors.version).to_string())
            .number("epoch", floors.epoch.into())
            .number("root_version", floors.root_version.into())
            .number("released", floors.released);
        Object::event("status")
            .text("image", &config.image_name)
            .text("version", &config.image_version)
            .text("running", &self.running.to_string())
            .flag("on_trial", self.is_on_trial())
            .text("record", if self.unreadable.is_none() { "ok" } else { "unreadable" })
            .texts("record_faults", &faults)
            .objects("slots", Slot::ALL.map(|slot| self.slot_object(slot)))
            .text("next_slot", &choice.slot.to_string())
            .text("next_reason", &choice.reason.to_string())
            .flag("hold", record.hold())
            .number("misses", record.misses().into())
            .flag("selector_broken", record.selector_is_broken())
            .object("floors", Some(floors))
            .objects("failed", blocked)
            .object("last_words", self.words.as_ref().map(words_object))
            .flag("state_mounted", self.state == StatePartition::Mounted)
            .object("channel", self.channel.as_ref().map(channel_object))
    }

    fn slot_object(&self, slot: Slot) -> Object {
        let (state, release) = (self.record.state(slot), self.record.release(slot));
        let (word, starts, verdict) = match state {
            SlotState::Empty => ("empty", None, None),
            SlotState::Written => ("written", None, None),
            SlotState::Trial { starts } => ("trial", Some(u64::from(starts)), None),
            SlotState::Good => ("good", None, None),
            SlotState::Failed(verdict) => ("failed", None, Some(verdict.to_string())),
            SlotState::Damaged => ("damaged", None, None),
        };
        Object::part()
            .text("slot", &slot.to_string())
            .text("state", word)
            .maybe_number("starts", starts)
            .maybe_text("verdict", verdict.as_deref())
            .text("version", &self.versions[slot.index()])
            .text("release", &hex(&release))
    }
}

/// What the last look at the channel came to.
fn channel_rows(channel: &channel::Status) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("channel", format!("{} of {}", harmless(&channel.channel), harmless(&channel.place))),
        ("offers", format!("{}: {}", harmless(&channel.state), harmless(&channel.why))),
    ];
    if channel.opens > 0 {
        rows.push(("goes on", moment(channel.opens)));
    }
    if channel.looked > 0 {
        let signed = if channel.issued > 0 { moment(channel.issued) } else { "-".to_owned() };
        rows.push(("last look", format!("{}, signed {signed}", moment(channel.looked))));
    }
    rows
}

fn channel_object(channel: &channel::Status) -> Object {
    Object::part()
        .text("name", &channel.channel)
        .text("place", &channel.place)
        .text("state", &channel.state)
        .text("version", &channel.version)
        .text("why", &channel.why)
        .number("opens", channel.opens)
        .number("looked", channel.looked)
        .number("issued", channel.issued)
}

fn words_text(words: &LastWords) -> String {
    let mut out = format!("last words of release {} in slot {}\n", short(&words.release), words.slot);
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { harmless(text) };
    let after = if words.boot_ms == 0 { "-".to_owned() } else { format!("{} ms", words.boot_ms) };
    let rows = [
        ("verdict", words.verdict.to_string()),
        ("stage", or_dash(words.stage.as_str())),
        ("reason", or_dash(words.reason.as_str())),
        ("after", after),
    ];
    out += &table(&rows.map(|(name, text)| [name.to_owned(), text]));
    let log = String::from_utf8_lossy(words.log());
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        out.extend(["  | ", &harmless(line), "\n"]);
    }
    out
}

fn words_object(words: &LastWords) -> Object {
    Object::part()
        .text("release", &hex(&words.release))
        .text("slot", &words.slot.to_string())
        .text("verdict", &words.verdict.to_string())
        .text("stage", words.stage.as_str())
        .text("reason", words.reason.as_str())
        .number("boot_ms", words.boot_ms)
        .text("log", &String::from_utf8_lossy(words.log()))
}

#[cfg(test)]
mod tests;
