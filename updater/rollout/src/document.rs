//! The rollout document: what a channel offers for one image and architecture. `docs/formats/channel.md` has the fields.
//!
//! It is vouched for before it is parsed: its bytes are a target of the channel's role.

#[cfg(test)]
mod tests;

use crate::{
    error::RolloutFault,
    place::{EVERYBODY, Seed},
};
use coracle_format::{slot::Arch, version::Version};
use coracle_trust::{date, json::Value};

/// Bytes of a document at most.
pub const BYTES_MAX: usize = 64 << 10;
/// Releases in a document at most.
pub const RELEASES_MAX: usize = 64;
/// Waves of a release at most.
pub const WAVES_MAX: usize = 32;
/// Characters of a channel's name at most.
pub const CHANNEL_CHARS_MAX: usize = 32;
/// Characters of an image's name or of a target's at most.
const NAME_CHARS_MAX: usize = 255;

const TYPE: &str = "coracle-rollout";
const FORMAT: u64 = 0;

/// What a channel offers for one image and architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The channel's name, [`is_channel`].
    pub channel: String,
    /// `[image] name`.
    pub image: String,
    /// Architecture.
    pub arch: Arch,
    /// Oldest version first, none twice.
    pub releases: Vec<Offered>,
}

/// A release in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its version.
    pub version: Version,
    /// The name of its bundle among the targets. It has no directory: a channel's key cannot vouch for a bundle.
    pub target: String,
    /// Whether it may be taken.
    pub state: State,
    /// The lowest version that it may be installed over.
    pub minimum: Option<Version>,
    /// Who may take it when; without any, everybody at once.
    pub waves: Vec<Wave>,
    /// What makes the order of machines another one for every release.
    pub seed: Seed,
}

/// Whether a release may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Active,
    /// Not now.
    Paused,
    /// Never again; machines that run it stay, or go to the release that is named instead.
    Withdrawn {
        /// Where machines that run it go.
        instead: Option<Version>,
    },
}

/// From when on a share of all machines may take a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wave {
    /// The share, 1 to [`EVERYBODY`]; every wave has a larger one than the wave before.
    pub share: u16,
    /// The moment, seconds since 1970; never before the wave before.
    pub start: u64,
}

/// Whether this can be the name of a channel, which is a name of a TUF role and of a directory.
pub fn is_channel(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=CHANNEL_CHARS_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && !["root", "targets", "snapshot", "timestamp"].contains(&name)
}

/// Where the rollout document lies among the targets: `<channel>/<image>-<arch>.json`.
pub fn path(channel: &str, image: &str, arch: Arch) -> String {
    format!("{channel}/{image}-{}.json", arch.name())
}

impl Rollout {
    /// The document in these bytes, which must be vouched for.
    pub fn parse(bytes: &[u8]) -> Result<Self, RolloutFault> {
        if bytes.len() > BYTES_MAX {
            return Err(RolloutFault::TooLarge);
        }
        let value = Value::parse(bytes).map_err(RolloutFault::Json)?;
        let kind = field(&value, "_type", Value::text)?;
        if kind != TYPE || field(&value, "format", Value::number)? != FORMAT {
            return Err(RolloutFault::Format);
        }
        let releases = field(&value, "releases", Value::list)?;
        if releases.len() > RELEASES_MAX {
            return Err(RolloutFault::TooManyReleases);
        }
        let this = Self {
            channel: field(&value, "channel", Value::text)?.to_owned(),
            image: field(&value, "image", Value::text)?.to_owned(),
            arch: field(&value, "arch", read_arch)?,
            releases: releases.iter().map(read_release).collect::<Result<_, _>>()?,
        };
        this.check()?;
        Ok(this)
    }

    /// The document's bytes: canonical JSON.
    pub fn encode(&self) -> Result<Vec<u8>, RolloutFault> {
        self.check()?;
        let releases = self.releases.iter().map(release_value).collect::<Result<_, _>>()?;
        let bytes = map(vec![
            ("_type", text(TYPE)),
            ("arch", text(self.arch.name())),
            ("channel", text(&self.channel)),
            ("format", number(FORMAT)),
            ("image", text(&self.image)),
            ("releases", Value::List(releases)),
        ])
        .canonical();
        if bytes.len() > BYTES_MAX { Err(RolloutFault::TooLarge) } else { Ok(bytes) }
    }

    /// The release of this version.
    pub fn release(&self, version: Version) -> Option<&Offered> {
        self.releases.iter().find(|release| release.version == version)
    }

    /// What both reading and writing demand.
    fn check(&self) -> Result<(), RolloutFault> {
        if !is_channel(&self.channel) {
            return Err(RolloutFault::Field("channel"));
        }
        if !is_name(&self.image) {
            return Err(RolloutFault::Field("image"));
        }
        if self.releases.len() > RELEASES_MAX {
            return Err(RolloutFault::TooManyReleases);
        }
        if let Some(pair) = self.releases.windows(2).find(|pair| pair[0].version >= pair[1].version) {
            return Err(RolloutFault::Order(pair[1].version));
        }
        self.releases.iter().try_for_each(|release| {
            release.check()?;
            match release.state {
                State::Withdrawn { instead: Some(instead) } if !self.is_taken(instead) => {
                    Err(RolloutFault::Instead { withdrawn: release.version, instead })
                }
                State::Withdrawn { .. } | State::Active | State::Paused => Ok(()),
            }
        })
    }

    /// Whether a release of this version is here and not withdrawn.
    fn is_taken(&self, version: Version) -> bool {
        self.release(version).is_some_and(|release| match release.state {
            State::Active | State::Paused => true,
            State::Withdrawn { .. } => false,
        })
    }
}

impl Offered {
    fn check(&self) -> Result<(), RolloutFault> {
        if !is_name(&self.target) {
            return Err(RolloutFault::Field("target"));
        }
        if self.waves.len() > WAVES_MAX {
            return Err(RolloutFault::TooManyWaves(self.version));
        }
        let in_range = self.waves.iter().all(|wave| (1..=EVERYBODY).contains(&wave.share));
        let grows =
            self.waves.windows(2).all(|two| two[0].share < two[1].share && two[0].start <= two[1].start);
        if in_range && grows { Ok(()) } else { Err(RolloutFault::Waves(self.version)) }
    }
}

fn read_release(value: &Value) -> Result<Offered, RolloutFault> {
    let version = field(value, "version", read_version)?;
    let instead = optional(value, "instead", read_version)?;
    let state = match field(value, "state", Value::text)? {
        "active" => State::Active,
        "paused" => State::Paused,
        "withdrawn" => State::Withdrawn { instead },
        _ => return Err(RolloutFault::Field("state")),
    };
    if instead.is_some() && !matches!(state, State::Withdrawn { .. }) {
        return Err(RolloutFault::Field("instead"));
    }
    let waves = field(value, "waves", Value::list)?;
    if waves.len() > WAVES_MAX {
        return Err(RolloutFault::TooManyWaves(version));
    }
    let wave = |wave: &Value| {
        let share = field(wave, "share", |share| share.number().and_then(|share| u16::try_from(share).ok()))?;
        Ok(Wave { share, start: field(wave, "start", |start| start.text().and_then(date::parse))? })
    };
    Ok(Offered {
        version,
        target: field(value, "target", Value::text)?.to_owned(),
        state,
        minimum: optional(value, "minimum", read_version)?,
        waves: waves.iter().map(wave).collect::<Result<_, _>>()?,
        seed: field(value, "seed", |seed| seed.text().and_then(Seed::parse))?,
    })
}

fn release_value(release: &Offered) -> Result<Value, RolloutFault> {
    let (state, instead) = match release.state {
        State::Active => ("active", None),
        State::Paused => ("paused", None),
        State::Withdrawn { instead } => ("withdrawn", instead),
    };
    let wave = |wave: &Wave| {
        let start = date::format(wave.start).ok_or(RolloutFault::Waves(release.version))?;
        Ok(map(vec![("share", number(wave.share.into())), ("start", Value::Text(start))]))
    };
    let version = |version: Version| Value::Text(version.to_string());
    let mut members = vec![
        ("seed", Value::Text(release.seed.to_string())),
        ("state", text(state)),
        ("target", text(&release.target)),
        ("version", version(release.version)),
        ("waves", Value::List(release.waves.iter().map(wave).collect::<Result<_, _>>()?)),
    ];
    members.extend(instead.map(|instead| ("instead", version(instead))));
    members.extend(release.minimum.map(|minimum| ("minimum", version(minimum))));
    Ok(map(members))
}

/// A member that must be there and be what `read` takes.
fn field<'a, T>(
    value: &'a Value,
    name: &'static str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<T, RolloutFault> {
    value.get(name).and_then(read).ok_or(RolloutFault::Field(name))
}

/// A member that may be missing, but not be wrong.
fn optional<'a, T>(
    value: &'a Value,
    name: &'static str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, RolloutFault> {
    value.get(name).map(|found| read(found).ok_or(RolloutFault::Field(name))).transpose()
}

fn read_version(value: &Value) -> Option<Version> {
    value.text().and_then(Version::parse)
}

fn read_arch(value: &Value) -> Option<Arch> {
    let name = value.text()?;
    [Arch::X86_64, Arch::Aarch64].into_iter().find(|arch| arch.name() == name)
}

/// Whether this is one component of a path, of plain characters.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+');
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with('.')
}

fn map(members: Vec<(&'static str, Value)>) -> Value {
    let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    Value::Map(members)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn number(number: u64) -> Value {
    // Only shares and the number of the format are written.
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
