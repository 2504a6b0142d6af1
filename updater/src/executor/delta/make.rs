//! One operation: what it needs is checked before anything is read of the delta or written.

use super::memory::available_mib;
use super::old::{CHUNK, OldFile, Reading, Window};
use super::output::Output;
use super::packing::Packing;
use crate::error::{Error, Result};
use crate::executor::Spare;
use crate::executor::layout::Layout;
use crate::executor::running::Running;
use crate::executor::update::Tools;
use crate::pace::Pace;
use coracle_format::bundle::Frame;
use coracle_format::delta::{File, How, Method, Operation, Side};
use coracle_format::slot::BLOCK_BYTES;
use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// The machine keeps so much when contents are compressed: for this program, and for everything else.
const RESERVE_MIB: u64 = 64;
/// How far back an old file that is compressed may refer: what `zstd --ultra -22` does.
const PACKED_WINDOW_BYTES_MAX: u64 = 128 << 20;
const MIB: u64 = 1 << 20;

/// How far an operation is.
#[derive(Debug)]
pub(in crate::executor) enum Stand {
    /// Nothing is known of it.
    New,
    /// The machine has what it needs.
    Checked,
    /// It has run; which of its frames are right and in the slot.
    Made(Vec<bool>),
    /// It does not run.
    Failed,
}

/// Why an operation makes no frames.
#[derive(Debug)]
pub(in crate::executor) enum Failure {
    /// The machine is too small for it, or has not the program.
    Machine(String),
    /// The slot that runs, or the operation, is not what it should be.
    Wrong(String),
    /// The slot cannot be written: the end of the update.
    Fatal(Error),
}

/// What has been made.
#[derive(Debug)]
pub(in crate::executor) struct Made {
    /// Which frames of the operation are right, in their order; those behind its end are not.
    pub(in crate::executor) right: Vec<bool>,
    /// What has gone wrong, if anything.
    pub(in crate::executor) problem: Option<String>,
}

/// Both slots.
#[derive(Clone, Copy)]
pub(in crate::executor) struct Slots<'a> {
    /// Where an operation reads the old release.
    pub(in crate::executor) running: Running<'a>,
    /// Where it writes, and reads what is there of the new one.
    pub(in crate::executor) spare: &'a Spare<'a>,
    /// What goes where.
    pub(in crate::executor) layout: &'a Layout,
}

/// What operations work with.
#[derive(Clone, Copy)]
pub(in crate::executor) struct Hands<'a> {
    /// Both slots.
    pub(in crate::executor) slots: Slots<'a>,
    /// Programs and files of the machine.
    pub(in crate::executor) tools: Tools<'a>,
}

/// One operation to run.
#[derive(Clone, Copy)]
pub(in crate::executor) struct Job<'a> {
    pub(in crate::executor) operation: &'a Operation,
    /// The frames that it makes.
    pub(in crate::executor) frames: &'a [Frame],
    /// What it carries.
    pub(in crate::executor) stream: &'a [u8],
    /// The frames before this one among them are in the slot already, and stay as they are.
    pub(in crate::executor) from: usize,
}

impl Hands<'_> {
    /// Whether the machine has the memory and the old bytes that it needs. What is only copied is not looked at twice: its
    /// bytes are those of the frames, which have digests of their own. Neither is what is of the new release: it was compared
    /// when it was written.
    pub(in crate::executor) fn check(&self, operation: &Operation) -> Result<(), Failure> {
        if matches!(operation.method, Method::Copy(_)) {
            return Ok(());
        }
        check_machine(operation, self.tools)?;
        let window = RefCell::new(Window::default());
        let mut digest = Sha256::new();
        let sources = operation.sources().filter(|extent| extent.side == Side::Old);
        let old = OldFile::of(&self.slots, sources, (&window, 0)).ok_or_else(other_bytes)?;
        old.hash(&mut digest)
            .map_err(|error| Failure::Wrong(format!("the slot that runs cannot be read: {error}")))?;
        if digest.finalize()[..] == operation.source_sha256 { Ok(()) } else { Err(other_bytes()) }
    }

    /// Makes the frames of an operation.
    pub(in crate::executor) fn make(self, job: &Job<'_>, pace: &mut Pace) -> Result<Made, Failure> {
        let (Self { slots, tools }, window) = (self, RefCell::new(Window::default()));
        let Job { operation, frames, stream, from } = *job;
        let start = frames.first().map_or(0, |frame| slots.layout.start(frame.part));
        let mut output = Output::new((slots.spare, pace), frames, start, from);
        let problem = match &operation.method {
            // They are read one by one, and nothing is made of them.
            Method::Frames => None,
            Method::Copy(extents) => {
                let old = OldFile::of(&slots, extents, (&window, 0)).ok_or_else(other_bytes)?;
                old.each_chunk(&mut |chunk| output.take(chunk)).err().map(|error| error.to_string())
            }
            Method::Files(files) => {
                if Sha256::digest(stream)[..] != operation.stream_sha256 {
                    return Err(Failure::Wrong("what it carries is damaged".to_owned()));
                }
                let mut olds = slots.old_files(files, &window)?;
                // The stream knows nothing of these.
                let each = olds.iter_mut().zip(files);
                let same = each.map(|(old, file)| (file.how == How::Same).then(|| old.take())).collect();
                let making = Making { files, same, tools, output, done: 0, begun: None, packing: None };
                let (back, problem) = making.run(stream, &mut olds);
                output = back;
                problem
            }
        };
        let right = output.finish().map_err(Failure::Fatal)?;
        let all = right.len() == frames.len() && right.iter().all(|right| *right);
        let problem = problem.or_else(|| (!all).then(|| "it makes other bytes than were signed".to_owned()));
        Ok(Made { right, problem })
    }
}

impl<'a> Slots<'a> {
    /// The old files as the stream knows them: contents that are compressed are unpacked into the slot first, behind
    /// everything that belongs there.
    fn old_files<'b>(self, files: &[File], window: &'b RefCell<Window>) -> Result<Vec<OldFile<'b>>, Failure>
    where
        'a: 'b,
    {
        let boot = self.layout.descriptor.boot;
        let mut free = boot.offset.saturating_add(boot.bytes).next_multiple_of(BLOCK_BYTES);
        let mut olds = Vec::with_capacity(files.len());
        for (number, file) in files.iter().enumerate() {
            let mut old = OldFile::of(&self, &file.old, (window, number)).ok_or_else(other_bytes)?;
            let unpacked = file.packed().map_or(0, |packed| packed.old_plain);
            if unpacked > 0 {
                let end = free.saturating_add(unpacked);
                if end > self.layout.descriptor_at {
                    let message = format!("{unpacked} bytes of scratch space do not fit behind the release");
                    return Err(Failure::Wrong(message));
                }
                self.unpack(old, free, unpacked)?;
                old = OldFile::scratch(&self, (free, unpacked), (window, number));
                window.borrow_mut().clear();
                free = end.next_multiple_of(BLOCK_BYTES);
            }
            olds.push(old);
        }
        Ok(olds)
    }

    /// Unpacks a file to a place of the spare slot.
    fn unpack(self, old: OldFile<'_>, at: u64, bytes: u64) -> Result<(), Failure> {
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::Wrong(format!("an old file that is compressed cannot be unpacked: {why}"))
        };
        let decoder = StreamingDecoder::new_with_max_window_size(Reading::of(old), PACKED_WINDOW_BYTES_MAX);
        let mut decoder = decoder.map_err(|error| wrong(&error))?;
        let (mut buffer, mut done) = (vec![0; CHUNK], 0_u64);
        loop {
            let length = decoder.read(&mut buffer).map_err(|error| wrong(&error))?;
            let end = done.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            if length == 0 && done == bytes {
                return Ok(());
            }
            if length == 0 || end > bytes {
                return Err(wrong(&"it has another length than the delta says"));
            }
            self.spare.write(at.saturating_add(done), &buffer[..length]).map_err(Failure::Fatal)?;
            done = end;
        }
    }
}

/// What is made of files while it is.
struct Making<'a, 'b> {
    files: &'a [File],
    /// The old files that are new files as they are.
    same: Vec<Option<OldFile<'b>>>,
    tools: Tools<'a>,
    output: Output<'a>,
    /// Files before this one are done.
    done: usize,
    /// The last file of which bytes have come.
    begun: Option<usize>,
    /// What compresses it, if it is compressed.
    packing: Option<Packing>,
}

impl<'a> Making<'a, '_> {
    /// Runs the stream; what has gone wrong, if anything.
    fn run(self, stream: &[u8], olds: &mut [OldFile<'_>]) -> (Output<'a>, Option<String>) {
        let files = self.files;
        let making = RefCell::new(self);
        let sink = |number| {
            let making = &making;
            move |bytes: &[u8]| making.borrow_mut().take(number, bytes)
        };
        let mut sinks: Vec<_> = (0..files.len()).map(sink).collect();
        let each = olds.iter_mut().zip(&mut sinks).zip(files);
        let mut parts: Vec<_> = each
            .filter_map(|((old, sink), file)| {
                file.streamed().map(|bytes| coracle_delta::File { old, bytes, sink })
            })
            .collect();
        let applied = coracle_delta::apply(stream, &mut parts);
        drop(parts);
        drop(sinks);
        let mut making = making.into_inner();
        let problem = match applied {
            Ok(()) => {
                let ended = making.end_file().and_then(|()| making.copy_until(files.len()));
                ended.err().map(|error| error.to_string())
            }
            Err(coracle_delta::Failure::Io(error)) => Some(error.to_string()),
            Err(error @ coracle_delta::Failure::Corrupt(_)) => Some(error.to_string()),
        };
        (making.output, problem)
    }

    fn take(&mut self, number: usize, bytes: &[u8]) -> io::Result<()> {
        if self.begun != Some(number) {
            self.end_file()?;
            self.copy_until(number)?;
            (self.begun, self.done) = (Some(number), number + 1);
            let file = self.files.get(number).and_then(|file| Some((file.bytes, file.packed()?)));
            if let Some((bytes, packed)) = file {
                let program = self.tools.zstd;
                let started = Packing::start(program, packed.encoder, bytes)
                    .map_err(|error| io::Error::other(cannot_start(program, &error)));
                self.packing = Some(started?);
            }
        }
        let output = &mut self.output;
        let mut take = |packed: &[u8]| output.take(packed);
        match &mut self.packing {
            Some(packing) => packing.feed(bytes, &mut take),
            None => take(bytes),
        }
    }

    /// Takes the files before this one of which the stream knows nothing.
    fn copy_until(&mut self, number: usize) -> io::Result<()> {
        let output = &mut self.output;
        for old in self.same.get(self.done..number).unwrap_or_default().iter().flatten() {
            old.each_chunk(&mut |chunk| output.take(chunk))?;
        }
        self.done = self.done.max(number);
        Ok(())
    }

    /// Takes what is still to come of the file under way.
    fn end_file(&mut self) -> io::Result<()> {
        let output = &mut self.output;
        match self.packing.take() {
            Some(mut packing) => packing.finish(&mut |packed| output.take(packed)),
            None => Ok(()),
        }
    }
}

fn other_bytes() -> Failure {
    Failure::Wrong("the slot that runs does not hold what it starts from".to_owned())
}

fn cannot_start(program: &Path, error: &io::Error) -> String {
    format!("cannot start {}: {error}", program.display())
}

/// Compressing takes a program. It has its price in memory, and so has unpacking what was compressed with the same window.
fn check_machine(operation: &Operation, tools: Tools<'_>) -> Result<(), Failure> {
    let packed = operation.files().iter().filter_map(File::packed);
    let needed =
        packed.map(|packed| u64::from(packed.memory_mib).max(2 * packed.old_plain.div_ceil(MIB))).max();
    let Some(needed) = needed.map(|needed| needed.saturating_add(RESERVE_MIB)) else {
        return Ok(());
    };
    // Not after the old contents have been unpacked, which takes as long as all the rest.
    if let Err(error) = fs::metadata(tools.zstd) {
        return Err(Failure::Machine(cannot_start(tools.zstd, &error)));
    }
    match available_mib(tools.meminfo) {
        Some(available) if available >= needed => Ok(()),
        Some(available) => Err(Failure::Machine(format!(
            "it needs {needed} MiB of memory, and {available} MiB are available"
        ))),
        None => Err(Failure::Machine(format!(
            "it needs {needed} MiB of memory, and nobody says how much is available"
        ))),
    }
}
