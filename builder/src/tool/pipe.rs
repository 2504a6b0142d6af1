//! What goes through a program's pipes while it runs.

use super::{LINE_LIMIT_BYTES, Stdin, Stdout};
use crate::error::{Doing, Error};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write},
    path::Path,
    process::{ChildStdin, ChildStdout},
};

/// What became of a program's input.
pub(super) enum Fed {
    /// Written, or no longer wanted by the program, which says so itself if that is a fault.
    Done,
    /// Its source failed.
    Failed(Error),
}

/// Notes when the program no longer reads, which is not its source's fault.
struct Pipe {
    inner: ChildStdin,
    closed: bool,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes);
        if let Err(error) = &written {
            self.closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

pub(super) fn feed(stdin: Stdin<'_>, pipe: Option<ChildStdin>) -> Fed {
    let Some(inner) = pipe else {
        return Fed::Done;
    };
    let mut pipe = Pipe { inner, closed: false };
    let at = Path::new("standard input");
    let fed = match stdin {
        Stdin::Bytes(bytes) => pipe.write_all(&bytes).doing("write", at),
        Stdin::Reader(mut reader) => io::copy(&mut reader, &mut pipe).map(|_| ()).doing("copy to", at),
        Stdin::Writer(write) => write(&mut pipe),
        Stdin::Closed | Stdin::File(_) | Stdin::Inherit | Stdin::Piped => Ok(()),
    };
    match fed {
        Err(error) if !pipe.closed => Fed::Failed(error),
        Ok(()) | Err(_) => Fed::Done,
    }
}

/// What became of a program's output.
pub(super) enum Drained {
    /// All of it that was to be captured.
    All(Vec<u8>),
    /// It was more than this limit.
    Over(u64),
    /// Reading failed.
    Broken(io::Error),
}

pub(super) fn drain(stdout: Stdout<'_>, pipe: Option<ChildStdout>) -> Drained {
    let Some(pipe) = pipe else {
        return Drained::All(Vec::new());
    };
    match stdout {
        Stdout::Capture(limit) => {
            let mut bytes = Vec::new();
            // One byte more than allowed tells "exactly the limit" from "more". Dropping the pipe ends the program.
            match pipe.take(limit.saturating_add(1)).read_to_end(&mut bytes) {
                Ok(n) if u64::try_from(n).is_ok_and(|n| n <= limit) => Drained::All(bytes),
                Ok(_) => Drained::Over(limit),
                Err(error) => Drained::Broken(error),
            }
        }
        Stdout::Lines(mut take) => match lines(pipe, &mut take) {
            Ok(()) => Drained::All(Vec::new()),
            Err(error) => Drained::Broken(error),
        },
        Stdout::File(_) | Stdout::Log | Stdout::Inherit | Stdout::Piped => Drained::All(Vec::new()),
    }
}

fn lines(pipe: ChildStdout, take: &mut dyn FnMut(&str)) -> io::Result<()> {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.by_ref().take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line)? != 0 {
        take(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
        line.clear();
    }
    Ok(())
}
