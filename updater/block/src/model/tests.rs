//! Power cuts in everything that this crate writes.

use super::*;
use crate::disk::{Copies, Partition};
use crate::meta::{self, Others};
use coracle_format::gpt::{Size, Table};
use coracle_format::guid::Guid;
use coracle_format::layout::Role;
use coracle_slots::history::{ENTRIES, Entry, Event};
use coracle_slots::words::LastWords;
use coracle_slots::{Floors, Record, RefusedTransition, Slot, Verdict};

const DISK_BYTES: u64 = 8 << 20;

/// A settled disk with a `meta` partition and a shipped record in both copies.
fn machine() -> (Model, Table, Partition) {
    let model = Model::new(DISK_BYTES);
    let disk = model.disk().unwrap();
    let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
    for (number, role) in [Role::Meta, Role::SlotA, Role::SlotB].into_iter().enumerate() {
        let id = Guid::from_random([u8::try_from(number).unwrap() + 2; 16]);
        table.add(role, id, Size::Bytes(1 << 20)).unwrap();
    }
    disk.write_table(&table).unwrap();
    let partition = meta::partition(&disk, &table).unwrap();
    for offset in coracle_slots::COPY_OFFSETS {
        disk.write_within(&partition, offset, &Record::shipped([1; 32], 1, 0).encode()).unwrap();
    }
    model.settle();
    (model, table, partition)
}

type Step = fn(Record) -> Result<Record, RefusedTransition>;

fn change(
    disk: &Disk,
    table: &Table,
    transition: impl FnOnce(Record) -> Result<Record, RefusedTransition>,
) -> Record {
    meta::change(disk, table, Some(Slot::A), Others::Wait, transition).unwrap()
}

/// Runs `step` on a settled machine; every cut must leave what `read` finds before or after it. How many cuts there were.
fn old_or_new<T: PartialEq + std::fmt::Debug>(
    (model, seed): (&Model, u64),
    read: impl Fn(&Disk) -> T,
    step: impl FnOnce(&Disk),
) -> usize {
    model.settle();
    let disk = model.disk().unwrap();
    let before = read(&disk);
    step(&disk);
    let after = read(&disk);
    let mut cuts = 0;
    for cut in model.cuts(24, seed) {
        let found = read(&cut.model.disk().unwrap());
        assert!(found == before || found == after, "{cut:?}: {found:?}");
        if cut.after == model.operations() && cut.unsynced == 0 {
            assert_eq!(found, after, "what was reported as done is gone");
        }
        cuts += 1;
    }
    cuts
}

#[test]
fn a_cut_in_any_change_of_the_record_leaves_the_old_or_the_new_one() {
    let (model, table, partition) = machine();
    let read = |disk: &Disk| meta::read(disk, &partition).unwrap().record;
    let update: [Step; 6] = [
        |record| record.clear(Slot::B),
        |record| record.written(Slot::B, [2; 32], 2, 0),
        |record| record.arm(Slot::B),
        |record| Ok(record.begin_boot(record.choose(&[]))),
        |record| record.fail(Slot::B, Verdict::Panic),
        |record| Ok(record.begin_boot(record.choose(&[])).retry(&[2; 32])),
    ];
    let mut cuts = 0;
    for round in 0..10 {
        for (step, transition) in update.into_iter().enumerate() {
            let seed = round * 10 + u64::try_from(step).unwrap();
            cuts += old_or_new((&model, seed), read, |disk| {
                change(disk, &table, transition);
            });
        }
    }
    assert!(cuts > 1000, "only {cuts} cuts");
}

#[test]
fn cuts_that_follow_each_other_never_take_both_copies() {
    let (model, table, partition) = machine();
    let mut model = model;
    for round in 0..200_u64 {
        model.settle();
        let disk = model.disk().unwrap();
        let before = meta::read(&disk, &partition).unwrap().record;
        let raise = Floors { released: before.floors().released + 1, ..Floors::default() };
        let after = change(&disk, &table, |record| Ok(record.raise_floors(raise)));
        let cuts: Vec<Cut> = model.cuts(6, round).collect();
        for cut in &cuts {
            let found = meta::read(&cut.model.disk().unwrap(), &partition).unwrap().record;
            assert!(found == before || found == after, "round {round}: {cut:?}");
        }
        // Another one of them each time is what the machine goes on with.
        let index = usize::try_from(round * 7).unwrap() % cuts.len();
        model = cuts[index].model.clone();
    }
}

#[test]
fn a_cut_in_writing_the_partition_table_leaves_the_old_or_the_new_one() {
    let mut cuts = 0;
    for seed in 0..8 {
        let (model, mut table, _) = machine();
        let read = |disk: &Disk| disk.read_table().unwrap();
        table.add(Role::State, Guid::from_random([9; 16]), Size::Bytes(1 << 20)).unwrap();
        cuts += old_or_new((&model, seed), read, |disk| disk.write_table(&table).unwrap());
        for cut in model.cuts(8, seed) {
            // The next boot completes it, whatever was left.
            let disk = cut.model.disk().unwrap();
            let found = disk.inspect_table().unwrap();
            disk.write_table(&found.table).unwrap();
            assert_eq!(disk.inspect_table().unwrap().copies, Copies::Agree);
        }
    }
    assert!(cuts > 500, "only {cuts} cuts");
}

#[test]
fn a_cut_in_writing_last_words_leaves_the_old_or_the_new_ones() {
    let (model, _, partition) = machine();
    let read = |disk: &Disk| {
        meta::read_words(disk, &partition)
            .unwrap()
            .map(|words| (words.reason.to_string(), words.log().to_vec()))
    };
    let mut cuts = 0;
    for round in 0..20 {
        let reason = format!("reason {round}");
        let words = LastWords::new(Slot::B, [2; 32], Verdict::Panic, "stage", &reason)
            .with_log("kernel line\n".repeat(300).as_bytes());
        cuts += old_or_new((&model, round), read, |disk| {
            meta::write_words(disk, &partition, &words).unwrap();
        });
    }
    assert!(cuts > 500, "only {cuts} cuts");
}

#[test]
fn a_cut_in_adding_to_the_history_costs_no_entry_that_was_there_but_the_oldest() {
    let (model, _, partition) = machine();
    let list = |disk: &Disk| meta::read_history(disk, &partition).unwrap();
    for round in 0..u64::try_from(ENTRIES).unwrap() + 40 {
        model.settle();
        let disk = model.disk().unwrap();
        let before = list(&disk);
        let mut entry = Entry::new(Event::Applied, Slot::B, [2; 32]);
        entry.at = round;
        meta::append_history(&disk, &partition, entry).unwrap();
        let after = list(&disk);
        assert_eq!(after.last().unwrap().at, round);
        let kept = if before.len() == ENTRIES { &before[1..] } else { &before[..] };
        assert_eq!(&after[..after.len() - 1], kept);
        // The ring is empty, growing, full for the first time, and full.
        let every = if before.len() < ENTRIES - 2 { 16 } else { 4 };
        for cut in model.cuts(8, round).filter(|_| round % every == 0) {
            let found = list(&cut.model.disk().unwrap());
            assert!(found == before || found == after || found == kept, "round {round}: {cut:?}");
        }
    }
}

#[test]
fn a_ruined_record_is_made_anew_and_a_cut_in_writing_it_leaves_it_to_be_made_again() {
    let (model, table, partition) = machine();
    let disk = model.disk().unwrap();
    for offset in coracle_slots::COPY_OFFSETS {
        disk.write_within(&partition, offset, &[0xff; 512]).unwrap();
    }
    let running = Some(Slot::B);
    let read = |disk: &Disk| meta::read_or_rebuild(disk, &table, running).unwrap().found.record;
    assert_eq!(read(&disk).booting(), Slot::B);
    meta::read(&disk, &partition).unwrap_err();
    old_or_new((&model, 1), read, |disk| {
        meta::change(disk, &table, running, Others::Wait, Ok).unwrap();
    });
    meta::read(&disk, &partition).unwrap();
}

#[test]
fn a_change_that_changes_nothing_writes_nothing() {
    let (model, table, _) = machine();
    let disk = model.disk().unwrap();
    change(&disk, &table, |record| Ok(record.begin_boot(record.choose(&[]))));
    assert_eq!(model.operations(), 0);
}

#[test]
fn a_disk_that_fails_in_the_middle_is_reported_and_keeps_the_old_record() {
    let (model, table, partition) = machine();
    let disk = model.disk().unwrap();
    let before = meta::read(&disk, &partition).unwrap().record;
    model.fail_after(Some(0));
    let result =
        meta::change(&disk, &table, Some(Slot::A), Others::Wait, |record| Ok(record.damage(Slot::B)));
    assert!(matches!(result, Err(meta::ChangeError::Disk(_))));
    assert_eq!(meta::read(&disk, &partition).unwrap().record, before);
}

#[test]
fn what_is_not_synced_may_be_lost_torn_or_kept_and_what_is_synced_stays() {
    let model = Model::new(1 << 20);
    let disk = model.disk().unwrap();
    let whole = Partition { number: 1, role: Role::Meta, offset: 0, bytes: 1 << 20 };
    disk.write_within(&whole, 0, &[1; 512]).unwrap();
    disk.sync().unwrap();
    disk.write_within(&whole, 0, &[2; 1024]).unwrap();
    let mut seen = [false; 4];
    for cut in model.cuts(40, 7).filter(|cut| cut.after == 3) {
        let mut bytes = [0; 1024];
        cut.model.disk().unwrap().read_within(&whole, 0, &mut bytes).unwrap();
        assert!(bytes[..512].iter().all(|byte| [1, 2].contains(byte)));
        assert!(bytes[512..].iter().all(|byte| [0, 2].contains(byte)));
        let torn = bytes[..512].contains(&1) && bytes[..512].contains(&2);
        seen[0] |= bytes[0] == 1 && bytes[1023] == 0;
        seen[1] |= bytes == [2; 1024];
        seen[2] |= torn;
        seen[3] |= bytes[..512] == [1; 512] && bytes[512..] == [2; 512];
    }
    assert_eq!(seen, [true; 4], "lost, kept, torn, out of order");
}
