//! One look at a channel: verify, remember, decide. Touches no slot.

use super::repository::{Metadata, Repository};
use super::store::Store;
use crate::error::{Error, Kind, Result};
use crate::executor::Executor;
use crate::source::SourceError;
use coracle_format::slot::Arch;
use coracle_format::version::Version;
use coracle_rollout::{Decision, Machine, MachineId, Rollout, Times, Waves, decide, document};
use coracle_trust::client::{self, ClientError, Floors, Start, Trusted};
use coracle_trust::{Kinds, TrustError, Verified, Vouched};

/// The name under which the newest rollout document is kept. No role has a file of this name.
const ROLLOUT: &str = "rollout";

/// What a look needs to know of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// The disk that runs, and the record on it.
    pub executor: &'a Executor,
    /// The channel's name.
    pub channel: &'a str,
    /// `[image] name` of the running release.
    pub image: &'a str,
    /// `[image] version` of the running release.
    pub version: &'a str,
    /// Architecture.
    pub arch: Arch,
    /// The root that is trusted without proof, from the verified root image.
    pub trusted_root: &'a [u8],
    /// A date that is known to have passed: that of the running release.
    pub floor: u64,
    /// The clock, if it can be believed.
    pub clock: Option<u64>,
    /// Whether waves count.
    pub waves: Waves,
    /// Whether what is accepted raises the floors in the slot record.
    pub records: Records,
}

/// Whether a look raises floors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// It does.
    Raised,
    /// The disk is open for reading only.
    Untouched,
}

/// What a look has seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What the machine does.
    pub decision: Decision,
    /// The release that it takes or leaves for.
    pub offer: Option<Offered>,
    /// When the channel was signed last, seconds since 1970; 0 if it does not say.
    pub issued: u64,
    /// When that expires.
    pub expires: u64,
    /// The newest date that somebody has signed.
    pub signed: u64,
}

/// A release that can be taken.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What vouches for it.
    pub verified: Verified,
    /// Its id.
    pub release: [u8; 32],
    /// Its bundle among the targets of the repository.
    pub file: String,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// A delta from the release that runs: its file among the targets, and its bytes.
    pub delta: Option<(String, u64)>,
}

impl Viewer<'_> {
    /// Looks.
    pub fn look(&self, repository: &mut dyn Repository, store: &mut Store) -> Result<Seen> {
        let place = repository.describe();
        let before = self.executor.record()?.floors();
        let floors = Floors {
            root_version: before.root_version,
            timestamp_version: before.timestamp_version,
            issued: before.issued,
        };
        let start =
            Start { trusted_root: self.trusted_root, floors, now: self.clock, kinds: Kinds::default() };
        let snapshot = client::Store::load(store, "snapshot.json");
        let mut metadata = Metadata::of(repository);
        let mut trusted = client::refresh(&start, &mut metadata, store)
            .map_err(|why| untrusted(&place, why, metadata.take_failure()))?;
        // Another snapshot: something has changed, and it must not be undone.
        let has_news = client::Store::load(store, "snapshot.json") != snapshot;
        if self.records == Records::Raised {
            self.executor.accept(trusted.floors(), trusted.is_recovered(), has_news)?;
        }
        let rollout = self.rollout(&mut trusted, repository, store)?;
        let signed = [trusted.floors().issued, before.released, self.floor].into_iter().fold(0, u64::max);
        let machine = self.machine(&trusted)?;
        let times = Times { signed, since: 0, clock: self.clock, waves: self.waves };
        let decision = decide(&rollout, &machine, &times);
        let offer = self.offer(&decision, &trusted, &place)?;
        let issued = trusted.issued().unwrap_or(0);
        Ok(Seen { decision, offer, issued, expires: trusted.expires(), signed })
    }

    /// The release that is taken or left for.
    fn offer(&self, decision: &Decision, trusted: &Trusted, place: &str) -> Result<Option<Offered>> {
        let (Decision::Take { target, .. } | Decision::Leave { target, .. }) = decision else {
            return Ok(None);
        };
        let found = trusted.release(target).map_err(|why| distrusted(place, why))?;
        let vouched: Vouched = found.ok_or_else(|| {
            Error::new(Kind::Internal, format!("cannot take {target} from {place}: nobody vouches for it"))
        })?;
        let runs = self.executor.record()?.release(self.executor.running());
        let delta = vouched.deltas.iter().find(|delta| delta.from == runs);
        Ok(Some(Offered {
            verified: trusted.verified(&vouched),
            release: vouched.id,
            file: vouched.file(),
            bytes: vouched.length,
            delta: delta.map(|delta| (vouched.delta_file(delta), delta.length)),
        }))
    }

    fn machine(&self, trusted: &Trusted) -> Result<Machine> {
        let record = self.executor.record()?;
        let running = self.executor.running();
        Ok(Machine {
            id: MachineId(self.executor.machine_id()),
            channel: self.channel.to_owned(),
            image: self.image.to_owned(),
            arch: self.arch,
            running: Version::parse(self.version)
                .unwrap_or_else(|| Version::from_u64(record.version(running))),
            release: record.release(running),
            held: record.hold(),
            version_floor: Version::from_u64(record.floors().version),
            epoch_floor: record.floors().epoch,
            blocked: record.all_blocked().map(|(release, _)| release).collect(),
            vouched: trusted.releases(),
        })
    }

    fn rollout(
        &self,
        trusted: &mut Trusted,
        repository: &mut dyn Repository,
        store: &mut Store,
    ) -> Result<Rollout> {
        let place = repository.describe();
        let path = document::path(self.channel, self.image, self.arch);
        let mut metadata = Metadata::of(repository);
        let target = trusted
            .target(&path, &mut metadata, store)
            .map_err(|why| untrusted(&place, why, metadata.take_failure()))?;
        let target = target.ok_or_else(|| {
            let (image, arch) = (self.image, self.arch.name());
            Error::new(Kind::Foreign, format!("{place} has nothing in channel {} for {image} on {arch}", self.channel))
                .hint("publish a release for this image and architecture there, or name another channel in [update]")
        })?;
        let kept = client::Store::load(store, ROLLOUT).filter(|bytes| target.is(bytes));
        let bytes = if let Some(bytes) = kept {
            bytes
        } else {
            let bytes = fetch_rollout(&target, repository)?;
            // It goes to memory if it cannot go to the disk.
            drop(client::Store::save(store, ROLLOUT, &bytes));
            bytes
        };
        Rollout::parse(&bytes).map_err(|why| {
            Error::new(Kind::Hostile, format!("cannot read what channel {} of {place} offers", self.channel))
                .because(why)
                .hint("its maker must publish it again")
        })
    }
}

fn fetch_rollout(target: &client::Target, repository: &mut dyn Repository) -> Result<Vec<u8>> {
    let place = format!("{} of {}", target.path, repository.describe());
    let limit = u64::try_from(document::BYTES_MAX).unwrap_or(0);
    if target.length > limit {
        return Err(Error::new(
            Kind::Hostile,
            format!("cannot read {place}: it has more than {limit} bytes"),
        ));
    }
    let bytes = repository.document(&target.file(), target.length)?.ok_or_else(|| {
        Error::new(Kind::NotFound, format!("cannot read {place}: it is signed and not there"))
            .hint("the mirror may be incomplete: try again later")
    })?;
    if target.is(&bytes) {
        Ok(bytes)
    } else {
        Err(Error::new(Kind::Digest, format!("cannot trust {place}: its bytes are not the signed ones"))
            .hint("the mirror may be behind or damaged: try again later"))
    }
}

/// The error for metadata that is not believed.
fn untrusted(place: &str, why: ClientError, failure: Option<SourceError>) -> Error {
    if let (ClientError::Fetch { .. }, Some(failure)) = (&why, failure) {
        return failure.into();
    }
    let (kind, hint) = match &why {
        ClientError::Fetch { .. } | ClientError::Roots => (Kind::Network, AGAIN),
        ClientError::Missing(_) => {
            (Kind::NotFound, "it is no repository of updates, or the mirror is incomplete")
        }
        ClientError::Store { .. } => (Kind::Io, "look at the disk"),
        ClientError::Mismatch(_) => (Kind::Digest, AGAIN),
        ClientError::Rollback { .. } => (Kind::Stale, AGAIN),
        ClientError::Delegated { .. } => (Kind::Signature, KEYS),
        ClientError::Vanished(_) | ClientError::NotListed(_) | ClientError::Roles(_) => {
            (Kind::Hostile, "its maker must publish it again")
        }
        ClientError::Untrusted { why: trust, .. } => kind_of(trust),
    };
    Error::new(kind, format!("cannot trust {place}")).because(why).hint(hint)
}

fn distrusted(place: &str, why: TrustError) -> Error {
    let (kind, hint) = kind_of(&why);
    Error::new(kind, format!("cannot trust {place}")).because(why).hint(hint)
}

const AGAIN: &str = "the mirror may be behind or damaged: the next look may go well";
const KEYS: &str = "this machine trusts the keys in its own image, and those that they have named";

const fn kind_of(why: &TrustError) -> (Kind, &'static str) {
    match why {
        TrustError::Expired { .. } => (
            Kind::Stale,
            "its maker must sign it again, or the mirror shows an old state; check the clock too",
        ),
        TrustError::Form(_) | TrustError::Document { .. } | TrustError::NotARelease(_) => {
            (Kind::Hostile, "its maker must publish it again")
        }
        TrustError::Index | TrustError::Disagree(_) => (Kind::Digest, AGAIN),
        TrustError::Signatures { .. } | TrustError::Chain { .. } | TrustError::RootTooOld { .. } => {
            (Kind::Signature, KEYS)
        }
    }
}
