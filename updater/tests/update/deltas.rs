//! Updates by delta: whatever the slot that runs holds and whatever the delta says, what is armed is what was signed.

use crate::fixture::{DISK_BYTES, Memory, Notes, Payload, SLOT_BYTES, noise, settings, ship, verified};
use crate::making::{Piece, by_files, by_frames, delta, operation, pair as versions, pieces};
use coracle_block::model::Model;
use coracle_format::bundle::Part;
use coracle_format::delta::{Encoder, Extent, File, Header, How, Method, Packed, Side};
use coracle_slots::{Slot, SlotState};
use coracle_update::engine::Ask;
use coracle_update::executor::{Executor, Settings, Supply, Tally, Tools};
use coracle_update::{Error, Kind};
use proptest::prelude::*;
use std::path::Path;

pub(crate) fn shipped(payload: &Payload) -> (Model, Executor) {
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    ship(&disk, SLOT_BYTES, payload);
    model.settle();
    (model, Executor::on(disk, Slot::A).unwrap())
}

/// What came of an update.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) error: Option<Error>,
    pub(crate) notes: Vec<String>,
    pub(crate) tally: Tally,
    /// Bytes taken of the delta, and of the bundle.
    pub(crate) taken: (u64, u64),
}

pub(crate) fn run(executor: &Executor, delta: &[u8], full: Option<Vec<u8>>, settings: &Settings<'_>) -> Done {
    let (mut main, mut notes) = (Memory::new(delta.to_vec()), Notes::default());
    let mut beside = full.map(Memory::new);
    let full = beside.as_mut().map(|full| {
        let full: &mut dyn coracle_update::source::Source = full;
        full
    });
    let supply = Supply { main: &mut main, full };
    let error = executor.update(Ask::Apply, supply, settings, &mut notes).err();
    let taken = (main.taken, beside.map_or(0, |full| full.taken));
    Done { error, notes: notes.0, tally: notes.1, taken }
}

/// Applies it well: the new release is in the spare slot and armed.
pub(crate) fn apply(executor: &Executor, delta: &[u8], full: Option<Vec<u8>>, new: &Payload) -> Done {
    let done = run(executor, delta, full, &settings());
    assert_applied(executor, &done, new);
    done
}

pub(crate) fn assert_applied(executor: &Executor, done: &Done, new: &Payload) {
    assert!(done.error.is_none(), "{done:?}");
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()), "{done:?}");
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Trial { starts: 0 });
}

/// A release, and the next one: the same text moved, some noise changed.
fn pair() -> (Payload, Payload) {
    let (old, mut new) = (Payload::new("1.0"), Payload::new("2.0"));
    new.root = old.root.clone();
    new.root[140_000..140_100].fill(7);
    new.root.splice(270_000..270_000, noise(5, 4096));
    new.boot = [&old.boot[..30_000], b"changed", &old.boot[30_000..]].concat();
    (old, new)
}

#[test]
fn a_delta_alone_brings_the_release_in_fewer_bytes() {
    let (old, new) = pair();
    let (_, executor) = shipped(&old);
    let bytes = delta(&old, &new, by_files(&old, &new));
    let done = apply(&executor, &bytes, None, &new);
    assert_eq!(done.notes, Vec::<String>::new());
    assert_eq!(done.taken.0, u64::try_from(bytes.len()).unwrap());
    assert!(bytes.len() < new.bundle().len() / 5, "{} of {}", bytes.len(), new.bundle().len());
    let frames = u32::try_from(new.index().0.frames.len()).unwrap();
    assert_eq!(done.tally, Tally { fetched: done.taken.0, delta: frames, ..Tally::default() });
}

#[test]
fn a_delta_of_carried_frames_is_as_good_as_a_bundle() {
    let (old, new) = (Payload::new("1.0"), Payload::new("2.0"));
    let (_, executor) = shipped(&old);
    apply(&executor, &delta(&old, &new, by_frames(&old, &new)), None, &new);
}

#[test]
fn a_delta_and_a_bundle_beside_it_take_nothing_of_the_bundle_when_all_goes_well() {
    let (old, new) = pair();
    let (_, executor) = shipped(&old);
    let done = apply(&executor, &delta(&old, &new, by_files(&old, &new)), Some(new.bundle()), &new);
    assert_eq!(done.taken.1, 0);
}

#[test]
fn a_delta_from_another_release_is_refused_alone_and_passed_over_beside_a_bundle() {
    let (old, new) = pair();
    let bytes = delta(&old, &new, by_files(&old, &new));
    let other = Payload { boot: noise(77, 40_000), ..old.clone() };
    let (_, executor) = shipped(&other);
    let error = run(&executor, &bytes, None, &settings()).error.unwrap();
    let words = format!(
        "cannot apply u.bundle: it starts from release {}, this machine runs {}",
        coracle_update::report::short(&old.release()),
        coracle_update::report::short(&other.release())
    );
    assert_eq!((error.kind(), error.to_string()), (Kind::Foreign, words));
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Empty);
    let done = apply(&executor, &bytes, Some(new.bundle()), &new);
    assert_eq!(done.notes.len(), 1, "{done:?}");
    assert_eq!(done.tally.running, 1, "{done:?}");
}

#[test]
fn a_bundle_takes_nothing_that_the_slot_that_runs_has_at_the_same_place() {
    let (old, mut new) = pair();
    new.root = old.root.clone();
    let (_, executor) = shipped(&old);
    let done = apply(&executor, &new.bundle(), None, &new);
    assert_eq!(done.tally.running, 4, "all of the root that is not zeros: {done:?}");
    assert!(done.taken.0 < u64::try_from(new.bundle().len()).unwrap() * 3 / 4, "{done:?}");
}

#[test]
fn a_damaged_slot_costs_the_frames_that_start_from_the_damage_and_nothing_else() {
    let (old, new) = pair();
    let (_, executor) = shipped(&old);
    let slot = executor.partition(Slot::A).unwrap();
    executor.disk().write_within(&slot, 150_000, &[0x5a; 100]).unwrap();
    let bytes = delta(&old, &new, pieces(&old, &new, |_, _| Piece::File));
    let done = apply(&executor, &bytes, Some(new.bundle()), &new);
    assert_eq!((done.notes.len(), done.tally.bundle), (1, 1), "{done:?}");
    let words = "has failed: the slot that runs does not hold what it starts from";
    assert!(done.notes[0].ends_with(words), "{done:?}");
    assert!(done.taken.1 < 200_000, "{done:?}");
    // Alone it cannot be had.
    let (_, executor) = shipped(&old);
    executor.disk().write_within(&slot, 150_000, &[0x5a; 100]).unwrap();
    let error = run(&executor, &bytes, None, &settings()).error.unwrap();
    assert_eq!(error.to_string(), "cannot apply u.bundle: it does not give frame 2");
    assert!(error.causes()[0].ends_with(words), "{error:?}");
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Empty);
}

#[test]
fn operations_make_the_same_alone_and_in_pairs() {
    /// Where the fourth operation reads: the second of the second pair.
    const SECOND: u64 = 220_000;
    let (old, new) = pair();
    let bytes = delta(&old, &new, pieces(&old, &new, |_, _| Piece::File));
    for damage in [None, Some(150_000), Some(SECOND), Some(300_000)] {
        let run = |in_pairs| {
            let (_, executor) = shipped(&old);
            let slot = executor.partition(Slot::A).unwrap();
            if let Some(at) = damage {
                executor.disk().write_within(&slot, at, &[0x5a; 100]).unwrap();
            }
            let settings = Settings { tools: Tools { in_pairs, ..Tools::default() }, ..settings() };
            let done = run(&executor, &bytes, Some(new.bundle()), &settings);
            assert_applied(&executor, &done, &new);
            (done.tally.fetched, (done.notes, Tally { fetched: 0, ..done.tally }))
        };
        let ((alone, made), (in_pairs, again)) = (run(false), run(true));
        assert_eq!(made, again, "{damage:?}");
        assert_eq!(made.1.bundle, u32::from(damage.is_some()), "{made:?}");
        // What the second of a pair carries has been read when it fails.
        assert_eq!(in_pairs > alone, damage == Some(SECOND), "{alone} {in_pairs}");
    }
}

#[test]
fn after_three_failures_the_rest_comes_from_the_bundle() {
    let (old, new) = (Payload::new("1.0"), Payload { root: noise(8, 6 << 16), ..Payload::new("2.0") });
    let (_, executor) = shipped(&old);
    let mut wrong = pieces(&old, &new, |_, _| Piece::File);
    for (operation, _) in &mut wrong {
        operation.source_sha256 = [1; 32];
    }
    let done = apply(&executor, &delta(&old, &new, wrong), Some(new.bundle()), &new);
    assert_eq!((done.notes.len(), done.tally.delta), (4, 0), "{done:?}");
}

#[test]
fn a_delta_that_is_damaged_anywhere_ends_in_the_signed_release_or_in_nothing() {
    let (old, new) = pair();
    let bytes = delta(
        &old,
        &new,
        pieces(&old, &new, |_, number| if number % 2 == 0 { Piece::File } else { Piece::Carried }),
    );
    let streams = usize::try_from(Header::parse(&bytes).unwrap().streams_offset()).unwrap();
    let step = (bytes.len() - streams) / 12;
    for place in (0..streams).step_by(211).chain((streams..bytes.len()).step_by(step)) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 1 << (place % 8);
        let (_, executor) = shipped(&old);
        apply(&executor, &damaged, Some(new.bundle()), &new);
        let (_, executor) = shipped(&old);
        let done = run(&executor, &damaged, None, &settings());
        match &done.error {
            // What a frame needs may be in the slot that runs.
            None => assert_applied(&executor, &done, &new),
            Some(_) => assert_eq!(executor.record().unwrap().on_trial(), None, "byte {place}"),
        }
    }
    for end in [3, 100, 200, streams - 1, streams + 1, bytes.len() - 1] {
        let (_, executor) = shipped(&old);
        apply(&executor, &bytes[..end], Some(new.bundle()), &new);
        let error = run(&shipped(&old).1, &bytes[..end], None, &settings()).error.unwrap();
        assert_eq!(error.kind(), Kind::Hostile, "cut at {end}: {error:?}");
    }
}

#[test]
fn a_delta_that_makes_other_bytes_than_were_signed_is_not_believed() {
    let (old, new) = pair();
    let evil = Payload { root: noise(66, new.root.len()), boot: new.boot.clone(), ..new.clone() };
    let (_, executor) = shipped(&old);
    // The operations are those of another release, their own digests right.
    let done = apply(&executor, &delta(&old, &new, by_files(&old, &evil)), Some(new.bundle()), &new);
    assert!(done.notes[0].ends_with("it makes other bytes than were signed"), "{done:?}");
}

#[test]
fn sources_outside_of_the_old_release_are_not_read() {
    let (old, new) = pair();
    for extent in [
        Extent {
            side: Side::Old,
            part: Part::Root,
            offset: u64::try_from(old.root.len()).unwrap() - 1,
            bytes: 1 << 16,
        },
        Extent { side: Side::Old, part: Part::Boot, offset: u64::MAX - (1 << 16), bytes: 1 << 16 },
    ] {
        let mut operations = by_frames(&old, &new);
        let (first, _) = &operations[0];
        assert_eq!(first.first, 0);
        let copied = operation(0, 1, Method::Copy(vec![extent]), &[], &[]);
        operations = pieces(&old, &new, |_, _| Piece::Carried);
        // A frame that is not zeros: the third.
        operations[2] = (coracle_format::delta::Operation { first: 2, ..copied }, Vec::new());
        let (_, executor) = shipped(&old);
        let done = apply(&executor, &delta(&old, &new, operations), Some(new.bundle()), &new);
        assert!(done.notes[0].contains("does not hold what it starts from"), "{done:?}");
    }
}

/// A pair whose boot artefacts hold what stays as it is, and contents behind a mark, as the program of [`tools`] packs them.
fn packed() -> (Payload, Payload, Vec<(coracle_format::delta::Operation, Vec<u8>)>) {
    let (mut old, mut new) = (Payload::new("1.0"), Payload::new("2.0"));
    new.root = old.root.clone();
    let (before, mut after) = (noise(1, 300_000), noise(1, 300_000));
    after[100_000..100_010].fill(0);
    let frame = zstd::bulk::compress(&before, 3).unwrap();
    old.boot = [&b"head"[..], &frame, b"tail"].concat();
    new.boot = [&b"head"[..], b"mark", &after, b"TAIL", b"tail"].concat();
    let wide = |length: usize| u64::try_from(length).unwrap();
    let of = |offset: usize, bytes: usize| {
        vec![Extent { side: Side::Old, part: Part::Boot, offset: wide(offset), bytes: wide(bytes) }]
    };
    let packed = Packed {
        encoder: Encoder::Zstd157 { level: 22 },
        plain: wide(after.len()),
        old_plain: wide(before.len()),
        memory_mib: 100,
    };
    let files = vec![
        File { bytes: 4, old: of(0, 4), how: How::Same },
        File { bytes: wide(after.len()) + 4, old: of(4, frame.len()), how: How::Contents(packed) },
        File { bytes: 4, old: of(4 + frame.len(), 4), how: How::Differs },
        File { bytes: 4, old: of(4 + frame.len(), 4), how: How::Same },
    ];
    let stream = coracle_delta::make(&[versions(&before, &after), versions(b"tail", b"TAIL")]).unwrap();
    let source = [&old.boot[..], b"tail"].concat();
    let frames = &new.index().0.frames;
    let first = frames.iter().position(|frame| frame.part == Part::Boot).unwrap();
    let mut operations = by_files(&old, &new);
    operations.retain(|(operation, _)| usize::try_from(operation.first).unwrap() < first);
    let count = u32::try_from(frames.len() - first).unwrap();
    let first = u32::try_from(first).unwrap();
    operations.push((operation(first, count, Method::Files(files), &source, &stream), stream));
    (old, new, operations)
}

/// A directory with a program that puts a mark in front of what it reads, and an account of memory.
fn machine(available_mib: u64) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str, mode| {
        coracle_block::replace_file(&directory.path().join(name), text.as_bytes(), mode).unwrap();
    };
    write("zstd", "#!/bin/sh\nprintf mark; exec cat\n", 0o700);
    settle(&directory.path().join("zstd"));
    write("meminfo", &format!("MemAvailable: {} kB\n", available_mib * 1024), 0o600);
    directory
}

/// Returns when the program can be started: a process that another test has just begun may still have it open for writing.
#[expect(clippy::disallowed_methods, reason = "a script of the test")]
fn settle(program: &Path) {
    let start = || std::process::Command::new(program).stdin(std::process::Stdio::null()).output();
    while start().is_err_and(|error| error.kind() == std::io::ErrorKind::ExecutableFileBusy) {
        std::thread::yield_now();
    }
}

fn with_tools(directory: &Path, bytes: &[u8], old: &Payload, full: Option<Vec<u8>>) -> (Executor, Done) {
    let (_, executor) = shipped(old);
    let (zstd, meminfo) = (directory.join("zstd"), directory.join("meminfo"));
    let settings =
        Settings { tools: Tools { zstd: &zstd, meminfo: &meminfo, ..Tools::default() }, ..settings() };
    let done = run(&executor, bytes, full, &settings);
    (executor, done)
}

#[test]
fn contents_are_unpacked_changed_and_packed_again_by_the_machines_program() {
    let (old, new, operations) = packed();
    let bytes = delta(&old, &new, operations);
    let directory = machine(200);
    let (executor, done) = with_tools(directory.path(), &bytes, &old, None);
    assert_applied(&executor, &done, &new);
    assert!(bytes.len() < 40_000 && done.notes.is_empty(), "{} bytes, {done:?}", bytes.len());
}

#[test]
fn too_little_memory_or_no_program_costs_the_frames_of_the_operation() {
    let (old, new, operations) = packed();
    let bytes = delta(&old, &new, operations);
    let small = machine(150);
    let missing = machine(200);
    std::fs::remove_file(missing.path().join("zstd")).unwrap();
    let other = machine(200);
    let script = b"#!/bin/sh\nprintf another; exec cat\n";
    coracle_block::replace_file(&other.path().join("zstd"), script, 0o700).unwrap();
    settle(&other.path().join("zstd"));
    for (directory, words) in [
        (&small, "it needs 164 MiB of memory, and 150 MiB are available"),
        (&missing, "cannot start"),
        (&other, "gives more bytes than it should"),
    ] {
        let (executor, done) = with_tools(directory.path(), &bytes, &old, Some(new.bundle()));
        assert_applied(&executor, &done, &new);
        assert!(done.notes.len() == 1 && done.notes[0].contains(words), "{done:?}");
        assert!(done.tally.bundle > 0, "{done:?}");
        let (_, done) = with_tools(directory.path(), &bytes, &old, None);
        assert!(done.error.unwrap().causes()[0].contains(words));
    }
}

#[test]
fn an_interrupted_delta_goes_on_where_it_was() {
    let (old, new) = pair();
    let bytes = delta(&old, &new, pieces(&old, &new, |_, _| Piece::File));
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let settings = Settings { leftovers: Some(&notes), ..settings() };
    let (model, executor) = shipped(&old);
    let mut after = 1;
    while !notes.exists() {
        model.fail_after(Some(after));
        assert!(run(&executor, &bytes, None, &settings).error.is_some());
        after += 1;
    }
    model.fail_after(None);
    let done = run(&executor, &bytes, None, &settings);
    assert_applied(&executor, &done, &new);
    assert_eq!((done.tally.delta, done.tally.kept > 0), (0, true), "{done:?}");
}

#[test]
fn a_delta_comes_through_a_pipe() {
    let (old, new) = pair();
    let bytes = delta(&old, &new, by_files(&old, &new));
    let (_, executor) = shipped(&old);
    let mut pipe = coracle_update::source::StdinSource::over(&bytes[..]);
    executor.update(Ask::Apply, Supply::of(&mut pipe), &settings(), &mut Notes::default()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_change_of_any_part_by_any_mixture_of_operations_arrives_also_in_a_damaged_slot(
        seed in any::<u64>(),
        changes in proptest::collection::vec((any::<u32>(), 1_usize..9000, any::<u8>()), 0..6),
        ways in proptest::collection::vec(0_usize..4, 1..8),
        damage in proptest::option::of(0_usize..300_000),
    ) {
        let old = Payload { root: noise(seed, 5 << 16), boot: noise(seed ^ 1, 100_000), ..Payload::new("1.0") };
        let mut new = Payload { root: old.root.clone(), boot: old.boot.clone(), ..Payload::new("2.0") };
        new.boot[7] ^= 1;
        for (place, length, kind) in changes {
            let place = usize::try_from(place).unwrap();
            let part = if kind & 1 == 0 { &mut new.root } else { &mut new.boot };
            let at = place % part.len();
            let end = (at + length).min(part.len());
            match kind >> 1 & 3 {
                0 => part[at..end].fill(kind),
                1 => part[at..end].rotate_left((end - at) / 3),
                2 => { part.splice(at..at, noise(seed ^ 9, length)); }
                _ => { part.drain(at..end); }
            }
        }
        new.root.resize(new.root.len().next_multiple_of(4096), 0);
        let way = |_: Part, number: usize| match ways[number % ways.len()] {
            0 => Piece::File,
            1 => Piece::Copied,
            2 => Piece::Earlier,
            _ => Piece::Carried,
        };
        let bytes = delta(&old, &new, pieces(&old, &new, way));
        let (_, executor) = shipped(&old);
        if let Some(at) = damage {
            let slot = executor.partition(Slot::A).unwrap();
            executor.disk().write_within(&slot, u64::try_from(at).unwrap(), b"damage").unwrap();
        } else {
            let (_, alone) = shipped(&old);
            apply(&alone, &bytes, None, &new);
        }
        apply(&executor, &bytes, Some(new.bundle()), &new);
    }
}
