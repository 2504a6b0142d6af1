//! A disk that changes what was written to it, between writing and reading back: never armed.

use crate::fixture::{
    DISK_BYTES, Memory, Payload, SLOT_BYTES, apply, digest_of_slot, settings, ship, verified,
};
use coracle_block::model::Model;
use coracle_block::{Access, Disk, Medium};
use coracle_slots::{Slot, SlotState};
use coracle_update::engine::Ask;
use coracle_update::executor::{Executor, Observer, Supply};
use coracle_update::{Error, Kind};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;

/// Changes one byte of the disk right before the slot is read back.
struct Tamperer<'a> {
    disk: &'a File,
    at: u64,
}

impl Observer for Tamperer<'_> {
    fn stage(&mut self, name: &'static str) {
        if name == "read back" {
            let mut byte = [0];
            self.disk.read_exact_at(&mut byte, self.at).unwrap();
            self.disk.write_all_at(&[byte[0] ^ 0x10], self.at).unwrap();
        }
    }
    fn progress(&mut self, _done: u64, _total: u64) {}
    fn note(&mut self, text: &str) {
        panic!("{text}");
    }
}

/// The running slot and its record are as they were, and nothing is armed, or found in the spare slot.
fn assert_untouched(executor: &Executor, running: [u8; 32], error: &Error) {
    let record = executor.record().unwrap();
    assert_eq!(record.state(Slot::A), SlotState::Good, "{error:?}");
    assert_eq!(record.state(Slot::B), SlotState::Empty, "{error:?}");
    assert_eq!(record.choose(&[]).slot, Slot::A);
    assert_eq!(digest_of_slot(executor.disk(), Slot::A), running, "{error:?}");
    assert_eq!(verified(executor.disk(), Slot::B), None, "{error:?}");
    assert_eq!((error.kind(), error.kind().exit().code()), (Kind::Io, 1));
    assert_eq!(error.hint_text(), Some("apply it again; if that repeats, the disk is failing"));
}

#[test]
fn a_byte_of_the_spare_slot_that_changes_after_it_was_written_is_found_before_arming() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.raw");
    File::create(&path).unwrap().set_len(DISK_BYTES).unwrap();
    let disk = Disk::open(&path, Access::Write, 512, DISK_BYTES).unwrap();
    ship(&disk, SLOT_BYTES, &Payload::new("1.0"));
    let executor = Executor::on(disk, Slot::A).unwrap();
    let running = digest_of_slot(executor.disk(), Slot::A);
    let raw = OpenOptions::new().read(true).write(true).open(&path).unwrap();

    let new = Payload::new("2.0");
    let slot = executor.partition(Slot::B).unwrap();
    let parts = ["root file system", "hash tree", "boot artefact"];
    for ((offset, bytes), part) in new.pieces(slot.bytes).into_iter().zip(parts) {
        let length = u64::try_from(bytes.len()).unwrap();
        // A change of the root shows in both its digest and its tree: either may be named.
        let names = [part, if part == parts[0] { parts[1] } else { part }];
        for byte in [0, 1, length / 2, length - 1] {
            let mut observer = Tamperer { disk: &raw, at: slot.offset + offset + byte };
            let mut source = Memory::new(new.bundle());
            let error =
                executor.update(Ask::Apply, Supply::of(&mut source), &settings(), &mut observer).unwrap_err();
            let words = names.map(|name| {
                format!("cannot apply u.bundle: the disk gives back another {name} than was written")
            });
            assert!(words.contains(&error.to_string()), "{part}, byte {byte}: {error:?}");
            assert_untouched(&executor, running, &error);
        }
    }
    apply(&executor, new.bundle()).unwrap();
    assert_eq!(verified(executor.disk(), Slot::B), Some(new.release()));
}

/// What a disk does with a write that it has acknowledged.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Forgets it.
    Loses,
    /// Flips a bit of it.
    Flips,
}

/// A disk that lies about what is written to one byte, unless that is a zero.
#[derive(Debug)]
struct Liar {
    model: Model,
    at: u64,
    lie: Lie,
}

impl Medium for Liar {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.model.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let place = self.at.checked_sub(offset).and_then(|place| usize::try_from(place).ok());
        let Some(place) = place.filter(|place| bytes.get(*place).is_some_and(|byte| *byte != 0)) else {
            return self.model.write_all_at(bytes, offset);
        };
        match self.lie {
            Lie::Loses => Ok(()),
            Lie::Flips => {
                let mut bytes = bytes.to_vec();
                bytes[place] ^= 1;
                self.model.write_all_at(&bytes, offset)
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.model.sync()
    }
}

#[test]
fn a_disk_that_loses_or_mangles_an_acknowledged_write_is_found_before_arming() {
    let new = Payload::new("2.0");
    for lie in [Lie::Loses, Lie::Flips] {
        for (number, part) in ["root", "tree", "boot", "descriptor"].into_iter().enumerate() {
            let model = Model::new(DISK_BYTES);
            ship(&model.disk().unwrap(), SLOT_BYTES, &Payload::new("1.0"));
            let slot = Executor::on(model.disk().unwrap(), Slot::A).unwrap().partition(Slot::B).unwrap();
            let (offset, bytes) = new.pieces(slot.bytes).swap_remove(number);
            let byte = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            let at = slot.offset + offset + u64::try_from(byte).unwrap();
            let liar = Liar { model, at, lie };
            let executor =
                Executor::on(Disk::over(Box::new(liar), "liar", 512, DISK_BYTES).unwrap(), Slot::A).unwrap();
            let running = digest_of_slot(executor.disk(), Slot::A);
            let error = apply(&executor, new.bundle()).unwrap_err();
            let found = if part == "descriptor" {
                error.to_string()
                    == "cannot describe the slot: the disk gives back something else than was written"
            } else {
                error.to_string().starts_with("cannot apply u.bundle: the disk gives back another ")
            };
            assert!(found, "{lie:?} {part}: {error:?}");
            assert_untouched(&executor, running, &error);
        }
    }
}
