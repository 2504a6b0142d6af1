//! Contents of a file compressed again, by a program that runs beside.

use coracle_format::delta::{Encoder, ZSTD_JOB_BYTES};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Bytes that are taken from it at once.
const PIECE: usize = 64 << 10;

/// Takes what the program gives.
pub(super) type Take<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// The program at work: it takes contents and gives the compressed file. It is gone when this is.
pub(super) struct Packing {
    child: Child,
    /// What it reads; `None` when it has everything.
    input: Option<ChildStdin>,
    output: ChildStdout,
    /// Bytes that it may still give.
    left: u64,
    buffer: Vec<u8>,
}

impl Drop for Packing {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Packing {
    /// Starts the program at `path`; it is to give exactly so many bytes.
    pub(super) fn start(path: &Path, encoder: Encoder, bytes: u64) -> io::Result<Self> {
        let mut child = command(path, encoder).spawn()?;
        prefer_to_lose(child.id());
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let this = Self { child, input: Some(input), output, left: bytes, buffer: vec![0; PIECE] };
        if let Some(input) = &this.input {
            fcntl_setfl(input, OFlags::NONBLOCK)?;
        }
        Ok(this)
    }

    /// Gives it contents, and takes what it has ready meanwhile: neither waits for the other.
    pub(super) fn feed(&mut self, mut contents: &[u8], take: Take<'_>) -> io::Result<()> {
        while !contents.is_empty() {
            let Some(input) = &mut self.input else {
                return Err(io::Error::other("it has everything already"));
            };
            let (can_write, can_read) = {
                let mut fds =
                    [PollFd::new(&*input, PollFlags::OUT), PollFd::new(&self.output, PollFlags::IN)];
                poll(&mut fds, None)?;
                let [input, output] = fds.map(|fd| !fd.revents().is_empty());
                (input, output)
            };
            if can_write {
                match input.write(contents) {
                    Ok(written) => contents = contents.get(written..).unwrap_or_default(),
                    Err(error) if is_for_later(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            if can_read {
                self.take_some(take)?;
            }
        }
        Ok(())
    }

    /// Tells it that this was everything, and takes the rest.
    pub(super) fn finish(&mut self, take: Take<'_>) -> io::Result<()> {
        self.input = None;
        while self.take_some(take)? {}
        let status = self.child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!("the program that compresses ended with {status}")));
        }
        if self.left > 0 {
            let left = self.left;
            return Err(io::Error::other(format!(
                "the program that compresses gives {left} bytes less than it should"
            )));
        }
        Ok(())
    }

    /// `false` when nothing more will come.
    fn take_some(&mut self, take: Take<'_>) -> io::Result<bool> {
        let length = match self.output.read(&mut self.buffer) {
            Ok(0) if self.input.is_some() => {
                return Err(io::Error::other("the program that compresses has ended early"));
            }
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if is_for_later(&error) => return Ok(true),
            Err(error) => return Err(error),
        };
        let left = u64::try_from(length).ok().and_then(|length| self.left.checked_sub(length));
        self.left = left
            .ok_or_else(|| io::Error::other("the program that compresses gives more bytes than it should"))?;
        take(self.buffer.get(..length).unwrap_or_default())?;
        Ok(true)
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of the verified root image; the device has no tool runner"
)]
fn command(path: &Path, encoder: Encoder) -> Command {
    let mut command = Command::new(path);
    match encoder {
        Encoder::Zstd157 { level } => {
            let job = format!("-B{ZSTD_JOB_BYTES}");
            command.args(["--ultra", &format!("-{level}"), "-T1", &job, "-c", "-q"]);
        }
    }
    command.env_clear().current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// If memory runs out all the same, it is this process that the kernel ends, and the operation fails.
fn prefer_to_lose(process: u32) {
    let file = OpenOptions::new().write(true).open(format!("/proc/{process}/oom_score_adj"));
    // Where that cannot be said, the kernel most likely takes the largest process, which is this one too.
    drop(file.and_then(|mut file| file.write_all(b"1000")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, script: &str) -> std::path::PathBuf {
        let path = directory.join("zstd");
        coracle_block::replace_file(&path, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o700).unwrap();
        // A process that another test has just begun may still have it open for writing.
        let start = || Packing::start(&path, Encoder::Zstd157 { level: 1 }, 0).err();
        while start().is_some_and(|error| error.kind() == io::ErrorKind::ExecutableFileBusy) {
            std::thread::yield_now();
        }
        path
    }

    fn packed(script: &str, contents: &[u8], bytes: u64) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = program(directory.path(), script);
        let mut out = Vec::new();
        let mut take = |piece: &[u8]| {
            out.extend_from_slice(piece);
            Ok(())
        };
        let encoder = Encoder::Zstd157 { level: 22 };
        let mut packing = Packing::start(&path, encoder, bytes).map_err(|error| error.to_string())?;
        let done = contents.chunks(100_000).try_for_each(|piece| packing.feed(piece, &mut take));
        done.and_then(|()| packing.finish(&mut take)).map_err(|error| error.to_string())?;
        Ok(out)
    }

    #[test]
    fn what_is_fed_comes_back_whole_however_much_waits_in_the_pipes() {
        let contents: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let bytes = u64::try_from(contents.len()).unwrap();
        assert!(packed("exec cat", &contents, bytes).unwrap() == contents);
        // All at the end, as an encoder with a large window gives it.
        let late = packed("cat > \"$0.in\"; exec cat \"$0.in\"", &contents, bytes).unwrap();
        assert!(late == contents);
    }

    #[test]
    fn the_program_is_told_the_level_and_has_no_environment() {
        let arguments = packed("cat > /dev/null; printf '%s' \"$* $HOME\"", b"contents", 34).unwrap();
        assert_eq!(arguments, b"--ultra -22 -T1 -B134217728 -c -q ");
    }

    #[test]
    fn a_program_that_gives_up_or_gives_another_number_of_bytes_is_an_error() {
        let contents = vec![7; 1 << 20];
        for (script, bytes, expected) in [
            ("exec cat", 1 << 19, "the program that compresses gives more bytes than it should"),
            ("exec cat", 1 << 21, "the program that compresses gives 1048576 bytes less than it should"),
            ("cat; exit 3", 1 << 20, "the program that compresses ended with exit status: 3"),
        ] {
            assert_eq!(packed(script, &contents, bytes).unwrap_err(), expected, "{script}");
        }
        packed("exec true", &contents, 0).unwrap_err();
        packed("kill -9 $$", &contents, 0).unwrap_err();
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let path = Path::new("/nonexistent/zstd");
        assert!(Packing::start(path, Encoder::Zstd157 { level: 1 }, 1).is_err());
    }
}
