//! What PID 1 attempted, on what, and why it failed.

use std::error::Error;
use std::fmt::Write;

type Cause = Box<dyn Error + Send + Sync>;

/// A failed step. `Display` does not contain the cause; [`Fault::line`] tells the whole story in one line.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {subject}")]
pub struct Fault {
    action: &'static str,
    subject: String,
    source: Cause,
}

impl Fault {
    /// A failed attempt to `action` (an infinitive) `subject`.
    pub fn new(action: &'static str, subject: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self { action, subject: subject.into(), source: source.into() }
    }

    /// The fault and all its causes in one line.
    pub fn line(&self) -> String {
        let mut line = self.to_string();
        let mut cause: Option<&dyn Error> = Some(&*self.source);
        while let Some(error) = cause {
            if write!(line, ": {error}").is_err() {
                break;
            }
            cause = error.source();
        }
        line
    }
}

/// Names the attempt when it fails.
pub trait Attempt<T> {
    /// Turns the error into a [`Fault`].
    fn attempt(self, action: &'static str, subject: &str) -> Result<T, Fault>;
}

impl<T, E: Into<Cause>> Attempt<T> for Result<T, E> {
    fn attempt(self, action: &'static str, subject: &str) -> Result<T, Fault> {
        self.map_err(|source| Fault::new(action, subject, source))
    }
}

impl From<coracle_block::PathError> for Fault {
    fn from(error: coracle_block::PathError) -> Self {
        Self::new(error.action, error.path.display().to_string(), error.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_action_subject_and_every_cause_once() {
        let inner = coracle_block::PathError {
            action: "open",
            path: "/dev/vda".into(),
            source: std::io::Error::from_raw_os_error(2),
        };
        let line = Fault::new("mount", "the root", inner).line();
        assert_eq!(
            line,
            "cannot mount the root: cannot open /dev/vda: No such file or directory (os error 2)"
        );
    }
}
