//! What the last look at the channel came to: a file of `key=value` lines for people, for `status`, and for the schedule.

use coracle_block::read_limited;
use std::io::{self, Write as _};
use std::path::Path;

/// Where it is.
pub const PATH: &str = "/run/coracle/status/channel";
/// Bytes that are read of it.
const BYTES_MAX: usize = 16 << 10;
/// Characters of a value at most.
const VALUE_CHARS_MAX: usize = 500;

/// How a look came out, and what the machine does about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Where it looked.
    pub place: String,
    /// The channel's name.
    pub channel: String,
    /// The clock at the look, seconds since 1970, believed or not.
    pub looked: u64,
    /// A word for what the machine does: `up-to-date`, `waiting`, `paused`, `held`, `nothing`, `staged`, `armed`,
    /// `failed`.
    pub state: String,
    /// The release that this is about; empty if none.
    pub version: String,
    /// Why, in words.
    pub why: String,
    /// When it goes on, seconds since 1970; 0 if that is not known.
    pub opens: u64,
    /// When the channel was signed last, seconds since 1970.
    pub issued: u64,
    /// When it was first seen in this state, milliseconds since the kernel started.
    pub issued_ms: u64,
    /// When a look is to come earlier than usual, milliseconds since the kernel started; 0: as usual.
    pub again_ms: u64,
}

impl Status {
    /// The file's contents.
    pub fn text(&self) -> String {
        let texts = [
            ("place", &self.place),
            ("channel", &self.channel),
            ("state", &self.state),
            ("version", &self.version),
            ("why", &self.why),
        ];
        let numbers = [
            ("looked", self.looked),
            ("opens", self.opens),
            ("issued", self.issued),
            ("issued_ms", self.issued_ms),
            ("again_ms", self.again_ms),
        ];
        let texts = texts.map(|(key, value)| format!("{key}={}\n", one_line(value)));
        let numbers = numbers.map(|(key, value)| format!("{key}={value}\n"));
        texts.concat() + &numbers.concat()
    }

    /// The status in a file's contents; what is not there or not understood is empty.
    pub fn parse(text: &str) -> Self {
        let mut this = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            let number = || value.parse().unwrap_or(0);
            match key {
                "place" => value.clone_into(&mut this.place),
                "channel" => value.clone_into(&mut this.channel),
                "state" => value.clone_into(&mut this.state),
                "version" => value.clone_into(&mut this.version),
                "why" => value.clone_into(&mut this.why),
                "looked" => this.looked = number(),
                "opens" => this.opens = number(),
                "issued" => this.issued = number(),
                "issued_ms" => this.issued_ms = number(),
                "again_ms" => this.again_ms = number(),
                _ => {}
            }
        }
        this
    }

    /// The status of the last look since the machine was started, if there was one.
    pub fn load(path: &Path) -> Option<Self> {
        let bytes = read_limited(path, BYTES_MAX).ok()?;
        Some(Self::parse(&String::from_utf8_lossy(&bytes)))
    }

    /// Replaces the file as a whole. It is in memory: nothing is synced.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let temporary = path.with_extension("new");
        std::fs::File::create(&temporary)?.write_all(self.text().as_bytes())?;
        std::fs::rename(&temporary, path)
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(VALUE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_file_and_no_value_forges_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("status/channel");
        assert_eq!(Status::load(&path), None);
        let status = Status {
            place: "https://updates.example/shop".to_owned(),
            channel: "stable".to_owned(),
            state: "failed".to_owned(),
            why: "it said\nagain_ms=1".to_owned(),
            again_ms: 7,
            ..Status::default()
        };
        status.save(&path).unwrap();
        let found = Status::load(&path).unwrap();
        assert_eq!(found, Status { why: "it said again_ms=1".to_owned(), ..status });
    }
}
