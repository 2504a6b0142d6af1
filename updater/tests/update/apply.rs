//! Updates that are applied.

use crate::fixture::{
    DISK_BYTES, Memory, Notes, Payload, SLOT_BYTES, apply, digest_of_slot, settings, ship, verified,
};
use coracle_block::model::Model;
use coracle_block::{Access, Disk, Medium};
use coracle_slots::history::Event;
use coracle_slots::{Slot, SlotState, Verdict};
use coracle_update::engine::Ask;
use coracle_update::error::Kind;
use coracle_update::executor::{Executor, Failure, Supply};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn shipped() -> (Model, Executor) {
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    model.settle();
    (model, Executor::on(disk, Slot::A).unwrap())
}

/// The machine after a restart, as the selector does it.
fn restart(executor: &Executor, model: &Model) -> Executor {
    let disk = model.disk().unwrap();
    let table = disk.read_table().unwrap();
    let mut started = executor.running();
    let running = Some(executor.running());
    coracle_block::meta::change(&disk, &table, running, coracle_block::meta::Others::Wait, |record| {
        let choice = record.choose(&[]);
        started = choice.slot;
        Ok(record.begin_boot(choice))
    })
    .unwrap();
    Executor::on(disk, started).unwrap()
}

#[test]
fn an_update_goes_through_trial_and_commit_and_the_next_one_goes_back_to_slot_a() {
    let (model, executor) = shipped();
    let old = digest_of_slot(executor.disk(), Slot::A);
    let new = Payload::new("2.0");
    apply(&executor, new.bundle()).unwrap();
    let record = executor.record().unwrap();
    assert_eq!(record.state(Slot::B), SlotState::Trial { starts: 0 });
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
    assert_eq!(digest_of_slot(executor.disk(), Slot::A), old);

    let executor = restart(&executor, &model);
    assert_eq!(executor.running(), Slot::B);
    let record = executor.commit().unwrap();
    assert_eq!((record.state(Slot::B), record.floors().version), (SlotState::Good, 2 << 48));
    let third = Payload::new("3.0");
    apply(&executor, third.bundle()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::A), Some(third.release()));
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
    let told: Vec<(Event, Slot, String)> = executor
        .history()
        .unwrap()
        .into_iter()
        .map(|entry| (entry.event, entry.slot, entry.version.to_string()))
        .collect();
    let expected = [
        (Event::Applied, Slot::B, "2.0"),
        (Event::Armed, Slot::B, "2.0"),
        (Event::Committed, Slot::B, "2.0"),
        (Event::Applied, Slot::A, "3.0"),
        (Event::Armed, Slot::A, "3.0"),
    ]
    .map(|(event, slot, version)| (event, slot, version.to_owned()));
    assert_eq!(told, expected);
}

#[test]
fn what_failed_leaves_its_last_words_and_is_blocked_until_retried() {
    let (model, executor) = shipped();
    let bundle = Payload::new("2.0").bundle();
    apply(&executor, bundle.clone()).unwrap();
    let executor = restart(&executor, &model);
    let failure = Failure {
        verdict: Verdict::Unhealthy,
        stage: "check api",
        reason: "connection refused",
        boot_ms: 31_000,
        log: b"line one\nline two\n",
    };
    executor.fail_with(&failure).unwrap();
    let words = executor.words().unwrap().unwrap();
    assert_eq!((words.stage.as_str(), words.log()), ("check api", &b"line one\nline two\n"[..]));
    let executor = restart(&executor, &model);
    assert_eq!(executor.running(), Slot::A);
    let error = apply(&executor, bundle.clone()).unwrap_err();
    assert!(error.to_string().ends_with("its release 2.0.0 failed on this machine before (unhealthy)"));
    executor.retry(Some(&Payload::new("2.0").release())).unwrap();
    apply(&executor, bundle).unwrap();
}

#[test]
fn an_interrupted_update_goes_on_where_it_was_and_without_its_notes_starts_over() {
    let bundle = Payload::new("2.0").bundle();
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let whole = {
        let (_, executor) = shipped();
        let mut source = Memory::new(bundle.clone());
        executor.update(Ask::Apply, Supply::of(&mut source), &settings(), &mut Notes::default()).unwrap();
        source.taken
    };
    let attempt = |executor: &Executor, bundle: &[u8]| {
        let mut source = Memory::new(bundle.to_vec());
        let mut settings = settings();
        settings.leftovers = Some(&notes);
        let done = executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default());
        (done.is_ok(), source.taken)
    };
    let (model, executor) = shipped();
    // The disk fails after the frames are in and synced, while the slot is described.
    let steps = model.operations();
    let mut after = 1;
    while !notes.exists() {
        model.fail_after(Some(after));
        assert!(!attempt(&executor, &bundle).0, "{after} after {steps}");
        after += 1;
    }
    model.fail_after(None);
    let (done, taken) = attempt(&executor, &bundle);
    assert!(done && taken < whole / 10, "{taken} of {whole} bytes");
    assert_eq!(verified(executor.disk(), Slot::B), Some(Payload::new("2.0").release()));
    assert!(!notes.exists());
}

#[test]
fn leftovers_that_lie_cost_a_transfer_and_nothing_else() {
    let new = Payload::new("2.0");
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let (model, executor) = shipped();
    // The slot holds other bytes, and the notes say that those are the update's: as if both had been tampered with.
    let lies = Payload { root: vec![9; new.root.len()], ..new.clone() };
    let (index, _) = new.index();
    let spare = executor.spare().unwrap();
    spare.write(0, &lies.root).unwrap();
    let mut text = b"CORAPROG".to_vec();
    text.extend_from_slice(&Sha256::digest(index.encode().unwrap()));
    for chunk in lies.root.chunks(64 << 10) {
        text.extend_from_slice(&Sha256::digest(chunk));
    }
    coracle_block::replace_file(&notes, &text, 0o600).unwrap();
    model.settle();
    let mut settings = settings();
    settings.leftovers = Some(&notes);
    let mut source = Memory::new(new.bundle());
    executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
}

#[test]
fn a_full_state_is_said_once_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    File::create(&file).unwrap();
    let (_, executor) = shipped();
    let notes_at = file.join("progress");
    let mut settings = settings();
    settings.leftovers = Some(&notes_at);
    let mut notes = Notes::default();
    executor
        .update(Ask::Apply, Supply::of(&mut Memory::new(Payload::new("2.0").bundle())), &settings, &mut notes)
        .unwrap();
    assert_eq!(notes.0.len(), 1, "{notes:?}");
    assert!(notes.0[0].ends_with("if this update is interrupted, it starts over"), "{notes:?}");
}

#[test]
fn a_baseline_that_cannot_be_taken_is_said_and_stops_nothing() {
    let (_, executor) = shipped();
    let survey = |release: &coracle_slots::Release| {
        assert_eq!(*release, Payload::new("2.0").release());
        Err(coracle_block::PathError {
            action: "write",
            path: "/state/update/baseline".into(),
            source: std::io::Error::other("no space left"),
        })
    };
    let mut settings = settings();
    settings.survey = Some(&survey);
    let mut notes = Notes::default();
    executor
        .update(Ask::Apply, Supply::of(&mut Memory::new(Payload::new("2.0").bundle())), &settings, &mut notes)
        .unwrap();
    let expected =
        "cannot write /state/update/baseline (no space left): everything has to be healthy in the trial";
    assert_eq!(notes.0, [expected]);
}

#[test]
fn a_machine_whose_record_is_unreadable_takes_an_update_and_says_so() {
    let (_, executor) = shipped();
    let table = executor.disk().read_table().unwrap();
    let meta = coracle_block::meta::partition(executor.disk(), &table).unwrap();
    for offset in coracle_slots::COPY_OFFSETS {
        executor.disk().write_within(&meta, offset, &[0xff; 512]).unwrap();
    }
    let mut notes = Notes::default();
    let mut source = Memory::new(Payload::new("2.0").bundle());
    executor.update(Ask::Apply, Supply::of(&mut source), &settings(), &mut notes).unwrap();
    assert_eq!(notes.0, ["both copies of the slot record are unreadable: floors and verdicts are forgotten"]);
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Trial { starts: 0 });
}

#[test]
fn a_release_that_was_dropped_is_armed_again_without_reading_a_frame() {
    let (model, executor) = shipped();
    let new = Payload::new("2.0");
    apply(&executor, new.bundle()).unwrap();
    executor.disarm().unwrap();
    assert_eq!(apply(&executor, new.bundle()).unwrap_err().kind(), Kind::Policy);
    executor.retry(None).unwrap();
    // Frames that nobody reads may be wrong.
    let mut bundle = new.bundle();
    *bundle.last_mut().unwrap() ^= 1;
    apply(&executor, bundle.clone()).unwrap();
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Trial { starts: 0 });
    let told: Vec<Event> = executor.history().unwrap().iter().map(|entry| entry.event).collect();
    assert_eq!(told, [Event::Applied, Event::Armed, Event::Dropped, Event::HoldReleased, Event::Armed]);

    // A slot that does not hold it any more is filled anew: then they are read.
    executor.disarm().unwrap();
    executor.retry(None).unwrap();
    let disk = model.disk().unwrap();
    let spare = executor.partition(Slot::B).unwrap();
    disk.write_within(&spare, 8192, &[0x5a; 512]).unwrap();
    apply(&executor, bundle).unwrap_err();
    assert_eq!(executor.record().unwrap().state(Slot::B), SlotState::Empty);
    apply(&executor, new.bundle()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
}

#[test]
fn the_commit_of_a_higher_epoch_retires_the_other_slot_and_the_history_says_so() {
    let (model, executor) = shipped();
    apply(&executor, Payload::new("2.0").bundle()).unwrap();
    let executor = restart(&executor, &model).of_epoch(3);
    let record = executor.commit().unwrap();
    assert_eq!((record.floors().epoch, record.state(Slot::A)), (3, SlotState::Empty));
    let entry = *executor.history().unwrap().last().unwrap();
    assert_eq!((entry.event, entry.slot), (Event::Retired, Slot::A));
    assert_eq!(entry.release, Payload::new("1.0").release());
    assert_eq!(entry.detail.as_str(), "security epoch 0 is below 3");
    assert_eq!(executor.roll_back().unwrap_err().kind(), Kind::Policy);
}

/// A file that counts its syncs.
#[derive(Debug)]
struct Counting {
    file: File,
    syncs: Arc<AtomicUsize>,
}

impl Medium for Counting {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn an_update_of_any_size_stays_within_sixty_syncs() {
    // Large enough for every sync while frames go in.
    let large = Payload { root: vec![1; 136 << 20], ..Payload::new("2.0") };
    let bytes: u64 = 640 << 20;
    let file = tempfile::tempfile().unwrap();
    file.set_len(bytes).unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let disk =
        Disk::over(Box::new(Counting { file, syncs: Arc::clone(&syncs) }), "counted", 512, bytes).unwrap();
    ship(&disk, 256 << 20, &Payload::new("1.0"));
    let executor = Executor::on(disk, Slot::A).unwrap();
    syncs.store(0, Ordering::Relaxed);
    apply(&executor, large.bundle()).unwrap();
    let counted = syncs.load(Ordering::Relaxed);
    assert!((20..=24).contains(&counted), "{counted}");
}

#[test]
fn an_update_of_an_image_file_is_read_back_past_the_kernels_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
    let disk = Disk::open(&path, Access::Write, 512, DISK_BYTES).unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    let executor = Executor::on(disk, Slot::A).unwrap();
    apply(&executor, Payload::new("2.0").bundle()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(Payload::new("2.0").release()));
}
