//! What went wrong, in the form every verb prints: what was attempted, why it failed, what to do next.

use std::{error::Error as StdError, fmt, io, path::Path};

/// The exit codes of `coracle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: done.
    Done,
    /// 1: the work failed.
    Failed,
    /// 2: usage or manifest wrong, nothing touched.
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
    /// Command line or manifest wrong.
    Usage,
    /// An input file, package, or key is missing.
    NotFound,
    /// Reading or writing a file failed.
    Io,
    /// The mirror or another server failed, or answered something else than asked.
    Network,
    /// An external program failed.
    Tool,
    /// Bytes do not match their digest.
    Digest,
    /// A signature is missing or wrong.
    Signature,
    /// A document is older or newer than its own dates allow.
    Stale,
    /// Input violates its format or a named limit.
    Hostile,
    /// The lock does not allow it.
    Locked,
    /// A rule of update channels does not allow it.
    Policy,
    /// It does not fit: image, slot, disk.
    TooLarge,
    /// Interrupted by the user.
    Interrupted,
    /// The virtual machine did not do what was expected of it.
    Machine,
    /// Anything else; a defect if seen.
    Internal,
}

impl Kind {
    /// The exit code of this class.
    pub const fn exit(self) -> Exit {
        match self {
            Self::Usage => Exit::Usage,
            Self::Digest | Self::Signature | Self::Stale | Self::Hostile | Self::Locked | Self::Policy => {
                Exit::Refused
            }
            Self::NotFound
            | Self::Io
            | Self::Network
            | Self::Tool
            | Self::TooLarge
            | Self::Interrupted
            | Self::Machine
            | Self::Internal => Exit::Failed,
        }
    }

    /// The stable word for `--json`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::NotFound => "not-found",
            Self::Io => "io",
            Self::Network => "network",
            Self::Tool => "tool",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Hostile => "hostile-input",
            Self::Locked => "locked",
            Self::Policy => "policy",
            Self::TooLarge => "too-large",
            Self::Interrupted => "interrupted",
            Self::Machine => "machine",
            Self::Internal => "internal",
        }
    }
}

/// An error of the builder. `Display` is one lower-case line that never contains its source.
pub struct Error(Box<Parts>);

struct Parts {
    kind: Kind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The builder's result.
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

    /// What to do next: the nearest hint in the chain.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref().or_else(|| {
            let source = self.0.source.as_deref()?;
            source.downcast_ref::<Self>()?.hint_text()
        })
    }

    /// The whole text for a person: `error:`, `  caused by:` lines, then `hint:` after a blank line.
    pub fn render(&self) -> String {
        let mut out = format!("error: {self}\n");
        let mut source = self.source();
        while let Some(cause) = source {
            for (index, line) in cause.to_string().lines().enumerate() {
                out += if index == 0 { "  caused by: " } else { "             " };
                out += line;
                out.push('\n');
            }
            source = cause.source();
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

/// Names the action and the path of a failed file operation: `fs::read(path).doing("read manifest", path)?`.
pub trait Doing<T> {
    /// Turns the error into "cannot {action} {path}".
    fn doing(self, action: &str, path: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &str, path: &Path) -> Result<T> {
        self.map_err(|source| {
            let error = Error::new(Kind::Io, format!("cannot {action} {}", path.display()));
            let no_room =
                [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
            let error = if no_room.contains(&source.kind()) {
                error.hint("free some space, or use other places with CORACLE_CACHE=DIR and --out DIR")
            } else {
                error
            };
            error.because(source)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_every_cause_once_and_ends_with_the_nearest_hint() {
        let inner = Error::new(Kind::Network, "cannot fetch crun").hint("set CORACLE_MIRROR");
        let outer = Error::new(Kind::Network, "cannot lock hello.toml").because(inner);
        assert_eq!(
            outer.render(),
            "error: cannot lock hello.toml\n  caused by: cannot fetch crun\n\nhint: set CORACLE_MIRROR\n"
        );
    }

    #[test]
    fn refusals_exit_with_three() {
        assert_eq!(Kind::Digest.exit(), Exit::Refused);
        assert_eq!(Kind::Usage.exit(), Exit::Usage);
        assert_eq!(Kind::Tool.exit(), Exit::Failed);
    }
}
