//! Prints the boot clock: the measuring stick of `coracle bench`.
//!
//! One line, `coracle-probe: boottime_us=<CLOCK_BOOTTIME> label=<label>`, written as the first thing the program does.
//! Then, as PID 1 of the machine (the floor: an initramfs with nothing but this program), it powers off; elsewhere it
//! becomes the program named by its arguments, or waits until a signal ends it.
//!
//! ```text
//! coracle-probe [LABEL] [-- PROGRAM ARG…]
//! ```
#![forbid(unsafe_code)]

use nix::sys::signal::{SigSet, Signal};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, clock_gettime};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let microseconds = boot_microseconds();
    let call = Call::parse(std::env::args_os());
    let place = place();
    let told = tell(&line(microseconds, &call.label), place);
    let done = match (place, call.program.split_first()) {
        (Place::Machine, _) => power_off().and_then(|()| wait()),
        (Place::Elsewhere, Some((program, arguments))) => Err(become_program(program, arguments)),
        (Place::Elsewhere, None) => told.and_then(|()| wait()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    label: String,
    program: Vec<OsString>,
}

impl Call {
    /// The label is the first argument, or else the name under which the probe was called.
    fn parse(arguments: impl Iterator<Item = OsString>) -> Self {
        let mut arguments = arguments.peekable();
        let name = arguments.next().unwrap_or_default();
        let own = arguments.next_if(|argument| argument != "--");
        let label = match &own {
            Some(label) => label.as_os_str(),
            None => Path::new(&name).file_name().unwrap_or_else(|| OsStr::new("probe")),
        };
        let program = arguments.skip_while(|argument| argument != "--").skip(1).collect();
        Self { label: plain(&label.to_string_lossy()), program }
    }
}

/// One word: what reads the line splits it at spaces.
fn plain(label: &str) -> String {
    let is_plain = |character: char| character.is_ascii_graphic();
    label.chars().take(64).map(|character| if is_plain(character) { character } else { '_' }).collect()
}

fn boot_microseconds() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

fn line(microseconds: i64, label: &str) -> String {
    format!("coracle-probe: boottime_us={microseconds} label={label}\n")
}

/// Where the probe runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is PID 1 of the machine.
    Machine,
    /// It is not, or it is PID 1 of a container.
    Elsewhere,
}

/// PID 1 of a container has `/proc`; PID 1 of the machine is the first program of all, so nobody has mounted it.
fn place() -> Place {
    if rustix::process::getpid().is_init() && !Path::new("/proc/self").exists() {
        Place::Machine
    } else {
        Place::Elsewhere
    }
}

/// Writes the line at once: to standard output, or, where a machine has none, to the console or the kernel log.
fn tell(line: &str, place: Place) -> io::Result<()> {
    let mut stdout = io::stdout();
    let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
    match (place, written) {
        (Place::Machine, Err(error)) => ["/dev/console", "/dev/kmsg"]
            .into_iter()
            .find_map(|path| File::options().write(true).open(path).ok())
            .ok_or(error)?
            .write_all(line.as_bytes()),
        (Place::Machine | Place::Elsewhere, written) => written,
    }
}

fn power_off() -> io::Result<()> {
    Ok(rustix::system::reboot(RebootCommand::PowerOff)?)
}

/// Returns only if the program cannot be run.
#[expect(
    clippy::disallowed_methods,
    reason = "the probe becomes the program that its caller names, and is no part of a build"
)]
fn become_program(program: &OsStr, arguments: &[OsString]) -> io::Error {
    Command::new(program).args(arguments).exec()
}

/// Waits to be told to end. The first process of a container must ask for these signals to get them.
fn wait() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT]);
    signals.thread_block()?;
    signals.wait()?;
    Ok(())
}

/// Nothing is left to do when standard error is closed as well.
fn report(error: &io::Error) -> ExitCode {
    match writeln!(io::stderr(), "coracle-probe: {error}") {
        Ok(()) | Err(_) => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &[&str]) -> (String, Vec<String>) {
        let call = Call::parse(arguments.iter().map(OsString::from));
        let program = call.program.into_iter().map(|word| word.into_string().unwrap());
        (call.label, program.collect())
    }

    #[test]
    fn the_label_is_the_first_argument_or_the_own_name() {
        assert_eq!(call(&["/bin/coracle-probe"]).0, "coracle-probe");
        assert_eq!(call(&["/init", "floor"]).0, "floor");
        assert_eq!(call(&["/init", "a label\n"]).0, "a_label_");
        assert_eq!(call(&[]).0, "probe");
    }

    #[test]
    fn the_program_follows_two_dashes() {
        let expected = vec!["httpd".to_owned(), "--".to_owned(), "-f".to_owned()];
        assert_eq!(call(&["p", "web", "--", "httpd", "--", "-f"]), ("web".to_owned(), expected.clone()));
        assert_eq!(call(&["/p", "--", "httpd", "--", "-f"]), ("p".to_owned(), expected));
        assert_eq!(call(&["p", "web", "httpd"]).1, Vec::<String>::new());
    }

    #[test]
    fn the_line_is_what_the_bench_reads() {
        assert_eq!(line(1_234_567, "web"), "coracle-probe: boottime_us=1234567 label=web\n");
    }
}
