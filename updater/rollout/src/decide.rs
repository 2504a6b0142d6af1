//! Which release a machine takes, and when.

#[cfg(test)]
mod tests;

use crate::{
    document::{Offered, Rollout, State},
    place::MachineId,
};
use coracle_format::{slot::Arch, version::Version};
use coracle_trust::{Release, Vouched};

/// What matters about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// What it is told apart by.
    pub id: MachineId,
    /// The channel it follows.
    pub channel: String,
    /// `[image] name` of the running release.
    pub image: String,
    /// Architecture.
    pub arch: Arch,
    /// Version of the running release.
    pub running: Version,
    /// The running release: SHA-256 of its boot artefact.
    pub release: [u8; 32],
    /// Whether it was rolled back by hand and waits for a word.
    pub held: bool,
    /// Floor of versions: an older release needs an exception.
    pub version_floor: Version,
    /// Floor of security epochs.
    pub epoch_floor: u32,
    /// Releases that have failed here.
    pub blocked: Vec<[u8; 32]>,
    /// The releases that the signed targets vouch for. What is not among them is not taken.
    pub vouched: Vec<Vouched>,
}

/// What the machine knows of time, seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The newest date that somebody has signed. Waves open by it and by nothing else.
    pub signed: u64,
    /// Seconds that have passed since that date was received.
    pub since: u64,
    /// The clock, if it is set.
    pub clock: Option<u64>,
    /// Whether waves count.
    pub waves: Waves,
}

/// Whether waves count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waves {
    /// They do.
    Observed,
    /// Somebody has asked for the update, on this machine: it does not wait.
    Ignored,
}

/// What the machine does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing newer is in the channel.
    UpToDate,
    /// Nothing: it was rolled back by hand.
    Held,
    /// It will take this release, later.
    Waiting {
        /// The release.
        version: Version,
        /// When, if that is known. A signed date must have reached it.
        opens: Option<u64>,
        /// What for.
        why: Wait,
    },
    /// It takes this release.
    Take {
        /// The release.
        version: Version,
        /// Its bundle among the targets.
        target: String,
    },
    /// What it runs is withdrawn: it goes to this release.
    Leave {
        /// The release.
        version: Version,
        /// Its bundle among the targets.
        target: String,
    },
    /// It would take this release, which is paused.
    Paused {
        /// The release.
        version: Version,
    },
    /// Nothing, though there is a reason to ask why.
    Nothing {
        /// Why.
        why: Reason,
    },
}

/// What a machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// Its wave.
    Wave,
    /// That a wave is added which it is in.
    FurtherWave,
}

/// Why a machine takes nothing, though it is not up to date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The document is of another channel, image or architecture.
    OtherImage,
    /// What it runs is withdrawn, and nothing is named instead.
    RunsWithdrawn(Version),
    /// The signed targets do not name this release.
    NotVouched(Version),
    /// This release has failed here.
    Blocked(Version),
    /// This release is of a lower security epoch than this machine has reached.
    LowerEpoch(Version),
    /// This release is older than one that has run here.
    Older(Version),
    /// This release can be installed over newer versions only.
    NeedsStep {
        /// The release.
        version: Version,
        /// The lowest version that it may be installed over.
        minimum: Version,
    },
}

impl Times {
    /// What expiry is measured against: the clock if it is set, but never less than what was signed.
    pub fn now(&self) -> Option<u64> {
        self.clock.map(|clock| clock.max(self.reckoned()))
    }

    /// What windows are measured against: the clock if it is set; else, or if the clock is behind what was signed, the
    /// signed date and what has passed since.
    pub fn windows(&self) -> u64 {
        self.clock.unwrap_or(0).max(self.reckoned())
    }

    const fn reckoned(&self) -> u64 {
        self.signed.saturating_add(self.since)
    }
}

/// What a release is to a machine, the best first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Take,
    Waiting { opens: Option<u64>, why: Wait },
    Paused,
    Not(Reason),
}

/// Which release of the channel the machine takes now: the newest that is active, open to it, vouched for, and fit to be
/// installed over what runs. A machine that runs a withdrawn release also has the one that is named instead to go to,
/// without waiting for a wave.
pub fn decide(rollout: &Rollout, machine: &Machine, times: &Times) -> Decision {
    let ours = (&machine.channel, &machine.image, machine.arch);
    if (&rollout.channel, &rollout.image, rollout.arch) != ours {
        return Decision::Nothing { why: Reason::OtherImage };
    }
    if machine.held {
        return Decision::Held;
    }
    let withdrawn =
        rollout.releases.iter().find(|release| is_running(release, machine)).map(|release| release.state);
    let instead = match withdrawn {
        Some(State::Withdrawn { instead }) => instead.and_then(|version| rollout.release(version)),
        Some(State::Active | State::Paused) | None => None,
    };
    let instead_verdict = instead.map(|release| (release, judge(release, machine, times, Waves::Ignored)));
    let newer: Vec<_> = rollout
        .releases
        .iter()
        .rev()
        .filter(|release| {
            release.version > machine.running && !matches!(release.state, State::Withdrawn { .. })
        })
        .map(|release| (release, judge(release, machine, times, times.waves)))
        .collect();
    let take = newer.iter().find(|(_, verdict)| *verdict == Verdict::Take).map(|(release, _)| *release);
    let leave = instead_verdict.filter(|(_, verdict)| *verdict == Verdict::Take).map(|(release, _)| release);
    match (take, leave) {
        (Some(take), Some(leave)) if take.version > leave.version => to_take(take),
        (_, Some(leave)) => Decision::Leave { version: leave.version, target: leave.target.clone() },
        (Some(take), None) => to_take(take),
        (None, None) => {
            let stays = matches!(withdrawn, Some(State::Withdrawn { .. }));
            let others: Vec<_> = newer.into_iter().chain(instead_verdict).collect();
            explain(&others).unwrap_or(if stays {
                Decision::Nothing { why: Reason::RunsWithdrawn(machine.running) }
            } else {
                Decision::UpToDate
            })
        }
    }
}

fn to_take(release: &Offered) -> Decision {
    Decision::Take { version: release.version, target: release.target.clone() }
}

/// What to say of releases of which none is taken: the first that comes by itself, else the first that is paused, else why
/// the first is not for this machine.
fn explain(verdicts: &[(&Offered, Verdict)]) -> Option<Decision> {
    let waiting = verdicts.iter().find_map(|(release, verdict)| match *verdict {
        Verdict::Waiting { opens, why } => Some(Decision::Waiting { version: release.version, opens, why }),
        Verdict::Take | Verdict::Paused | Verdict::Not(_) => None,
    });
    let paused = || {
        let paused = verdicts.iter().find(|(_, verdict)| *verdict == Verdict::Paused);
        paused.map(|(release, _)| Decision::Paused { version: release.version })
    };
    let not = || {
        verdicts.iter().find_map(|(_, verdict)| match *verdict {
            Verdict::Not(why) => Some(Decision::Nothing { why }),
            Verdict::Take | Verdict::Waiting { .. } | Verdict::Paused => None,
        })
    };
    waiting.or_else(paused).or_else(not)
}

/// Whether this is what the machine runs: the release itself if the targets say which one that is, else the version.
fn is_running(release: &Offered, machine: &Machine) -> bool {
    let same_version = release.version == machine.running;
    vouched(release, machine).map_or(same_version, |vouched| same_version && vouched.id == machine.release)
}

/// What the targets say about the bundle that the channel names: it must be of this image, and of this very version.
fn vouched<'a>(release: &Offered, machine: &'a Machine) -> Option<&'a Vouched> {
    machine.vouched.iter().find(|vouched| {
        let Release { name, arch, version, .. } = &vouched.release;
        (name, *arch, *version) == (&machine.image, machine.arch, release.version)
            && vouched.path() == release.target
    })
}

/// What a release that is not withdrawn is to the machine.
fn judge(release: &Offered, machine: &Machine, times: &Times, waves: Waves) -> Verdict {
    if let Some(reason) = unfit(release, machine) {
        return Verdict::Not(reason);
    }
    // Before the waves: what is paused has no time at which it comes.
    match release.state {
        State::Active => {}
        State::Paused | State::Withdrawn { .. } => return Verdict::Paused,
    }
    if waves == Waves::Ignored || release.waves.is_empty() {
        return Verdict::Take;
    }
    let place = release.seed.place(machine.id);
    match release.waves.iter().find(|wave| place < wave.share).map(|wave| wave.start) {
        Some(start) if start <= times.signed => Verdict::Take,
        opens @ Some(_) => Verdict::Waiting { opens, why: Wait::Wave },
        None => Verdict::Waiting { opens: None, why: Wait::FurtherWave },
    }
}

/// Why a release cannot be installed over what the machine runs, whatever the time.
fn unfit(release: &Offered, machine: &Machine) -> Option<Reason> {
    let version = release.version;
    let Some(vouched) = vouched(release, machine) else {
        return Some(Reason::NotVouched(version));
    };
    if machine.blocked.contains(&vouched.id) {
        return Some(Reason::Blocked(version));
    }
    if vouched.release.epoch < machine.epoch_floor {
        return Some(Reason::LowerEpoch(version));
    }
    let bar = machine.running.max(machine.version_floor);
    if version < bar && vouched.release.replaces.is_none_or(|newest| newest < bar) {
        return Some(Reason::Older(version));
    }
    let minimum = release.minimum.filter(|minimum| machine.running < *minimum)?;
    Some(Reason::NeedsStep { version, minimum })
}
