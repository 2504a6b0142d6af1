//! What went wrong, in the form every command prints: what was attempted, why it failed, what to do next.

use crate::source::SourceError;
use coracle_block::PathError;
use std::{error::Error as StdError, fmt};

/// The exit codes of `coracle-update`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the work failed.
    Failed,
    /// 2: usage wrong, or this machine takes no updates; nothing touched.
    Usage,
    /// 3: refused: signature, digest, version, policy.
    Refused,
}

impl Exit {
    /// The number the process ends with.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
        }
    }
}

/// The class of an error: decides the exit code, and is the stable word that `--json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Command line wrong, or this machine takes no updates.
    Usage,
    /// The source or a device is missing.
    NotFound,
    /// Reading or writing failed.
    Io,
    /// The server failed, or answered something else than asked.
    Network,
    /// Bytes do not match their digest.
    Digest,
    /// A signature is missing or wrong.
    Signature,
    /// Metadata has expired, or is older than what is known.
    Stale,
    /// Input violates its format or a named limit.
    Hostile,
    /// Another machine's update: image name or architecture.
    Foreign,
    /// An older version or security epoch, or the release that runs already.
    Version,
    /// The release failed here before, or the record does not allow it now.
    Policy,
    /// It does not fit into the slot.
    TooLarge,
    /// Another update is under way.
    Busy,
    /// Anything else; a defect if seen.
    Internal,
}

impl Kind {
    /// The exit code of this class.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Digest
            | Self::Signature
            | Self::Stale
            | Self::Hostile
            | Self::Foreign
            | Self::Version
            | Self::Policy
            | Self::TooLarge => Exit::Refused,
            Self::NotFound | Self::Io | Self::Network | Self::Busy | Self::Internal => Exit::Failed,
        }
    }

    /// The stable word for `--json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Io => "io",
            Self::Network => "network",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Hostile => "hostile-input",
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::Policy => "policy",
            Self::TooLarge => "too-large",
            Self::Busy => "busy",
            Self::Internal => "internal",
        }
    }
}

/// An error of the updater. `Display` is one lower-case line that never contains its source.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The updater's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error that says what was attempted, on what, and why it failed.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self(Box::new(Parts { kind, message: message.into(), hint: None, source: None }))
    }

    /// With what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// With its cause, printed on a line of its own.
    pub fn because(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Its class.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What to do next.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The causes, outermost first.
    pub fn causes(&self) -> Vec<String> {
        let mut out = Vec::new();
        let mut source = self.source();
        while let Some(cause) = source {
            out.push(cause.to_string());
            source = cause.source();
        }
        out
    }

    /// What was attempted and why it failed, on one line.
    pub fn sentence(&self) -> String {
        [vec![self.to_string()], self.causes()].concat().join(": ")
    }

    /// The whole text for a person: `error:`, `  caused by:` lines, then `hint:` after a blank line.
    pub fn render(&self) -> String {
        let mut out = format!("error: {self}\n");
        for cause in self.causes() {
            out.extend(["  caused by: ", &cause, "\n"]);
        }
        if let Some(hint) = self.hint_text() {
            out.extend(["\nhint: ", hint, "\n"]);
        }
        out
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.kind.word(), self.render())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| {
            let source: &(dyn StdError + 'static) = source;
            source
        })
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        let missing = error.source.kind() == std::io::ErrorKind::NotFound;
        let kind = if missing { Kind::NotFound } else { Kind::Io };
        let this = Self::new(kind, error.to_string());
        this.because(error.source)
    }
}

impl From<SourceError> for Error {
    fn from(error: SourceError) -> Self {
        let this = Self::new(error.kind, error.to_string());
        let this = match error.source {
            Some(source) => this.because(source),
            None => this,
        };
        match error.hint {
            Some(hint) => this.hint(hint),
            None => this,
        }
    }
}
