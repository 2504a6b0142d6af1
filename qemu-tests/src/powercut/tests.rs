//! Recordings made by hand and at random, replayed in memory beside a simpler model.

use super::*;
use coracle_format::{
    gpt::{Geometry, Size, Table},
    guid::Guid,
    layout::Role,
};
use proptest::prelude::*;
use std::{fs::File, io::Write as _};

const SECTOR: usize = 512;

/// One operation of a made-up recording; places and lengths in sectors.
#[derive(Clone, Debug)]
pub(super) struct Op {
    flags: u64,
    sector: u64,
    sectors: u64,
    /// What every byte of a write is.
    byte: u8,
}

impl Op {
    pub(super) const fn write(sector: u64, sectors: u64) -> Self {
        Self { flags: 0, sector, sectors, byte: 7 }
    }

    const fn of(self, byte: u8) -> Self {
        Self { byte, ..self }
    }

    const fn flush() -> Self {
        Self { flags: 1, sector: 0, sectors: 0, byte: 0 }
    }

    const fn flags(self, flags: u64) -> Self {
        Self { flags, ..self }
    }
}

fn padded(words: &[u64]) -> Vec<u8> {
    let mut out: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    out.resize(SECTOR, 0);
    out
}

fn bytes_of(ops: &[Op]) -> Vec<u8> {
    let mut out = padded(&[0x006a_7366_7773_6872, 1, u64::try_from(ops.len()).unwrap(), 512]);
    for op in ops {
        out.extend(padded(&[op.sector, op.sectors, op.flags, 0]));
        if op.flags & 4 == 0 {
            out.resize(out.len() + usize::try_from(op.sectors).unwrap() * SECTOR, op.byte);
        }
    }
    out
}

fn read(bytes: &[u8]) -> anyhow::Result<Log> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Log::open(file.path())
}

pub(super) fn log_of(ops: &[Op]) -> Log {
    read(&bytes_of(ops)).unwrap()
}

/// A disk in memory without a partition table.
fn blank(sectors: usize) -> Memory {
    Memory(vec![0; sectors * SECTOR])
}

fn disk_of(log: &Log, begin: &Memory, cut: &Cut) -> Memory {
    let mut replay = Replay::new(log, begin.clone());
    let mut disk = replay.advance(cut).unwrap().clone();
    replay.finish(cut, &mut disk).unwrap();
    disk
}

fn plan_of(log: &Log, begin: &Memory, mode: Mode) -> Plan {
    plan(log, || Ok(begin.clone()), mode).unwrap()
}

#[test]
fn a_recording_is_read_as_it_was_written() {
    let ops = [Op::write(3, 2).of(9), Op::flush(), Op::write(1, 1).flags(4), Op::write(0, 1).flags(2)];
    let log = log_of(&ops);
    let seen: Vec<_> = log.entries.iter().map(|entry| (entry.operation, entry.offset, entry.bytes)).collect();
    let expected = [
        (Operation::Write, 1536, 1024),
        (Operation::Flush, 0, 0),
        (Operation::Discard, 512, 512),
        (Operation::WriteForced, 0, 512),
    ];
    assert_eq!((seen.as_slice(), log.end), (expected.as_slice(), End::Whole));
    let mut bytes = [0; 4];
    log.data(&log.entries[0], 2048, &mut bytes).unwrap();
    assert_eq!(bytes, [9; 4]);
}

#[test]
fn a_flush_that_carries_bytes_comes_before_them() {
    let log = log_of(&[Op::write(3, 2), Op::write(5, 1).flags(3)]);
    let seen: Vec<_> = log.entries.iter().map(|entry| (entry.operation, entry.number)).collect();
    assert_eq!(seen, [(Operation::Write, 0), (Operation::Flush, 1), (Operation::WriteForced, 1)]);
}

#[test]
fn a_recording_cut_short_is_read_as_far_as_it_is_whole() {
    let mut bytes = bytes_of(&[Op::write(3, 2), Op::flush(), Op::write(8, 2)]);
    bytes[16] = 2; // QEMU counted up to the flush.
    let whole = bytes.len();
    for length in whole - 3 * SECTOR + 1..whole {
        let log = read(&bytes[..length]).unwrap();
        assert_eq!((log.entries.len(), log.end), (2, End::Truncated), "cut at {length}");
    }
    assert_eq!(read(&bytes[..whole - 3 * SECTOR]).unwrap().end, End::Whole);
}

#[test]
fn what_the_recording_counted_must_be_there() {
    let bytes = bytes_of(&[Op::write(3, 2), Op::flush()]);
    let error = read(&bytes[..bytes.len() - 1]).unwrap_err();
    assert!(format!("{error:#}").contains("entry 1 of 2 is damaged"), "{error:#}");
}

#[test]
fn a_write_behind_every_disk_is_refused() {
    let mut bytes = bytes_of(&[Op::write(3, 2)]);
    bytes[SECTOR..SECTOR + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = read(&bytes).unwrap_err();
    assert!(format!("{error:#}").contains("entry 0 writes 2 sectors"), "{error:#}");
}

#[test]
fn flushes_that_change_nothing_are_no_cuts() {
    let ops = [
        Op::write(3, 2),
        Op::flush(),
        Op::flush(),
        Op::write(3, 2),
        Op::flush(),
        Op::write(4, 1).of(1),
        Op::flush(),
        Op::write(9, 1),
    ];
    let log = log_of(&ops);
    let plan = plan_of(&log, &blank(64), Mode::EveryFlush);
    let cuts: Vec<_> = plan.cuts.iter().map(|cut| (cut.number, cut.durable, cut.entries)).collect();
    assert_eq!(cuts, [(1, 2, 2), (2, 7, 7)]);
    assert_eq!(plan.merged, 1);
    assert_eq!((plan.epochs.flushes, plan.epochs.outside, plan.epochs.writes), (4, 4, 4));
    let disk = disk_of(&log, &blank(64), &plan.cuts[1]);
    assert_eq!(disk.0[3 * SECTOR..6 * SECTOR], [[7; SECTOR], [1; SECTOR], [0; SECTOR]].concat());
    assert_eq!(disk.0[9 * SECTOR], 0, "not flushed");
}

/// A disk with a `state` partition in its second MiB.
fn partitioned() -> Memory {
    let mut disk = blank(8 << 11);
    let geometry = Geometry::of_bytes(512, disk.bytes());
    let mut table = Table::new(Guid::ZERO, geometry).unwrap();
    table.add(Role::State, Guid::ZERO, Size::Bytes(1 << 20)).unwrap();
    let encoded = table.encode().unwrap();
    for write in encoded.backup.iter().chain(&encoded.primary) {
        disk.write(write.lba * 512, &write.bytes).unwrap();
    }
    disk
}

#[test]
fn writes_to_state_make_no_cuts() {
    let begin = partitioned();
    let state = 2048;
    let ops = [Op::write(state, 4), Op::flush(), Op::write(3, 0).flags(1), Op::write(8000, 1), Op::flush()];
    let plan = plan_of(&log_of(&ops), &begin, Mode::EveryFlush);
    assert_eq!(plan.cuts.len(), 1, "{plan:?}");
    assert_eq!((plan.epochs.flushes, plan.epochs.outside), (3, 1));
}

#[test]
fn the_same_seed_makes_the_same_cuts() {
    let ops: Vec<_> = (0..40).flat_map(|n| [Op::write(n, 9).of(3), Op::write(90 + n, 1)]).collect();
    let log = log_of(&ops);
    let mode = |seed, count| Mode::Random { count, seed, atomic: 512 };
    let cuts = |mode| plan_of(&log, &blank(256), mode).cuts;
    assert_eq!(cuts(mode(1, 20)), cuts(mode(1, 20)));
    assert_ne!(cuts(mode(1, 20)), cuts(mode(2, 20)));
    let few = cuts(mode(1, 5));
    assert!(few.iter().all(|cut| cuts(mode(1, 20)).contains(cut)), "a cut depends on how many there are");
}

#[test]
fn random_cuts_that_leave_the_same_disk_are_made_once() {
    let log = log_of(&[Op::write(3, 1)]);
    let plan = plan_of(&log, &blank(64), Mode::Random { count: 50, seed: 3, atomic: 512 });
    assert_eq!((plan.cuts.len(), plan.merged), (2, 48), "with the write and without it");
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let write = (0_u64..100, 1_u64..12, 0_u8..4, 0_usize..12).prop_map(|(sector, sectors, byte, kind)| {
        let op = Op::write(sector, sectors).of(byte);
        match kind {
            0 => op.flags(4),
            1 => op.flags(2),
            2 => op.flags(3),
            _ => op,
        }
    });
    let op = prop_oneof![4 => write, 1 => Just(Op::flush())];
    prop::collection::vec(op, 0..40)
}

/// Everything a sector may hold after a cut: what it held at the last flush, or what was written to it since.
fn possible(log: &Log, begin: &Memory, cut: &Cut, sector: usize) -> Vec<u8> {
    let at = u64::try_from(sector * SECTOR).unwrap();
    let mut possible = Vec::new();
    let mut durable = begin.0[sector * SECTOR];
    for (index, entry) in log.entries.iter().enumerate().take(cut.durable + cut.cached) {
        if !entry.writes() || at < entry.offset || at >= entry.end() {
            continue;
        }
        let mut byte = [0];
        log.data(entry, at, &mut byte).unwrap();
        if index < cut.durable {
            durable = byte[0];
        } else if entry.operation == Operation::WriteForced {
            // On the disk for certain; what was cached earlier may still be written later.
            durable = byte[0];
            possible.push(byte[0]);
        } else {
            possible.push(byte[0]);
        }
    }
    possible.push(durable);
    possible
}

proptest! {
    #[test]
    fn after_a_cut_every_sector_holds_something_the_disk_may_have_kept(
        ops in ops(), seed in any::<u64>(), coarse in any::<bool>()
    ) {
        let log = log_of(&ops);
        let begin = Memory((0..128 * SECTOR).map(|at| if at < 60 * SECTOR { 9 } else { 0 }).collect());
        let atomic = if coarse { 4096 } else { 512 };
        let plan = plan_of(&log, &begin, Mode::Random { count: 12, seed, atomic });
        for cut in &plan.cuts {
            let disk = disk_of(&log, &begin, cut);
            for (sector, bytes) in disk.0.chunks(SECTOR).enumerate() {
                let found = bytes[0];
                prop_assert!(bytes.iter().all(|byte| *byte == found), "sector {sector} is torn");
                prop_assert!(possible(&log, &begin, cut, sector).contains(&found), "sector {sector}");
            }
        }
    }

    #[test]
    fn forced_writes_are_there_unless_overwritten(ops in ops(), seed in any::<u64>()) {
        let log = log_of(&ops);
        let begin = blank(128);
        for cut in plan_of(&log, &begin, Mode::Random { count: 12, seed, atomic: 512 }).cuts {
            let disk = disk_of(&log, &begin, &cut);
            let cached = cut.durable..cut.durable + cut.cached;
            for index in cached.clone() {
                let entry = log.entries[index];
                let later = &log.entries[index + 1..cached.end];
                let overwritten = later.iter().any(|one| one.offset < entry.end() && entry.offset < one.end());
                if entry.operation == Operation::WriteForced && !overwritten {
                    let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap()];
                    log.data(&entry, entry.offset, &mut bytes).unwrap();
                    let at = usize::try_from(entry.offset).unwrap();
                    prop_assert_eq!(&disk.0[at..at + bytes.len()], &bytes);
                }
            }
        }
    }

    #[test]
    fn cuts_at_flushes_leave_all_that_was_written_and_differ_from_their_neighbours(ops in ops()) {
        let log = log_of(&ops);
        let begin = blank(128);
        let plan = plan_of(&log, &begin, Mode::EveryFlush);
        let mut disks = vec![begin.clone()];
        let mut replay = Replay::new(&log, begin.clone());
        for cut in &plan.cuts {
            let mut expected = begin.clone();
            for entry in log.entries[..cut.durable].iter().filter(|entry| entry.writes()) {
                let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap()];
                log.data(entry, entry.offset, &mut bytes).unwrap();
                expected.write(entry.offset, &bytes).unwrap();
            }
            let disk = replay.advance(cut).unwrap().clone();
            prop_assert!(disk == expected, "cut {}", cut.number);
            disks.push(disk);
        }
        prop_assert!(disks.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn disks_of_one_plan_differ(ops in ops(), seed in any::<u64>()) {
        let log = log_of(&ops);
        let begin = blank(128);
        let plan = plan_of(&log, &begin, Mode::Random { count: 12, seed, atomic: 512 });
        let disks: Vec<_> = plan.cuts.iter().map(|cut| disk_of(&log, &begin, cut)).collect();
        for (index, disk) in disks.iter().enumerate() {
            prop_assert!(!disks[..index].contains(disk));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), flip in any::<usize>()) {
        drop(read(&bytes));
        let mut near = bytes_of(&[Op::write(3, 2), Op::flush(), Op::write(9, 1).flags(8)]);
        let at = flip % near.len();
        near[at] ^= bytes.first().copied().unwrap_or(1);
        drop(read(&near));
    }
}

#[test]
fn a_file_and_memory_hold_the_same_after_the_same_writes() {
    let dir = tempfile::tempdir().unwrap();
    let begin = Memory(vec![5; 1 << 20]);
    let path = dir.path().join("disk.raw");
    File::create(&path).unwrap().write_all(&begin.0).unwrap();
    let ops = [Op::write(0, 64).of(0), Op::write(100, 30), Op::write(110, 4).flags(4), Op::flush()];
    let log = log_of(&ops);
    let cut = &plan_of(&log, &begin, Mode::EveryFlush).cuts[0];
    let copy = Image::open(&path).unwrap().copy(&dir.path().join("work.raw")).unwrap();
    let out = dir.path().join("out.raw");
    Replay::new(&log, copy).image(cut, &out).unwrap();
    assert!(std::fs::read(&out).unwrap() == disk_of(&log, &begin, cut).0);
    assert!(std::fs::read(&path).unwrap() == begin.0, "the disk of the beginning has changed");
}
