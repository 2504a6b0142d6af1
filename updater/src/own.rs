//! This program once more, as a process with other rights.

use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Where a process finds its own program.
pub(crate) const PROGRAM: &str = "/proc/self/exe";

/// Starts `program`, which is this one, with a pipe to its standard input and `output` as its standard output. It
/// inherits neither environment nor directory.
#[expect(clippy::disallowed_methods, reason = "it is no external program")]
pub(crate) fn start(program: &Path, arguments: &[&str], output: Stdio) -> io::Result<Child> {
    Command::new(program)
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::inherit())
        .spawn()
}
