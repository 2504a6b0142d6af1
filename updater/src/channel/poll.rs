//! A look and what follows from it: the release that is offered goes to the spare slot, and is armed when the machine may
//! restart for it.

use super::look::{Offered, Seen, Viewer};
use super::repository::Repository;
use super::status::Status;
use super::store::Store;
use crate::engine::Ask;
use crate::error::{Error, Kind, Result};
use crate::executor::{Observer, Settings, Supply, Vouching};
use crate::gate::now_ms;
use crate::source::Source;
use coracle_format::version::Version;
use coracle_rollout::windows::{Opening, Windows};
use coracle_rollout::{Decision, Reason, Times, Wait, Waves};
use coracle_slots::SlotState;
use std::cell::RefCell;

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is to be done now.
    Nothing,
    /// The release is in the spare slot, and waits for a window.
    Staged {
        /// Seconds until the window opens.
        opens: u64,
        /// Seconds that it lasts.
        lasts: u64,
    },
    /// The release is armed: the machine is to be restarted.
    Armed,
}

/// What a poll needs beside what a look needs.
pub struct Poll<'a> {
    /// The look.
    pub viewer: Viewer<'a>,
    /// How an update is written.
    pub settings: Settings<'a>,
    /// When the machine may restart.
    pub windows: &'a Windows,
    /// Whether windows count.
    pub heed: Heed,
}

/// Whether windows count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heed {
    /// They do.
    Windows,
    /// Somebody has asked for the update, here and now.
    Nothing,
}

impl std::fmt::Debug for Poll<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("viewer", &self.viewer).finish_non_exhaustive()
    }
}

impl Poll<'_> {
    /// Looks, and does what follows. What it came to is in `status` too, as far as it came.
    pub fn run(
        &self,
        repository: &mut dyn Repository,
        store: &mut Store,
        observer: &mut dyn Observer,
        status: &mut Status,
    ) -> Result<Outcome> {
        let seen = self.viewer.look(repository, store)?;
        if let Some(why) = store.broken() {
            observer.note(&format!("{why}: what the channel says is not kept"));
        }
        let begun = now_ms();
        if status.issued != seen.issued {
            (status.issued, status.issued_ms) = (seen.issued, begun);
        }
        tell(&seen.decision, status);
        let Some(offer) = &seen.offer else {
            return Ok(Outcome::Nothing);
        };
        if let Some(slot) = self.viewer.executor.record()?.on_trial() {
            "armed".clone_into(&mut status.state);
            status.why = format!("slot {slot} waits for its trial, or is in it");
            return Ok(Outcome::Nothing);
        }
        let mut sources = Sources::of(repository, offer)?;
        let issued_ms = status.issued_ms;
        let now = || self.time_for_windows(seen.signed, begun, issued_ms);
        let closed = || self.closed(now());
        if closed().is_some() && !self.is_staged(offer)? {
            let never = || Ok(Ok(()));
            let settings = Settings { vouching: Vouching::Channel(&offer.verified, &never), ..self.settings };
            self.viewer.executor.update(Ask::Stage, sources.supply(), &settings, observer)?;
        }
        // Writing the slot has taken its time: what was closed may be open.
        if closed().is_none() && self.arm(offer, (repository, store), (sources, observer), &closed)? {
            "armed".clone_into(&mut status.state);
            "the next boot is its trial".clone_into(&mut status.why);
            return Ok(Outcome::Armed);
        }
        let (opens, lasts) = closed().unwrap_or_else(|| (now(), 1));
        "staged".clone_into(&mut status.state);
        status.opens = opens;
        "it is in the spare slot and waits for a window".clone_into(&mut status.why);
        Ok(Outcome::Staged { opens: opens.saturating_sub(now()), lasts })
    }

    /// When the next window opens, and how long it lasts, if it is in none and windows count.
    fn closed(&self, now: u64) -> Option<(u64, u64)> {
        match (self.heed, self.windows.at(now)) {
            (Heed::Windows, Opening::Closed { opens, lasts }) => Some((opens, lasts)),
            (Heed::Windows, Opening::Open) | (Heed::Nothing, _) => None,
        }
    }

    /// Now, as windows have it: by the clock as it was when the look began, or by the signed date and when that was first
    /// seen.
    fn time_for_windows(&self, signed: u64, begun_ms: u64, issued_ms: u64) -> u64 {
        let since = |ms: u64| now_ms().saturating_sub(ms) / 1000;
        let clock = self.viewer.clock.map(|clock| clock.saturating_add(since(begun_ms)));
        Times { signed, since: since(issued_ms), clock, waves: self.viewer.waves }.windows()
    }

    /// Whether the record says that the release is in the spare slot.
    fn is_staged(&self, offer: &Offered) -> Result<bool> {
        let executor = self.viewer.executor;
        let (record, spare) = (executor.record()?, executor.running().other());
        Ok(record.state(spare) == SlotState::Written && record.release(spare) == offer.release)
    }

    /// Writes it, unless the slot holds it already: then that is compared with what was signed. Arms it if it is still
    /// offered at that moment; `false` if the window has closed before.
    fn arm(
        &self,
        offer: &Offered,
        (repository, store): (&mut dyn Repository, &mut Store),
        (mut sources, observer): (Sources, &mut dyn Observer),
        closed: &dyn Fn() -> Option<(u64, u64)>,
    ) -> Result<bool> {
        let asked = RefCell::new((repository, store));
        let recheck = || {
            if closed().is_some() {
                return Ok(Err("its window has closed".to_owned()));
            }
            let mut asked = asked.borrow_mut();
            let (repository, store) = &mut *asked;
            let seen = self.viewer.look(&mut **repository, store)?;
            Ok(still_offered(&seen, offer))
        };
        let settings = Settings { vouching: Vouching::Channel(&offer.verified, &recheck), ..self.settings };
        match self.viewer.executor.update(Ask::Apply, sources.supply(), &settings, observer) {
            Ok(_) => Ok(true),
            Err(_) if closed().is_some() && self.is_staged(offer)? => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where the bytes of an offer are.
struct Sources {
    delta: Option<Box<dyn Source>>,
    bundle: Box<dyn Source>,
}

impl Sources {
    /// A delta that is signed and not there, as on a stick that has only bundles, is done without.
    fn of(repository: &mut dyn Repository, offer: &Offered) -> Result<Self> {
        let delta = offer.delta.as_ref().and_then(|(file, bytes)| repository.bundle(file, *bytes).ok());
        Ok(Self { delta, bundle: repository.bundle(&offer.file, offer.bytes)? })
    }

    fn supply(&mut self) -> Supply<'_> {
        match &mut self.delta {
            Some(delta) => Supply { main: &mut **delta, full: Some(&mut *self.bundle) },
            None => Supply::of(&mut *self.bundle),
        }
    }
}

/// Whether a later look offers the same release; if not, what it says.
pub fn still_offered(seen: &Seen, offer: &Offered) -> Result<(), String> {
    match &seen.offer {
        Some(now) if now.release == offer.release => Ok(()),
        Some(now) => Err(format!("release {} is offered instead", now.verified.release.version)),
        None => Err(sentence(&seen.decision)),
    }
}

/// Puts a decision into a status.
pub fn tell(decision: &Decision, status: &mut Status) {
    let (state, version, opens) = match decision {
        Decision::UpToDate => ("up-to-date", None, None),
        Decision::Held => ("held", None, None),
        Decision::Waiting { version, opens, .. } => ("waiting", Some(*version), *opens),
        Decision::Paused { version } => ("paused", Some(*version), None),
        Decision::Take { version, .. } | Decision::Leave { version, .. } => ("taking", Some(*version), None),
        Decision::Nothing { why } => ("nothing", about(why), None),
    };
    state.clone_into(&mut status.state);
    status.version = version.map(|version| version.to_string()).unwrap_or_default();
    status.opens = opens.unwrap_or(0);
    status.why = sentence(decision);
}

const fn about(why: &Reason) -> Option<Version> {
    match why {
        Reason::OtherImage => None,
        Reason::RunsWithdrawn(version)
        | Reason::NotVouched(version)
        | Reason::Blocked(version)
        | Reason::LowerEpoch(version)
        | Reason::Older(version)
        | Reason::NeedsStep { version, .. } => Some(*version),
    }
}

/// What a decision means, in words.
pub fn sentence(decision: &Decision) -> String {
    match decision {
        Decision::UpToDate => "nothing newer is in the channel".to_owned(),
        Decision::Held => "the machine was rolled back by hand: coracle-update retry releases it".to_owned(),
        Decision::Waiting { version, why: Wait::Wave, .. } => format!("release {version} waits for its wave"),
        Decision::Waiting { version, why: Wait::FurtherWave, .. } => {
            format!("release {version} has no wave with this machine yet")
        }
        Decision::Take { version, .. } => format!("release {version} is offered"),
        Decision::Leave { version, .. } => {
            format!("what runs is withdrawn, and release {version} is offered instead")
        }
        Decision::Paused { version } => format!("release {version} is paused"),
        Decision::Nothing { why } => match why {
            Reason::OtherImage => "the channel is of another image, architecture or name".to_owned(),
            Reason::RunsWithdrawn(version) => {
                format!("release {version}, which runs, is withdrawn, and none is offered instead")
            }
            Reason::NotVouched(version) => format!("release {version} is offered, and nobody vouches for it"),
            Reason::Blocked(version) => {
                format!("release {version} has failed on this machine: coracle-update retry allows it again")
            }
            Reason::LowerEpoch(version) => {
                format!("release {version} is of a lower security epoch than this machine has reached")
            }
            Reason::Older(version) => format!("release {version} is older than one that has run here"),
            Reason::NeedsStep { version, minimum } => {
                format!("release {version} can be installed over version {minimum} or newer only")
            }
        },
    }
}

/// What a person is told who has asked for an update when there is none to take.
pub fn not_taken(status: &Status) -> Error {
    let kind = if status.state == "up-to-date" { Kind::Version } else { Kind::Policy };
    let message = format!("cannot take an update from {}: {}", status.place, status.why);
    Error::new(kind, message).hint("coracle-update status shows both slots")
}

/// Waves count unless a person asks.
pub const fn waves(heed: Heed) -> Waves {
    match heed {
        Heed::Windows => Waves::Observed,
        Heed::Nothing => Waves::Ignored,
    }
}
