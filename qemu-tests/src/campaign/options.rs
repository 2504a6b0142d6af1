//! What is asked for.

use super::recording::Name;
use crate::{powercut::Mode, scratch};
use anyhow::Result;
use clap::{Args, ValueEnum};
use coracle::machine::Firmware;
use coracle_format::slot::Arch;
use std::path::PathBuf;

/// How the machines start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// UEFI firmware runs the selector from the disk.
    Uefi,
    /// The host plays the selector with its code: a model of a boot loader.
    Direct,
}

impl Backend {
    /// As the machines know it.
    pub const fn firmware(self) -> Firmware {
        match self {
            Self::Uefi => Firmware::Uefi,
            Self::Direct => Firmware::Direct,
        }
    }

    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Uefi => "uefi",
            Self::Direct => "direct",
        }
    }
}

/// A campaign of power cuts.
#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("cuts").required(true))]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Options {
    /// How the machines start.
    #[arg(long)]
    pub backend: Backend,
    /// Their architecture.
    #[arg(long, default_value = "x86_64", value_parser = parse_arch)]
    pub arch: Arch,
    /// Cut at every flush behind which the disk is another one outside `state`.
    #[arg(long, group = "cuts")]
    pub every_flush: bool,
    /// Make this many cuts per recording at random points, with random losses.
    #[arg(long, value_name = "N", group = "cuts")]
    pub random: Option<u64>,
    /// What the random cuts are made of.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
    /// Bytes that the disk writes whole or not at all.
    #[arg(long, value_name = "BYTES", default_value = "512", value_parser = parse_atomic)]
    pub atomic: u64,
    /// How many machines run at the same time.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: u8,
    /// Make only so many of the cuts, evenly spread.
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// Make only the cuts of these numbers.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    pub only: Vec<u64>,
    /// Make cuts in this recording only.
    #[arg(long)]
    pub recording: Option<Name>,
    /// Take the recordings that an earlier run has left, instead of making new ones.
    #[arg(long)]
    pub again: bool,
    /// Update by deltas alone, both in the recording and after each cut.
    #[arg(long)]
    pub delta: bool,
    /// Do not update after each cut.
    #[arg(long)]
    pub no_update: bool,
    /// Write what came of it to this file, as Markdown, with a picture beside it.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Write one line of JSON per cut to standard output.
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// A campaign of random cuts.
    pub const fn random(backend: Backend, arch: Arch, count: u64, seed: u64) -> Self {
        Self {
            backend,
            arch,
            every_flush: false,
            random: Some(count),
            seed,
            atomic: 512,
            jobs: 2,
            sample: None,
            only: Vec::new(),
            recording: None,
            again: false,
            delta: false,
            no_update: false,
            report: None,
            json: false,
        }
    }

    /// Where recordings, disks and logs are.
    pub fn dir(&self) -> Result<PathBuf> {
        let by = if self.delta { "-delta" } else { "" };
        scratch(&format!("power-cut-{}-{}{by}", self.backend.word(), self.arch.name()))
    }

    /// Which cuts.
    pub fn mode(&self) -> Mode {
        match self.random {
            Some(count) => Mode::Random { count, seed: self.seed, atomic: self.atomic },
            None => Mode::EveryFlush,
        }
    }

    /// Which recordings.
    pub(super) fn recordings(&self) -> Vec<Name> {
        self.recording.map_or_else(|| vec![Name::FirstBoot, Name::Update], |name| vec![name])
    }

    /// The words that make one cut again, from the same recording.
    pub(super) fn reproduce(&self, recording: Name, number: u64) -> String {
        let (backend, arch) = (self.backend.word(), self.arch.name());
        let cuts = match self.random {
            Some(count) => format!("--random {count} --seed {} --atomic {}", self.seed, self.atomic),
            None => "--every-flush".to_owned(),
        };
        let by = if self.delta { " --delta" } else { "" };
        format!(
            "cargo run -p coracle-qemu-tests -- power-cut --backend {backend} --arch {arch} {cuts}{by} \
             --recording {} --again --only {number}",
            recording.word()
        )
    }
}

fn parse_arch(text: &str) -> Result<Arch, String> {
    let known = [Arch::X86_64, Arch::Aarch64].into_iter().find(|arch| arch.name() == text);
    known.ok_or_else(|| "x86_64 or aarch64".to_owned())
}

fn parse_atomic(text: &str) -> Result<u64, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err("512 or 4096".to_owned()),
    }
}
