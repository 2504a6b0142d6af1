//! Updates that are refused, each with its own words, and the running system untouched.

use crate::fixture::{
    DISK_BYTES, Memory, Notes, Payload, SLOT_BYTES, apply, digest_of_slot, settings, ship, verified,
};
use coracle_block::model::Model;
use coracle_block::{Access, Disk};
use coracle_format::bundle::Header;
use coracle_format::slot::Arch;
use coracle_slots::{Slot, SlotState};
use coracle_update::engine::Ask;
use coracle_update::executor::{Executor, Supply};
use coracle_update::source::{FileSource, Length, StdinSource};
use coracle_update::{Error, Kind};
use std::fs::File;

const LAST_BYTES: u64 = 4096;

fn shipped(version: &str) -> Executor {
    let disk = Model::new(DISK_BYTES).disk().unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new(version));
    let executor = Executor::on(disk, Slot::A).unwrap();
    // Something where the descriptor of the spare slot is, to see whether it is cleared.
    let spare = executor.spare().unwrap();
    spare.write(spare.bytes() - LAST_BYTES, &[0xa5; 4096]).unwrap();
    executor
}

/// What is where the descriptor of the spare slot is.
fn last_block(executor: &Executor) -> Vec<u8> {
    let (spare, mut block) = (executor.spare().unwrap(), vec![0; 4096]);
    spare.read(spare.bytes() - LAST_BYTES, &mut block).unwrap();
    block
}

/// Applies what must be refused: the error, and whether the spare slot was cleared before.
fn refused(executor: &Executor, bundle: Vec<u8>) -> (Error, bool) {
    let spare = last_block(executor);
    let (record, slot) = (executor.record().unwrap(), digest_of_slot(executor.disk(), Slot::A));
    let error = apply(executor, bundle).unwrap_err();
    let after = executor.record().unwrap();
    assert_eq!(digest_of_slot(executor.disk(), Slot::A), slot, "{error:?}");
    assert!(after == record || after.state(Slot::B) == SlotState::Empty, "{error:?}");
    assert_eq!(after.choose(&[]).slot, Slot::A);
    assert!(error.hint_text().is_some(), "{error:?}");
    (error, after != record || last_block(executor) != spare)
}

fn assert_refused(executor: &Executor, bundle: Vec<u8>, kind: Kind, message: &str) {
    let (error, touched) = refused(executor, bundle);
    assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    assert_eq!(error.kind().exit().code(), 3);
    assert!(!touched, "{error:?}");
}

#[test]
fn what_is_for_another_machine_or_too_old_is_refused_before_anything_is_touched() {
    let machine = || shipped("2.0");
    let base = Payload::new("3.0");
    let apply = "cannot apply u.bundle: ";
    let other = Payload { name: "other", ..base.clone() };
    let words = format!("{apply}it is for image \"other\", this machine runs \"hello\"");
    assert_refused(&machine(), other.bundle(), Kind::Foreign, &words);
    let other = Payload { arch: Arch::Aarch64, ..base };
    let words = format!("{apply}it is for aarch64, this machine is x86_64");
    assert_refused(&machine(), other.bundle(), Kind::Foreign, &words);
    let older = Payload::new("1.9");
    let words = format!("{apply}its version 1.9.0 is older than 2.0.0, which was committed here");
    assert_refused(&machine(), older.bundle(), Kind::Version, &words);
    let words = format!("{apply}its release 2.0.0 is the one that runs");
    assert_refused(&machine(), Payload::new("2.0").bundle(), Kind::Version, &words);
    let excepted = Payload { replaces: Some("2.0"), ..Payload::new("1.9") };
    apply_well(&machine(), &excepted);
}

fn apply_well(executor: &Executor, payload: &Payload) {
    apply(executor, payload.bundle()).unwrap();
}

#[test]
fn a_lower_epoch_is_refused_after_a_higher_one_was_committed() {
    let executor = shipped("1.0");
    let disk = executor.disk();
    let table = disk.read_table().unwrap();
    let others = coracle_block::meta::Others::Wait;
    coracle_block::meta::change(disk, &table, None, others, |record| {
        Ok(record.raise_floors(coracle_slots::Floors { epoch: 2, ..coracle_slots::Floors::default() }))
    })
    .unwrap();
    let lower = Payload { epoch: 1, ..Payload::new("3.0") };
    let words = "cannot apply u.bundle: its security epoch 1 is below 2, which this machine has accepted";
    assert_refused(&executor, lower.bundle(), Kind::Version, words);
}

#[test]
fn what_is_larger_than_the_slot_is_refused_before_anything_is_touched() {
    let large = Payload { root: vec![1; 8 << 20], ..Payload::new("2.0") };
    let (error, touched) = refused(&shipped("1.0"), large.bundle());
    assert!(!touched);
    assert_eq!(error.kind(), Kind::TooLarge);
    assert!(error.to_string().contains("root file system 8388608 + hash tree"), "{error:?}");
    assert!(error.to_string().ends_with("slot B has 4194304"), "{error:?}");
}

#[test]
fn while_a_release_is_on_trial_nothing_is_applied() {
    let executor = shipped("1.0");
    apply_well(&executor, &Payload::new("2.0"));
    let before = executor.record().unwrap();
    let error = apply(&executor, Payload::new("3.0").bundle()).unwrap_err();
    let words = "cannot apply u.bundle: a release in slot B is armed already and waits for its trial";
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Policy, words));
    assert_eq!(executor.record().unwrap(), before);
}

#[test]
fn what_another_key_has_signed_is_refused() {
    let payload = Payload::new("2.0");
    let (index, stored) = payload.index();
    let words = "cannot trust u.bundle";
    assert_refused(&shipped("1.0"), payload.pack(&index, &stored, 9), Kind::Signature, words);
}

#[test]
fn what_has_expired_is_refused_where_the_clock_is_known_and_only_there() {
    let executor = shipped("1.0");
    let mut settings = settings();
    settings.now = Some(crate::fixture::EXPIRES + 1);
    let mut source = Memory::new(Payload::new("2.0").bundle());
    let error =
        executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default()).unwrap_err();
    assert_eq!(error.kind(), Kind::Stale);
    settings.now = None;
    executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default()).unwrap();
}

#[test]
fn a_bundle_whose_parts_are_not_what_its_index_says_is_never_armed() {
    let payload = Payload::new("2.0");
    let (good, stored) = payload.index();
    let mut cases = Vec::new();
    let mut index = good.clone();
    index.root_hash[0] ^= 1;
    cases.push((index, "its root file system is not the signed one, though its frames are"));
    let mut index = good.clone();
    index.boot.sha256[0] ^= 1;
    cases.push((index, "its boot artefact is not the signed one, though its frames are"));
    for (index, words) in cases {
        let executor = shipped("1.0");
        let (error, _) = refused(&executor, payload.pack(&index, &stored, 2));
        assert_eq!(
            (error.kind(), error.to_string()),
            (Kind::Digest, format!("cannot apply u.bundle: {words}"))
        );
        assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Empty);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let bundle = Payload::new("2.0").bundle();
    let header = Header::parse(&bundle).unwrap();
    let frames_at = usize::try_from(header.frames_offset()).unwrap();
    // Every byte of what is not a frame, and one byte in every stretch of the frames.
    let places = (0..frames_at).chain((frames_at..bundle.len()).step_by(1009)).chain([bundle.len() - 1]);
    let executor = shipped("1.0");
    for place in places {
        let mut damaged = bundle.clone();
        damaged[place] ^= 1 << (place % 8);
        let (error, _) = refused(&executor, damaged);
        assert_eq!(error.kind().exit().code(), 3, "byte {place}: {error:?}");
        let before_clearing = place < frames_at;
        assert!(
            before_clearing || error.to_string().contains("does not match its signed digest"),
            "{error:?}"
        );
    }
}

#[test]
fn each_part_of_a_damaged_bundle_has_words_of_its_own() {
    let bundle = Payload::new("2.0").bundle();
    let header = Header::parse(&bundle).unwrap();
    let (metadata, index) = (64, 64 + usize::try_from(header.metadata).unwrap());
    let frames = usize::try_from(header.frames_offset()).unwrap();
    let cases = [
        (0, Kind::Hostile, "cannot read u.bundle: not an update bundle"),
        (8, Kind::Hostile, "cannot read u.bundle: bundle has unknown version 0"),
        (20, Kind::Hostile, "cannot read u.bundle: bundle header does not match its checksum"),
        (metadata, Kind::Hostile, "cannot read u.bundle: bundle metadata does not match the header's digest"),
        (index, Kind::Digest, "cannot trust u.bundle: the update's index is not the signed one"),
        (frames, Kind::Digest, "cannot apply the update: frame 2 does not match its signed digest"),
    ];
    let executor = shipped("1.0");
    for (place, kind, words) in cases {
        let mut damaged = bundle.clone();
        damaged[place] ^= 1;
        let (error, touched) = refused(&executor, damaged);
        let text = [vec![error.to_string()], error.causes()].concat().join(": ");
        assert_eq!((error.kind(), text.as_str()), (kind, words));
        assert_eq!(touched, place == frames, "{error:?}");
    }
    let words = "targets metadata has 0 valid signatures by keys of version 1 of the root, 1 are needed";
    let payload = Payload::new("2.0");
    let (index, stored) = payload.index();
    let (error, _) = refused(&executor, payload.pack(&index, &stored, 9));
    assert_eq!(error.causes(), [words]);
}

#[test]
fn a_truncated_bundle_is_refused_wherever_it_ends() {
    let bundle = Payload::new("2.0").bundle();
    let executor = shipped("1.0");
    for end in (0..bundle.len()).step_by(997).chain([bundle.len() - 1]) {
        let (error, _) = refused(&executor, bundle[..end].to_vec());
        let words = format!("cannot read u.bundle: it ends after {end} bytes, in the middle");
        assert_eq!((error.kind(), error.to_string()), (Kind::Hostile, words));
    }
}

#[test]
fn trailing_bytes_are_refused_in_a_file_and_a_stream_and_are_no_matter_on_a_device() {
    let mut bundle = Payload::new("2.0").bundle();
    let total = bundle.len();
    bundle.push(0);
    let length = u64::try_from(bundle.len()).unwrap();
    let cases = [
        (
            Length::Exactly(length),
            Some(format!("cannot read u.bundle: 1 bytes follow its end at byte {total}")),
        ),
        (Length::Unknown, Some(format!("cannot read u.bundle: bytes follow its end at byte {total}"))),
        (Length::AtMost(length), None),
        (
            Length::AtMost(length - 2),
            Some(format!("cannot read u.bundle: it would have {total} bytes, the device has {}", total - 1)),
        ),
    ];
    for (length, expected) in cases {
        let executor = shipped("1.0");
        let mut source = Memory { length, ..Memory::new(bundle.clone()) };
        let done = executor.update(Ask::Apply, Supply::of(&mut source), &settings(), &mut Notes::default());
        assert_eq!(done.err().map(|error| error.to_string()), expected);
        let armed = executor.record().unwrap().on_trial().is_some();
        assert_eq!(armed, expected.is_none());
    }
}

#[test]
fn a_stream_is_read_to_its_end_even_if_the_machine_has_its_last_frames_already() {
    let mut new = Payload { version: "2.0".to_owned(), ..Payload::new("1.0") };
    new.boot[0] ^= 1;
    let bundle = new.bundle();
    let total = bundle.len();
    let apply = |bytes: &[u8]| {
        let executor = shipped("1.0");
        let mut source = StdinSource::over(bytes);
        let done = executor.update(Ask::Apply, Supply::of(&mut source), &settings(), &mut Notes::default());
        let armed = executor.record().unwrap().on_trial().is_some();
        (done.err().map(|error| (error.kind(), error.to_string())), armed)
    };
    assert_eq!(apply(&bundle), (None, true));
    let longer = [&bundle[..], &[0]].concat();
    let words = format!("cannot read the standard input: bytes follow its end at byte {total}");
    assert_eq!(apply(&longer), (Some((Kind::Hostile, words)), false));
    let words = format!("cannot read the standard input: it ends after {} bytes, in the middle", total - 1);
    assert_eq!(apply(&bundle[..total - 1]), (Some((Kind::Hostile, words)), false));
}

#[test]
fn a_check_says_the_same_and_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (disk_path, path) = (directory.path().join("disk.raw"), directory.path().join("u.bundle"));
    File::create(&disk_path).unwrap().set_len(DISK_BYTES).unwrap();
    let disk = Disk::open(&disk_path, Access::Write, 512, DISK_BYTES).unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    drop(disk);
    // A disk that cannot be written.
    let executor =
        Executor::on(Disk::open(&disk_path, Access::Read, 512, DISK_BYTES).unwrap(), Slot::A).unwrap();
    let check = |bundle: Vec<u8>| {
        coracle_block::replace_file(&path, &bundle, 0o600).unwrap();
        let mut source = FileSource::new(&path);
        executor.update(Ask::Check, Supply::of(&mut source), &settings(), &mut Notes::default())
    };
    let job = check(Payload::new("2.0").bundle()).unwrap();
    assert_eq!((job.offer.version.to_string().as_str(), job.spare()), ("2.0.0", Slot::B));
    let error = check(Payload::new("0.9").bundle()).unwrap_err();
    assert_eq!(error.kind(), Kind::Version);
    let mut short = Payload::new("2.0").bundle();
    short.pop();
    let has = short.len();
    let error = check(short).unwrap_err();
    let words = format!("cannot read {}: it has {has} bytes of {}", path.display(), has + 1);
    assert_eq!((error.kind(), error.to_string()), (Kind::Hostile, words));
}

#[test]
fn a_disk_that_fails_anywhere_leaves_the_running_release_to_boot() {
    let bundle = Payload::new("2.0").bundle();
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    let executor = Executor::on(disk, Slot::A).unwrap();
    let mut failures = 0;
    loop {
        model.fail_after(Some(failures));
        let done = apply(&executor, bundle.clone());
        let record = executor.record().unwrap();
        if done.is_ok() {
            // The history alone may be incomplete.
            assert_eq!(record.on_trial(), Some(Slot::B), "after {failures}");
            break;
        }
        // When the very last sync fails, the release may be armed already: it is whole then.
        if record.on_trial().is_some() {
            assert_eq!(verified(executor.disk(), Slot::B), Some(record.release(Slot::B)), "after {failures}");
            rearm_is_refused(&executor, &bundle);
            break;
        }
        assert_eq!(record.choose(&[]).slot, Slot::A);
        failures += 1;
    }
    assert!(failures >= 15, "{failures}");
}

fn rearm_is_refused(executor: &Executor, bundle: &[u8]) {
    let error = apply(executor, bundle.to_vec()).unwrap_err();
    assert_eq!(error.kind(), Kind::Policy);
}

#[test]
fn the_slot_that_runs_cannot_be_had_for_writing() {
    let executor = shipped("1.0");
    assert_eq!(executor.spare().unwrap().slot(), Slot::B);
    // Nor does a write leave the slot.
    let spare = executor.spare().unwrap();
    assert!(spare.write(spare.bytes() - 1, &[0; 2]).is_err());
    assert!(spare.write(u64::MAX, &[0]).is_err());
}
