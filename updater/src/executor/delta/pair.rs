//! Two operations at once: most of the time of an update by delta is spent in them, and most machines have two processors.

use super::make::{Failure, Hands, Job, Made};
use crate::pace::Pace;
use coracle_delta::limits::SMALL_STREAM_BYTES_MAX;
use coracle_format::bundle::{Frame, Index};
use coracle_format::delta::{File, How, Method, Operation};
use std::thread;

/// What an operation has at most that runs beside another one: bytes of one old file, files, extents. What both take in
/// memory then is told in `memory`.
const OLD_BYTES_MAX: u64 = 4 << 20;
pub(super) const FILES_MAX: usize = 1 << 10;
pub(super) const EXTENTS_MAX: usize = 1 << 12;

/// Whether an operation takes so little memory that another such one may run beside it. One that only copies takes less than
/// any with a stream.
pub(super) fn is_small(operation: &Operation) -> bool {
    let old = |file: &File| file.old.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.bytes));
    let is_small = |file: &File| matches!(file.how, How::Differs | How::Same) && old(file) <= OLD_BYTES_MAX;
    let is_made = match &operation.method {
        Method::Copy(_) => true,
        Method::Files(files) => files.len() <= FILES_MAX && files.iter().all(is_small),
        Method::Frames => false,
    };
    let has_small_tables = operation.stream <= wide(SMALL_STREAM_BYTES_MAX);
    is_made && has_small_tables && operation.sources().count() <= EXTENTS_MAX
}

/// Whether an operation reads nothing that the one before it makes: what it reads is there before both.
pub(super) fn is_independent(own: &Operation, beside: &Operation, index: &Index) -> bool {
    let first = index.run(own.first, 1).and_then(<[Frame]>::first);
    first.is_some_and(|first| beside.sources().all(|extent| extent.is_there(index, first)))
}

impl Hands<'_> {
    /// Makes the frames of one operation, and beside it checks another one and makes its frames, as fast as it goes. The
    /// other one has no result if it could not be started.
    pub(in crate::executor) fn make_both(
        self,
        (job, pace): (&Job<'_>, &mut Pace),
        beside: &Job<'_>,
    ) -> (Result<Made, Failure>, Option<Result<Made, Failure>>) {
        thread::scope(|scope| {
            let work = || {
                self.check(beside.operation)?;
                self.make(beside, &mut Pace::new(0))
            };
            let other = thread::Builder::new().spawn_scoped(scope, work);
            let made = self.make(job, pace);
            let died = |_| Err(Failure::Wrong("the thread that made it has died".to_owned()));
            (made, other.ok().map(|other| other.join().unwrap_or_else(died)))
        })
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::bundle::{Encoding, Part, Whole};
    use coracle_format::delta::{Extent, Side};
    use coracle_format::slot::{Arch, Text};

    fn operation(stream: u64, old: &[u64]) -> Operation {
        let extent = |bytes: &u64| Extent { side: Side::Old, part: Part::Root, offset: 0, bytes: *bytes };
        let file = |how| File { bytes: 1, old: old.iter().map(extent).collect(), how };
        let method = Method::Files(vec![file(How::Same), file(How::Differs)]);
        Operation { first: 0, frames: 1, method, source_sha256: [0; 32], stream, stream_sha256: [0; 32] }
    }

    #[test]
    fn what_reads_frames_that_are_not_made_yet_waits_for_them() {
        let frame = |part, offset| Frame {
            part,
            offset,
            plain: 4096,
            stored: 4096,
            encoding: Encoding::Raw,
            sha256: [5; 32],
            plain_sha256: [5; 32],
        };
        let whole = Whole { bytes: 8192, sha256: [1; 32] };
        let index = Index {
            arch: Arch::X86_64,
            name: Text::new("hello").unwrap(),
            version: Text::new("1").unwrap(),
            root: whole,
            boot: whole,
            root_hash: [3; 32],
            salt: [4; 32],
            frames: Part::ALL.into_iter().flat_map(|part| [frame(part, 0), frame(part, 4096)]).collect(),
        };
        let of = |first, side, part, offset| {
            let old = vec![Extent { side, part, offset, bytes: 4096 }];
            let method = Method::Files(vec![File { bytes: 4096, old, how: How::Differs }]);
            Operation { first, method, ..operation(1, &[]) }
        };
        let may = |first, side, part, offset| {
            let own = of(first, Side::Old, Part::Root, 0);
            is_independent(&own, &of(first + 1, side, part, offset), &index)
        };
        assert!(may(0, Side::Old, Part::Root, 4096));
        assert!(!may(0, Side::New, Part::Root, 0));
        assert!(!may(1, Side::New, Part::Root, 4096));
        assert!(may(1, Side::New, Part::Root, 0));
        assert!(may(2, Side::New, Part::Root, 4096));
        assert!(!may(2, Side::New, Part::Boot, 0));
    }

    #[test]
    fn only_what_takes_little_memory_runs_beside_another_one() {
        let most = wide(SMALL_STREAM_BYTES_MAX);
        assert!(is_small(&operation(most, &[3 << 20, 1 << 20])));
        assert!(!is_small(&operation(most + 1, &[1])));
        assert!(!is_small(&operation(1, &[3 << 20, (1 << 20) + 1])));
        assert!(is_small(&operation(1, &vec![1; EXTENTS_MAX / 2])));
        assert!(!is_small(&operation(1, &vec![1; EXTENTS_MAX / 2 + 1])));
        let Method::Files(files) = operation(1, &[1]).method else { panic!("no files") };
        let of = |count| Operation {
            method: Method::Files(files.iter().cycle().take(count).cloned().collect()),
            ..operation(1, &[])
        };
        assert!(is_small(&of(FILES_MAX)) && !is_small(&of(FILES_MAX + 1)));
        let copy = Method::Copy(operation(1, &[1]).files()[0].old.clone());
        assert!(is_small(&Operation { method: copy, ..operation(0, &[]) }));
        let extents = operation(0, &vec![1; EXTENTS_MAX + 1]).files()[0].old.clone();
        assert!(!is_small(&Operation { method: Method::Copy(extents), ..operation(0, &[]) }));
        assert!(!is_small(&Operation { method: Method::Frames, ..operation(0, &[]) }));
    }
}
