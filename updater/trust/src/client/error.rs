//! Why a repository is not believed, or cannot be asked.

use crate::TrustError;

/// Why a refresh or a search ends without a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// A file cannot be fetched.
    #[error("cannot fetch {file}: {why}")]
    Fetch {
        /// The file.
        file: String,
        /// Why.
        why: FetchError,
    },
    /// The repository lacks a file that it must have.
    #[error("the repository has no {0}")]
    Missing(String),
    /// What was accepted cannot be remembered.
    #[error("cannot save {file}: {why}")]
    Store {
        /// The file.
        file: String,
        /// Why.
        why: StoreError,
    },
    /// A document is not believed.
    #[error("{file} is not trusted: {why}")]
    Untrusted {
        /// Its file.
        file: String,
        /// Why.
        why: TrustError,
    },
    /// Too few of the keys that a role is delegated to have signed its document.
    #[error(
        "{file} has {valid} valid signatures by the keys that it is delegated to, {threshold} are needed"
    )]
    Delegated {
        /// Its file.
        file: String,
        /// Distinct keys that have signed it.
        valid: usize,
        /// How many must.
        threshold: u32,
    },
    /// A document is another than the one that was vouched for: by its bytes or its version.
    #[error("{0} is not the file that the repository vouches for")]
    Mismatch(String),
    /// A document is older than one that was accepted before.
    #[error("{file} of version {found} is older than version {accepted}, which was accepted before")]
    Rollback {
        /// Its file.
        file: String,
        /// Its version.
        found: u32,
        /// The version before.
        accepted: u32,
    },
    /// A snapshot no longer lists a document that it did list.
    #[error("the snapshot no longer lists {0}")]
    Vanished(String),
    /// A snapshot does not list a document that is delegated to.
    #[error("the snapshot does not list {0}")]
    NotListed(String),
    /// There are more new roots than one refresh takes; those that came are kept.
    #[error("there are more than {} new roots: the next look goes on from here", super::ROOTS_MAX)]
    Roots,
    /// More delegated roles would have to be asked about a path than allowed.
    #[error("more than {} roles may speak of {path:?}", super::ROLES_MAX, path = .0)]
    Roles(String),
}

impl ClientError {
    /// A stable word for machine-readable output.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Fetch { .. } => "fetch",
            Self::Missing(_) => "missing",
            Self::Store { .. } => "store",
            Self::Untrusted { why, .. } => why.kind(),
            Self::Delegated { .. } => "signatures",
            Self::Mismatch(_) => "mismatch",
            Self::Rollback { .. } => "rollback",
            Self::Vanished(_) => "vanished",
            Self::NotListed(_) => "not-listed",
            Self::Roots => "roots",
            Self::Roles(_) => "roles",
        }
    }
}

/// Why a file cannot be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It is larger than it may be.
    #[error("larger than its limit")]
    TooLarge,
    /// The transport failed.
    #[error("{0}")]
    Failed(String),
}

/// Why a file cannot be saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);
