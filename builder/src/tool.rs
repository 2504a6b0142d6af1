//! The only place in the builder that starts programs.
//!
//! A [`Tool`] has a fixed environment, no terminal, its own process group, a deadline and a log file, and its failure
//! says what was run, how it ended, its last lines, and where the rest is.

mod failure;
mod pipe;
mod running;

pub use failure::quote;
pub use running::{Running, Waited};

use failure::Log;
use pipe::{Drained, Fed, drain, feed};
use running::Group;

use crate::{
    context::Context,
    error::{Doing, Error, Kind, Result},
    toolroot::ToolRoot,
};
use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt, fs,
    fs::File,
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// How long a program may run unless [`Tool::within`] says otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(5);
/// How much of a program's output [`Tool::run`] keeps unless [`Tool::stdout`] says otherwise.
pub const CAPTURE_LIMIT_BYTES: u64 = 16 << 20;
/// The longest line that [`Stdout::Lines`] hands over; longer ones are cut there.
pub const LINE_LIMIT_BYTES: u64 = 4 << 20;
/// Where host programs look for others.
const HOST_PATH: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What writes a program's standard input.
pub type Feed<'a> = Box<dyn FnOnce(&mut dyn Write) -> Result<()> + Send + 'a>;

/// Where a program's standard input comes from.
pub enum Stdin<'a> {
    /// There is none.
    Closed,
    /// An open file.
    File(File),
    /// These bytes.
    Bytes(Vec<u8>),
    /// Everything that a reader yields.
    Reader(Box<dyn Read + Send + 'a>),
    /// What a function writes; it runs in a thread of its own.
    Writer(Feed<'a>),
    /// The terminal, or whatever this program has. The program then stays in this process group.
    Inherit,
    /// A pipe; only for [`Tool::spawn`], see [`Running::take_stdin`].
    Piped,
}

impl fmt::Debug for Stdin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdin")
    }
}

/// Where a program's standard output goes.
pub enum Stdout<'a> {
    /// Into [`Output::stdout`], at most so many bytes.
    Capture(u64),
    /// Into an open file.
    File(File),
    /// To a function, line by line.
    Lines(Box<dyn FnMut(&str) + Send + 'a>),
    /// Into the log file.
    Log,
    /// The terminal, or whatever this program has.
    Inherit,
    /// A pipe; only for [`Tool::spawn`], see [`Running::take_stdout`].
    Piped,
}

impl fmt::Debug for Stdout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stdout")
    }
}

/// What a program that ended well left.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Its standard output, if it was captured.
    pub stdout: Vec<u8>,
}

impl Output {
    /// The standard output as text, without white space at the end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// A program about to be run.
pub struct Tool<'a> {
    name: String,
    program: Result<PathBuf>,
    args: Vec<OsString>,
    shown_from: usize,
    env: BTreeMap<OsString, OsString>,
    dir: Option<PathBuf>,
    stdin: Stdin<'a>,
    stdout: Stdout<'a>,
    deadline: Duration,
    log: String,
    log_file: Option<PathBuf>,
}

impl fmt::Debug for Tool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tool({})", self.shown())
    }
}

impl<'a> Tool<'a> {
    /// The program `name` of a tool root, run by that root's own dynamic loader and libraries.
    pub fn new(root: &ToolRoot, name: &str) -> Self {
        let launch = root.launch(name);
        let (program, args) = match launch {
            Ok((program, args)) => (Ok(program), args),
            Err(error) => (Err(error), Vec::new()),
        };
        let mut tool = Self::with(name, program);
        tool.shown_from = args.len();
        tool.args = args;
        tool.env.extend(root.env());
        tool
    }

    /// The program `name` of the host, searched along this process's `PATH`.
    pub fn host(name: &str) -> Self {
        let mut tool = Self::with(name, find_on_host(name));
        tool.env.insert("PATH".into(), HOST_PATH.into());
        tool
    }

    fn with(name: &str, program: Result<PathBuf>) -> Self {
        let fixed = [("LC_ALL", "C"), ("TZ", "UTC")];
        Self {
            name: name.to_owned(),
            program,
            args: Vec::new(),
            shown_from: 0,
            env: fixed.map(|(key, value)| (key.into(), value.into())).into(),
            dir: None,
            stdin: Stdin::Closed,
            stdout: Stdout::Capture(CAPTURE_LIMIT_BYTES),
            deadline: DEFAULT_DEADLINE,
            log: name.replace('/', "-"),
            log_file: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// An environment variable.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(key.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Takes these variables over from this process's environment, where they are set.
    pub fn keep_env(mut self, keys: &[&str]) -> Self {
        for key in keys {
            if let Some(value) = env::var_os(key) {
                self.env.insert(key.into(), value);
            }
        }
        self
    }

    /// Sets `SOURCE_DATE_EPOCH`.
    pub fn epoch(self, seconds: u64) -> Self {
        self.env("SOURCE_DATE_EPOCH", seconds.to_string())
    }

    /// The directory it runs in.
    pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Where its standard input comes from; closed by default.
    pub fn stdin(mut self, stdin: Stdin<'a>) -> Self {
        self.stdin = stdin;
        self
    }

    /// Where its standard output goes; captured by default.
    pub fn stdout(mut self, stdout: Stdout<'a>) -> Self {
        self.stdout = stdout;
        self
    }

    /// How long it may run; then its whole process group is killed.
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The log file's name, without directory and ending; the program's name by default.
    pub fn log(mut self, name: &str) -> Self {
        self.log = name.replace('/', "-");
        self
    }

    /// The log file itself. It is then kept even when all goes well.
    pub fn log_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.log_file = Some(path.into());
        self
    }

    /// The command as a person would type it, without the loader.
    fn shown(&self) -> String {
        let args = self.args.iter().skip(self.shown_from);
        let words = std::iter::once(OsStr::new(&self.name)).chain(args.map(OsString::as_os_str));
        words.map(quote).collect::<Vec<_>>().join(" ")
    }

    /// The command to copy into a shell: directory, environment, loader and all.
    fn exact(&self, program: &Path) -> String {
        let mut words = vec!["env".to_owned(), "-i".to_owned()];
        if let Some(dir) = &self.dir {
            words.splice(0..0, ["cd".to_owned(), quote(dir.as_os_str()), "&&".into()]);
        }
        for (key, value) in &self.env {
            let mut pair = key.clone();
            pair.push("=");
            pair.push(value);
            words.push(quote(&pair));
        }
        words.push(quote(program.as_os_str()));
        words.extend(self.args.iter().map(quote));
        words.join(" ")
    }

    /// Starts it and returns at once. It is killed when the handle is dropped. The deadline does not apply: see
    /// [`Running::wait`]. Only [`Stdin::Closed`], [`Stdin::File`], [`Stdin::Inherit`], [`Stdin::Piped`] and, for output,
    /// [`Stdout::File`], [`Stdout::Log`], [`Stdout::Inherit`], [`Stdout::Piped`] make sense here: nobody serves the others.
    pub fn spawn(mut self, ctx: &Context) -> Result<Running> {
        self.start(ctx)
    }

    /// Runs it to its end.
    ///
    /// An exit status other than 0, the deadline, too much output and a user who wants to stop are errors.
    pub fn run(mut self, ctx: &Context) -> Result<Output> {
        ctx.check()?;
        let mut running = self.start(ctx)?;
        let pipes = (running.take_stdin(), running.take_stdout());
        let (stdin, stdout, deadline) = (self.stdin, self.stdout, self.deadline);
        let (fed, drained, waited) = thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(stdin, pipes.0));
            let reader = scope.spawn(move || drain(stdout, pipes.1));
            let waited = running.wait(deadline);
            if !matches!(waited, Ok(Waited::Exited(_))) {
                running.kill();
            }
            (feeder.join(), reader.join(), waited)
        });
        let (Ok(fed), Ok(drained)) = (fed, drained) else {
            let message = format!("the input or output of {} was dropped", running.name());
            return Err(Error::new(Kind::Internal, message));
        };
        let stdout = match drained {
            Drained::All(stdout) => stdout,
            Drained::Over(limit) => {
                let message = format!("{} wrote more than {limit} bytes of output", running.name());
                return Err(Error::new(Kind::Hostile, message));
            }
            Drained::Broken(source) => return Err(running.pipe_broke(source)),
        };
        match waited? {
            Waited::Running => Err(running.timed_out(deadline, &stdout)),
            Waited::Exited(status) => {
                if let Fed::Failed(error) = fed {
                    let message = format!("cannot write the input of {}", running.name());
                    return Err(Error::new(error.kind(), message).because(error));
                }
                running.judge(status, &stdout)?;
                Ok(Output { stdout })
            }
        }
    }

    fn start(&mut self, ctx: &Context) -> Result<Running> {
        let program = std::mem::replace(&mut self.program, Ok(PathBuf::new()))?;
        let log = match &self.log_file {
            Some(path) => Log::kept(path)?,
            None => Log::scratch(ctx, &self.log)?,
        };
        log.line(&self.exact(&program))?;
        #[expect(clippy::disallowed_methods, reason = "this is the door")]
        let mut command = Command::new(&program);
        command.args(&self.args).env_clear().envs(&self.env);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let group = match self.stdin {
            // A terminal stops whatever reads from it outside its foreground group.
            Stdin::Inherit => Group::Shared,
            Stdin::Closed
            | Stdin::File(_)
            | Stdin::Bytes(_)
            | Stdin::Reader(_)
            | Stdin::Writer(_)
            | Stdin::Piped => {
                command.process_group(0);
                Group::Own
            }
        };
        command.stdin(self.child_stdin().doing("duplicate a file for", &program)?);
        command.stdout(self.child_stdout(&log)?);
        command.stderr(log.handle()?);
        let child = command.spawn().map_err(|source| {
            Error::new(Kind::Tool, format!("cannot start {}", program.display())).because(source)
        })?;
        Running::new(child, (self.name.clone(), self.shown()), group, log, ctx)
    }

    fn child_stdin(&self) -> io::Result<Stdio> {
        Ok(match &self.stdin {
            Stdin::Closed => Stdio::null(),
            Stdin::File(file) => file.try_clone()?.into(),
            Stdin::Inherit => Stdio::inherit(),
            Stdin::Bytes(_) | Stdin::Reader(_) | Stdin::Writer(_) | Stdin::Piped => Stdio::piped(),
        })
    }

    fn child_stdout(&self, log: &Log) -> Result<Stdio> {
        Ok(match &self.stdout {
            Stdout::Capture(_) | Stdout::Lines(_) | Stdout::Piped => Stdio::piped(),
            Stdout::File(file) => {
                let copy = file.try_clone();
                copy.doing("duplicate the output file of", Path::new(&self.name))?.into()
            }
            Stdout::Log => log.handle()?,
            Stdout::Inherit => Stdio::inherit(),
        })
    }
}

/// The program `name` along this process's `PATH`.
fn find_on_host(name: &str) -> Result<PathBuf> {
    let executable = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let path = env::var_os("PATH").unwrap_or_else(|| HOST_PATH.into());
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(executable)
    } else {
        env::split_paths(&path).map(|dir| dir.join(name)).find(executable)
    };
    found.ok_or_else(|| {
        let message = format!("cannot run {name}: there is no such program on this machine");
        let hint = match name {
            "cargo" | "rustup" | "rustc" => "install rustup from https://rustup.rs".to_owned(),
            _ => format!("install the package that has {name}, or add its directory to PATH"),
        };
        Error::new(Kind::NotFound, message).hint(hint)
    })
}

#[cfg(test)]
mod tests;
