//! Power cuts at every write and sync of an update, on a model of a disk with a volatile cache.

use crate::fixture::{DISK_BYTES, Memory, Notes, Payload, SLOT_BYTES, apply, settings, ship, verified};
use crate::making::{Piece, by_files, delta, pieces};
use coracle_block::meta::{self, Others};
use coracle_block::model::{Cut, Model};
use coracle_slots::{Reason, Slot, SlotState};
use coracle_update::engine::Ask;
use coracle_update::executor::{Executor, Supply};
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// A small release: the fewer writes, the more cuts of each.
fn small(version: &str) -> Payload {
    let payload = Payload::new(version);
    let mut root = payload.root[2 << 16..3 << 16].to_vec();
    root.extend_from_slice(&[0; 4096]);
    Payload { root, boot: payload.boot[..30_000].to_vec(), ..payload }
}

/// What every power cut must leave: a slot that boots and is whole, on which the next update succeeds.
fn assert_good(cut: &Cut, allowed: &[Payload], next: &[u8], leftovers: Option<&Path>) -> Slot {
    let at = format!("after {} operations, {} of {} sectors survived", cut.after, cut.survived, cut.unsynced);
    let disk = cut.model.disk().unwrap();
    let table = disk.read_table().unwrap();
    let mut started = None;
    let record = meta::change(&disk, &table, None, Others::Wait, |record| {
        let choice = record.choose(&[]);
        started = Some(choice);
        Ok(record.begin_boot(choice))
    })
    .unwrap();
    let choice = started.unwrap();
    assert_ne!(choice.reason, Reason::NothingEligible, "{at}");
    let slot = choice.slot;
    let release = verified(&disk, slot).unwrap_or_else(|| panic!("{at}: slot {slot} is not whole"));
    assert_eq!(release, record.release(slot), "{at}");
    assert!(allowed.iter().any(|payload| payload.release() == release), "{at}");
    for slot in Slot::ALL {
        if matches!(record.state(slot), SlotState::Good | SlotState::Trial { .. } | SlotState::Written) {
            assert_eq!(verified(&disk, slot), Some(record.release(slot)), "{at}: slot {slot}");
        }
    }
    let executor = Executor::on(disk, slot).unwrap();
    executor.commit().unwrap();
    let mut settings = settings();
    settings.leftovers = leftovers;
    let mut source = Memory::new(next.to_vec());
    executor
        .update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default())
        .unwrap_or_else(|error| panic!("{at}: {error:?}"));
    let spare = slot.other();
    assert_eq!(executor.record().unwrap().state(spare), SlotState::Trial { starts: 0 }, "{at}");
    assert!(verified(executor.disk(), spare).is_some(), "{at}");
    slot
}

/// A machine that runs a release, everything of it on the disk.
fn settled(release: &Payload) -> (Model, Executor) {
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    ship(&disk, SLOT_BYTES, release);
    model.settle();
    (model, Executor::on(disk, Slot::A).unwrap())
}

#[test]
fn after_a_power_cut_anywhere_in_an_update_a_whole_slot_boots_and_the_next_update_succeeds() {
    let (old, new, next) = (small("1.0"), small("2.0"), small("3.0").bundle());
    let (model, executor) = settled(&old);
    apply(&executor, new.bundle()).unwrap();
    let allowed = [old, new];
    let (mut cuts, mut on_trial) = (0, 0);
    for cut in model.cuts(100, 1) {
        let slot = assert_good(&cut, &allowed, &next, None);
        cuts += 1;
        on_trial += usize::from(slot == Slot::B);
    }
    assert!(cuts >= 1000 && on_trial > 0 && on_trial < cuts / 2, "{cuts} cuts, {on_trial} on trial");
}

#[test]
fn after_a_power_cut_in_the_second_update_the_slots_change_roles_as_well() {
    let (first, second, next) = (small("1.0"), small("2.0"), small("4.0").bundle());
    let third = small("3.0");
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    ship(&disk, SLOT_BYTES, &first);
    apply(&Executor::on(disk, Slot::A).unwrap(), second.bundle()).unwrap();
    let disk = model.disk().unwrap();
    let table = disk.read_table().unwrap();
    meta::change(&disk, &table, None, Others::Wait, |record| Ok(record.begin_boot(record.choose(&[]))))
        .unwrap();
    let executor = Executor::on(disk, Slot::B).unwrap();
    model.settle();
    executor.commit().unwrap();
    apply(&executor, third.bundle()).unwrap();
    let allowed = [first, second, third];
    let mut cuts = 0;
    for cut in model.cuts(60, 2) {
        assert_good(&cut, &allowed, &next, None);
        cuts += 1;
    }
    assert!(cuts >= 800, "{cuts}");
}

/// Leaves notes of an update to this release, of which so many frames are said to be in the slot.
pub(crate) fn claim(notes: &Path, new: &Payload, frames: u32) {
    let index = Sha256::digest(new.index().0.encode().unwrap());
    let text = [&b"CORAPROG"[..], &index, &frames.to_le_bytes()].concat();
    coracle_block::replace_file(notes, &text, 0o600).unwrap();
}

#[test]
fn after_a_power_cut_anywhere_in_an_update_by_delta_a_whole_slot_boots_and_the_delta_goes_on() {
    let (old, mut new) = (small("1.0"), small("2.0"));
    new.root = old.root.clone();
    new.root[5000..5100].fill(1);
    let bytes = delta(&old, &new, by_files(&old, &new));
    cut_everywhere((&old, &new), &bytes);
}

#[test]
fn after_a_power_cut_a_delta_that_starts_from_what_it_has_made_goes_on_as_well() {
    let (old, mut new) = (small("1.0"), small("2.0"));
    new.root[61_000..61_100].fill(1);
    new.boot = new.root[..30_000].to_vec();
    new.boot[7] ^= 1;
    let bytes = delta(&old, &new, pieces(&old, &new, |_, _| Piece::Earlier));
    cut_everywhere((&old, &new), &bytes);
}

fn cut_everywhere((old, new): (&Payload, &Payload), bytes: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let (model, executor) = settled(old);
    apply(&executor, bytes.to_vec()).unwrap();
    let (allowed, next) = ([old.clone(), new.clone()], small("3.0").bundle());
    let (mut cuts, mut again) = (0, 0);
    for cut in model.cuts(60, 4) {
        // The same delta again where the old release runs, by notes that say too much; else the next bundle.
        let record = Executor::on(cut.model.disk().unwrap(), Slot::A).unwrap().record().unwrap();
        let is_old = record.choose(&[]).slot == Slot::A;
        claim(&notes, new, 9);
        assert_good(&cut, &allowed, if is_old { bytes } else { &next }, Some(&notes));
        cuts += 1;
        again += usize::from(is_old);
    }
    assert!(cuts >= 500 && again > cuts / 2, "{cuts} cuts, {again} by the delta again");
}

#[test]
fn notes_about_frames_that_a_power_cut_took_are_seen_through() {
    let (old, new) = (small("1.0"), small("2.0"));
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let (model, executor) = settled(&old);
    // The notes as they are when all frames are in: of a cut before that, they say too much.
    let mut settings = settings();
    settings.leftovers = Some(&notes);
    let mut after = 0;
    while !notes.exists() {
        after += 1;
        model.fail_after(Some(after));
        let mut source = Memory::new(new.bundle());
        executor.update(Ask::Apply, Supply::of(&mut source), &settings, &mut Notes::default()).unwrap_err();
    }
    let kept = coracle_block::read_limited(&notes, 1 << 20).unwrap();
    let bundle = new.bundle();
    for cut in model.cuts(1, 3).step_by(7) {
        coracle_block::replace_file(&notes, &kept, 0o600).unwrap();
        assert_good(&cut, std::slice::from_ref(&old), &bundle, Some(&notes));
    }
}
