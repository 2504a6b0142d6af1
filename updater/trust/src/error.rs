//! Why metadata is not believed.

use coracle_format::bundle::NotABundle;

/// What a document speaks about, and who may sign it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Who may sign what.
    Root,
    /// Which files are releases.
    Targets,
    /// Which documents are the newest.
    Snapshot,
    /// Which snapshot is the newest, and until when.
    Timestamp,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Root, Self::Targets, Self::Snapshot, Self::Timestamp];

    /// The role's name in metadata, messages and file names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Why metadata is not believed. None of these is a passing condition except [`TrustError::Expired`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The documents cannot be told apart, or the index cannot be read.
    #[error("cannot take the update's metadata apart")]
    Form(#[from] NotABundle),
    /// A document is not what its role demands.
    #[error("cannot read {role} metadata: {why}")]
    Document {
        /// The document's role.
        role: Role,
        /// What is wrong with it.
        why: Fault,
    },
    /// Too few of the role's keys have signed a document.
    #[error(
        "{role} metadata has {valid} valid signatures by keys of version {by} of the root, {threshold} are needed"
    )]
    Signatures {
        /// The document's role.
        role: Role,
        /// Distinct keys that have signed it.
        valid: usize,
        /// How many must.
        threshold: u32,
        /// Version of the root that names the keys.
        by: u32,
    },
    /// A root does not follow the one before it.
    #[error("root metadata of version {found} does not follow version {trusted}")]
    Chain {
        /// Version of the newest trusted root.
        trusted: u32,
        /// Version of the one offered.
        found: u32,
    },
    /// The newest root is older than one that this machine has trusted before.
    #[error("root metadata has version {found}, this machine has trusted version {floor} before")]
    RootTooOld {
        /// Version of the newest root offered.
        found: u32,
        /// Version that must be reached.
        floor: u32,
    },
    /// A document's time is over.
    #[error("{role} metadata expired at {expires} (seconds since 1970)")]
    Expired {
        /// The document's role.
        role: Role,
        /// When it expired.
        expires: u64,
    },
    /// The targets document does not name exactly one release of ours.
    #[error("targets metadata does not describe one release: {0}")]
    NotARelease(&'static str),
    /// The index is not the one that was signed.
    #[error("the update's index is not the signed one")]
    Index,
    /// The index speaks of another release than the metadata.
    #[error("the update's index and its metadata disagree about its {0}")]
    Disagree(&'static str),
}

impl TrustError {
    /// A stable word for machine-readable output.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Form(_) => "form",
            Self::Document { .. } => "document",
            Self::Signatures { .. } => "signatures",
            Self::Chain { .. } => "root-chain",
            Self::RootTooOld { .. } => "root-too-old",
            Self::Expired { .. } => "expired",
            Self::NotARelease(_) => "not-a-release",
            Self::Index => "index",
            Self::Disagree(_) => "disagree",
        }
    }
}

/// What is wrong with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is larger than its limit.
    #[error("larger than its limit")]
    TooLarge,
    /// It is not JSON as TUF allows it.
    #[error("not JSON that can be signed (byte {0})")]
    Json(usize),
    /// It is nested too deep or has too many values.
    #[error("too deep or too many values")]
    TooComplex,
    /// A field is missing or of the wrong type.
    #[error("field {0:?} is missing or wrong")]
    Field(&'static str),
    /// It is a document of another role.
    #[error("it is of another role")]
    Type,
    /// It follows a specification that is not 1.x.
    #[error("it follows another specification than TUF 1")]
    Specification,
    /// A role's threshold is 0 or more than it has keys.
    #[error("its threshold cannot be met")]
    Threshold,
}
