//! One machine: the code that real machines run, around a slot record in memory, a store in memory and a clock that
//! somebody else turns.

use super::{
    plan::{Character, Draws},
    publisher::{ARCH, CHANNEL, IMAGE},
    transfer::{Kept, Library, Link, Server, Shelf, Traffic},
    update,
};
use coracle_format::version::Version;
use coracle_rollout::{
    Decision, Machine, MachineId, Rollout, Times, Waves, decide, document,
    schedule::{self, Past},
    windows::Opening,
};
use coracle_slots::{Record, SlotState, Verdict};
use coracle_trust::{
    Kinds, Vouched,
    client::{self, ClientError, Floors, Start, Trusted},
};
use coracle_update::engine::Ask;

/// Seconds between two looks, as the manifest says.
pub(super) const POLL: u64 = schedule::POLL_SECONDS * 6;
/// A rollout document under this name in the store.
const ROLLOUT: &str = "rollout";

/// A machine.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) id: MachineId,
    pub(super) character: Character,
    pub(super) traffic: Traffic,
    /// Bodies of looks that found nothing new, the smallest and the largest.
    pub(super) idle: Option<(u64, u64)>,
    pub(super) record: Record,
    pub(super) draws: Draws,
    shelf: Shelf,
    floors: Floors,
    /// When the newest signed date was received, or the machine started since then.
    received: u64,
    failures: u32,
}

/// What all machines share: nothing that a real one would have from another.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) server: &'a Server,
    pub(super) library: &'a mut Library,
    pub(super) trusted_root: &'a [u8],
}

/// What comes of a look.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing; the next look in so many seconds.
    Later(u64),
    /// A release goes into the spare slot, which takes so many seconds.
    Staging(u64),
    /// A release is armed; the machine restarts.
    Armed(Version),
}

/// What a look has found out.
struct Seen {
    decision: Decision,
    trusted: Trusted,
    times: Times,
}

impl Device {
    /// A machine that runs the first release.
    pub(super) fn new(character: Character, mut draws: Draws, first: (Version, [u8; 32]), now: u64) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&draws.next().to_le_bytes());
        id[8..].copy_from_slice(&draws.next().to_le_bytes());
        Self {
            id: MachineId(id),
            character,
            traffic: Traffic::default(),
            idle: None,
            record: Record::shipped(first.1, first.0.to_u64(), 0),
            draws,
            shelf: Shelf::new(),
            floors: Floors { root_version: 1, ..Floors::default() },
            received: now,
            failures: 0,
        }
    }

    /// The release that runs.
    pub(super) fn running(&self) -> Version {
        Version::from_u64(self.record.version(self.record.booting()))
    }

    /// Seconds until the first look after a start.
    pub(super) fn first_look(&mut self) -> u64 {
        schedule::next_poll(POLL, Past::Started, self.draws.next())
    }

    /// One look at the channel, and what follows from it.
    pub(super) fn look(&mut self, now: u64, around: &mut Surroundings<'_>) -> Outcome {
        let before = self.traffic;
        let Ok(Seen { decision, trusted, times }) = self.see(now, around) else {
            self.failures = self.failures.saturating_add(1);
            return Outcome::Later(schedule::next_poll(POLL, Past::Failed(self.failures), self.draws.next()));
        };
        self.failures = 0;
        let (version, target) = match decision {
            Decision::Take { version, target } | Decision::Leave { version, target } => (version, target),
            Decision::UpToDate
            | Decision::Held
            | Decision::Waiting { .. }
            | Decision::Paused { .. }
            | Decision::Nothing { .. } => {
                if self.traffic.requests == before.requests + 2 {
                    let body = self.traffic.metadata - before.metadata;
                    self.idle = Some(
                        self.idle.map_or((body, body), |(least, most)| (least.min(body), most.max(body))),
                    );
                }
                return Outcome::Later(self.until_next());
            }
        };
        let root_version = trusted.root().version();
        match trusted.release(&target).ok().flatten() {
            Some(vouched) if self.is_staged(&vouched) => self.arm(version, (&vouched, root_version), &times),
            Some(vouched) => self.stage((&vouched, root_version)),
            None => Outcome::Later(self.until_next()),
        }
    }

    /// The release that was armed is started; the health checks say whether it stays. Whether it does.
    pub(super) fn restart(&mut self, now: u64, is_healthy: bool) -> bool {
        self.record = self.record.begin_boot(self.record.choose(&[]));
        self.received = now;
        let running = self.record.booting();
        if is_healthy {
            let floors =
                coracle_slots::Floors { version: self.record.version(running), ..Default::default() };
            self.record = self.record.commit().map_or(self.record, |record| record.raise_floors(floors));
        } else {
            self.record = self.record.fail(running, Verdict::Gate).unwrap_or(self.record);
            self.record = self.record.begin_boot(self.record.choose(&[]));
        }
        is_healthy
    }

    fn until_next(&mut self) -> u64 {
        schedule::next_poll(POLL, Past::Looked, self.draws.next())
    }

    /// Refreshes what is known of the channel, and decides.
    fn see(&mut self, now: u64, around: &mut Surroundings<'_>) -> Result<Seen, ClientError> {
        let is_up = self.character.away.is_none_or(|(from, until)| !(from..until).contains(&now));
        let mut link = Link { server: around.server, traffic: &mut self.traffic, is_up };
        let mut kept = Kept { library: around.library, shelf: &mut self.shelf };
        let clock = self.character.clock.at(now);
        let since = now - self.received;
        let known = Times { signed: self.floors.issued, since, clock, waves: Waves::Observed };
        let start = Start {
            trusted_root: around.trusted_root,
            floors: self.floors,
            now: known.now(),
            kinds: Kinds::default(),
        };
        let mut trusted = client::refresh(&start, &mut link, &mut kept)?;
        let floors = trusted.floors();
        if floors.issued > self.floors.issued {
            self.received = now;
        }
        self.floors = floors;
        let rollout = rollout(&mut trusted, &mut link, &mut kept)?;
        let times =
            Times { signed: floors.issued, since: now - self.received, clock, waves: Waves::Observed };
        let decision = decide(&rollout, &self.machine(trusted.releases()), &times);
        Ok(Seen { decision, trusted, times })
    }

    fn machine(&self, vouched: Vec<Vouched>) -> Machine {
        let floors = self.record.floors();
        Machine {
            id: self.id,
            channel: CHANNEL.to_owned(),
            image: IMAGE.to_owned(),
            arch: ARCH,
            running: self.running(),
            release: self.record.release(self.record.booting()),
            held: self.record.hold(),
            version_floor: Version::from_u64(floors.version),
            epoch_floor: floors.epoch,
            blocked: self.record.all_blocked().map(|(release, _)| release).collect(),
            vouched,
        }
    }

    /// Whether the record says that the release is in the spare slot.
    fn is_staged(&self, vouched: &Vouched) -> bool {
        let spare = self.record.booting().other();
        self.record.state(spare) == SlotState::Written && self.record.release(spare) == vouched.id
    }

    fn stage(&mut self, (vouched, root_version): (&Vouched, u32)) -> Outcome {
        if !update::run(&mut self.record, vouched, root_version, Ask::Stage) {
            // The engine refuses what the channel offers: nothing comes of it before the channel changes.
            return Outcome::Later(self.until_next());
        }
        self.traffic.requests += 1;
        self.traffic.bundles += 1;
        // Over a fast line, or a slow one.
        Outcome::Staging(self.draws.between(60, 1800))
    }

    /// Arms what is staged, if a window is open.
    fn arm(&mut self, version: Version, (vouched, root_version): (&Vouched, u32), times: &Times) -> Outcome {
        let at = times.windows();
        if let Opening::Closed { opens, lasts } = self.character.windows.at(at) {
            let window = schedule::next_in_window(opens - at, lasts, self.draws.next());
            return Outcome::Later(window.min(self.until_next()));
        }
        if update::run(&mut self.record, vouched, root_version, Ask::Apply) {
            Outcome::Armed(version)
        } else {
            Outcome::Later(self.until_next())
        }
    }
}

/// The channel's rollout document: from the store, if the channel's role still vouches for that one.
fn rollout(trusted: &mut Trusted, link: &mut Link<'_>, kept: &mut Kept<'_>) -> Result<Rollout, ClientError> {
    use client::Store as _;
    let path = document::path(CHANNEL, IMAGE, ARCH);
    let missing = || ClientError::Missing(path.clone());
    let target = trusted.target(&path, link, kept)?.ok_or_else(missing)?;
    let bytes = if let Some(bytes) = kept.load(ROLLOUT).filter(|bytes| target.is(bytes)) {
        bytes
    } else {
        let file = format!("targets/{}", target.file());
        let limit = u64::try_from(document::BYTES_MAX).unwrap_or(u64::MAX);
        let bytes = link.server.get(&file, limit, link.traffic);
        let bytes = bytes.ok().flatten().filter(|bytes| target.is(bytes)).ok_or_else(missing)?;
        kept.save(ROLLOUT, &bytes).map_err(|why| ClientError::Store { file, why })?;
        bytes
    };
    Rollout::parse(&bytes).ok().ok_or_else(missing)
}
