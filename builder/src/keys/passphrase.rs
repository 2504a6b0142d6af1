//! What opens encrypted keys: from a file, from the environment, or asked for at the terminal.

use crate::{
    context::Context,
    error::{Doing as _, Error, Kind, Result},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
};
use std::{
    env, fmt,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// The variable that holds the passphrase, where nobody sits at a terminal.
pub const PASSPHRASE_VARIABLE: &str = "CORACLE_KEYS_PASSPHRASE";
/// Bytes of a passphrase at most.
const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Characters of a new passphrase at least.
const NEW_CHARACTERS_MIN: usize = 8;
const TERMINAL: &str = "/dev/tty";

/// Where the passphrase comes from. Asked for once, however many keys it opens; never printed.
#[derive(Clone, Default)]
pub struct Passphrase(Arc<Inner>);

#[derive(Default)]
struct Inner {
    file: Option<PathBuf>,
    known: Mutex<Option<String>>,
}

impl Passphrase {
    /// The first line of a file; without one the environment, and then the terminal.
    pub fn new(file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner { file, known: Mutex::default() }))
    }

    /// This one.
    pub fn known(text: impl Into<String>) -> Self {
        Self(Arc::new(Inner { file: None, known: Mutex::new(Some(text.into())) }))
    }

    /// The passphrase that opens keys; `what` says to whom is asked which.
    pub fn get(&self, ctx: &Context, what: &str) -> Result<String> {
        self.once(|| match self.stored()? {
            Some(text) => Ok(text),
            None => ask(ctx, &format!("passphrase of {what}: ")),
        })
    }

    /// The passphrase for keys that are to be encrypted: typed twice if it is typed.
    pub fn choose(&self, ctx: &Context) -> Result<String> {
        self.once(|| {
            let text = match self.stored()? {
                Some(text) => text,
                None => ask(ctx, "new passphrase: ")?,
            };
            if text.chars().count() < NEW_CHARACTERS_MIN {
                let message = format!("a passphrase has {NEW_CHARACTERS_MIN} characters or more");
                return Err(Error::new(Kind::Usage, message));
            }
            if self.stored()?.is_none() && ask(ctx, "the same again: ")? != text {
                return Err(Error::new(Kind::Usage, "the two passphrases differ"));
            }
            Ok(text)
        })
    }

    fn once(&self, find: impl FnOnce() -> Result<String>) -> Result<String> {
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = &*known {
            return Ok(text.clone());
        }
        let text = find()?;
        Ok(known.insert(text).clone())
    }

    fn stored(&self) -> Result<Option<String>> {
        if let Some(path) = &self.0.file {
            return first_line(path).map(Some);
        }
        let set = env::var_os(PASSPHRASE_VARIABLE).filter(|value| !value.is_empty());
        set.map(|value| value.into_string().map_err(|_text| not_text(PASSPHRASE_VARIABLE))).transpose()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

fn not_text(place: &str) -> Error {
    Error::new(Kind::Usage, format!("the passphrase in {place} is not text, or too long"))
}

fn first_line(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(PASSPHRASE_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .doing("read the passphrase in", path)?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line =
        str::from_utf8(line).ok().filter(|line| !line.is_empty() && line.len() <= PASSPHRASE_BYTES_MAX);
    line.map(str::to_owned).ok_or_else(|| not_text(&path.display().to_string()))
}

/// Asks at the terminal, which shows nothing of what is typed.
fn ask(ctx: &Context, prompt: &str) -> Result<String> {
    let nobody = |source: std::io::Error| {
        Error::new(Kind::Usage, "a passphrase is needed, and there is no terminal to ask at")
            .because(source)
            .hint(format!(
                "set {PASSPHRASE_VARIABLE}, or name a file whose first line it is with --passphrase-file"
            ))
    };
    let terminal = OpenOptions::new().read(true).write(true).open(TERMINAL).map_err(nobody)?;
    let _silence = Silence::begin(&terminal).map_err(|errno| nobody(errno.into()))?;
    let path = Path::new(TERMINAL);
    (&terminal).write_all(prompt.as_bytes()).doing("ask at", path)?;
    let line = read_line(ctx, &terminal)?;
    (&terminal).write_all(b"\n").doing("ask at", path)?;
    Ok(line)
}

fn read_line(ctx: &Context, mut terminal: &File) -> Result<String> {
    let mut line = Vec::new();
    loop {
        // A signal asks the work to stop and interrupts no read: so look about between.
        ctx.check()?;
        let mut waiting = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        if matches!(poll(&mut waiting, PollTimeout::from(200_u8)), Ok(0) | Err(nix::errno::Errno::EINTR)) {
            continue;
        }
        let mut byte = [0];
        let read = terminal.read(&mut byte).doing("read", Path::new(TERMINAL))?;
        if read == 0 || byte == *b"\n" {
            return String::from_utf8(line).map_err(|_text| not_text("the answer"));
        }
        line.extend_from_slice(&byte);
        if line.len() > PASSPHRASE_BYTES_MAX {
            return Err(not_text("the answer"));
        }
    }
}

/// The terminal shows nothing while this lives.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl Silence<'_> {
    fn begin(terminal: &File) -> nix::Result<Silence<'_>> {
        let before = tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Silence { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        // Nothing is left to be done with a terminal that went away.
        tcsetattr(self.terminal, SetArg::TCSAFLUSH, &self.before).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cache::Cache, files, report::Report};

    #[test]
    fn the_first_line_of_the_file_is_the_passphrase_and_nothing_shows_it() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context::new(Cache::open(dir.path().join("cache")).unwrap(), Report::silent());
        let path = dir.path().join("words");
        files::replace(&path, b"correct horse\nbattery\n").unwrap();
        let passphrase = Passphrase::new(Some(path.clone()));
        assert_eq!(passphrase.get(&ctx, "x").unwrap(), "correct horse");
        assert_eq!(format!("{passphrase:?}"), "Passphrase");
        for bad in [&b""[..], b"\nx", b"\xff\n", &[b'x'; 2000]] {
            files::replace(&path, bad).unwrap();
            assert_eq!(Passphrase::new(Some(path.clone())).get(&ctx, "x").unwrap_err().kind(), Kind::Usage);
        }
        files::replace(&path, b"short\n").unwrap();
        let error = Passphrase::new(Some(path)).choose(&ctx).unwrap_err();
        assert!(error.to_string().contains("8 characters"), "{error}");
    }
}
