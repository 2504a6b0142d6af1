//! Who signs the documents of a repository, and for how long they are good.

use crate::{
    context::Context,
    error::{Error, Kind, Result},
    keys::KeyDir,
    signer::Signer,
};
use coracle_trust::{
    Role,
    document::{Authority, PublicKey},
    publish,
};

/// Days until new documents expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// The timestamp.
    pub timestamp: u64,
    /// The snapshot.
    pub snapshot: u64,
    /// The document of a channel.
    pub channel: u64,
    /// The list of releases.
    pub targets: u64,
}

impl Days {
    /// A week without a refresh is noticed by machines; a release is vouched for a year.
    pub const DEFAULT: Self = Self { timestamp: 7, snapshot: 30, channel: 90, targets: 365 };
}

/// Keys at hand.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The directory of keys, with the root metadata.
    pub dir: KeyDir,
    /// Programs that sign releases.
    pub targets: Vec<Signer>,
    /// Programs that sign everything else.
    pub online: Vec<Signer>,
}

/// How documents are signed.
#[derive(Clone, Debug)]
pub struct Signing {
    /// By whom.
    pub keys: Keys,
    /// For how long.
    pub days: Days,
}

/// Whose document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// The list of releases.
    Targets,
    /// A channel.
    Channel(&'a str),
    /// The snapshot.
    Snapshot,
    /// The timestamp.
    Timestamp,
}

impl Part<'_> {
    fn role(self) -> Role {
        match self {
            // A channel's document is a targets document that is delegated to.
            Self::Targets | Self::Channel(_) => Role::Targets,
            Self::Snapshot => Role::Snapshot,
            Self::Timestamp => Role::Timestamp,
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Targets => "the list of releases".to_owned(),
            Self::Channel(name) => format!("channel {name}"),
            Self::Snapshot => "the snapshot".to_owned(),
            Self::Timestamp => "the timestamp".to_owned(),
        }
    }
}

impl Signing {
    /// A context around the keys in a directory, with the usual dates.
    pub const fn new(dir: KeyDir) -> Self {
        Self { keys: Keys { dir, targets: Vec::new(), online: Vec::new() }, days: Days::DEFAULT }
    }

    /// What can sign for these keys.
    fn signers(&self, ctx: &Context, part: Part<'_>, authority: &Authority) -> Result<Vec<Signer>> {
        let programs = match part {
            Part::Targets => &self.keys.targets,
            Part::Channel(_) | Part::Snapshot | Part::Timestamp => &self.keys.online,
        };
        let mut signers = self.keys.dir.signers_of(ctx, authority)?;
        for program in programs {
            if authority.has(&program.public(ctx)?) {
                signers.push(program.clone());
            }
        }
        Ok(signers)
    }

    /// Whether enough keys are at hand.
    pub(super) fn can_sign(&self, ctx: &Context, part: Part<'_>, authority: &Authority) -> Result<bool> {
        let signers = self.signers(ctx, part, authority)?;
        Ok(u32::try_from(signers.len()).is_ok_and(|count| count >= authority.threshold))
    }

    /// The signed document.
    pub(super) fn sign(
        &self,
        ctx: &Context,
        part: Part<'_>,
        authority: &Authority,
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let mut signatures: Vec<(PublicKey, [u8; 64])> = Vec::new();
        for signer in self.signers(ctx, part, authority)? {
            let signature = signer.sign(ctx, part.role(), body)?;
            if signatures.iter().all(|(key, _)| *key != signature.0) {
                signatures.push(signature);
            }
        }
        if u32::try_from(signatures.len()).is_ok_and(|count| count >= authority.threshold) {
            return Ok(publish::document(body, &signatures));
        }
        let message = format!(
            "cannot sign {}: {} of the {} keys that it takes are here",
            part.name(),
            signatures.len(),
            authority.threshold
        );
        let hint = match part {
            Part::Targets => {
                "releases are signed by targets keys, which may be offline: name their directory with --keys, or a \
                 program that has one with --signer"
            }
            Part::Channel(_) | Part::Snapshot | Part::Timestamp => {
                "name the directory with the online key with --keys, or a program that has it with --online-signer"
            }
        };
        Err(Error::new(Kind::NotFound, message).hint(hint))
    }
}
