//! The slot record as it is on disk, and one attempt to start a slot.

use crate::{Disk, DiskError, Firmware, Places, Start, hand_over, held, read_boot, say_states, wait};
use alloc::{format, vec};
use coracle_slots::history::{self, Entry, Event, HISTORY_BYTES, HISTORY_OFFSET};
use coracle_slots::{
    COPY_BYTES, COPY_OFFSETS, Choice, Found, Reason, Record, Slot, SlotState, Text, Verdict,
};

/// The record as it is on disk.
pub(crate) struct State {
    places: Places,
    pub(crate) record: Record,
    /// Whether `record` is what the disk says.
    stored: bool,
    next_offset: u64,
}

impl State {
    /// The newest whole copy. When both are unreadable the record is made anew from what the slots hold, so that a
    /// machine with a ruined record still starts.
    pub(crate) fn load(firmware: &mut dyn Firmware, places: Places) -> Self {
        let mut copies = [[0; COPY_BYTES]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            if let Err(error) = firmware.disk().read(places.meta.offset + offset, copy) {
                firmware.say(&format!("coracle: cannot read a slot record: {error}"));
            }
        }
        match coracle_slots::parse_copies(&copies[0], &copies[1]) {
            Ok(found) => {
                Self { places, record: found.record, stored: true, next_offset: Found::next_offset(&found) }
            }
            Err([first, second]) => {
                firmware.say(&format!("coracle: no slot record (copy 0: {first}; copy 1: {second})"));
                let disk = firmware.disk();
                let held = Slot::ALL.map(|slot| held(disk, &places, slot));
                let record = Record::rebuilt(held, None);
                Self { places, record, stored: false, next_offset: COPY_OFFSETS[0] }
            }
        }
    }

    /// Records what is about to be started, then starts it. A release on trial is started only when that start is counted
    /// on the disk: else nothing would end the trial.
    pub(crate) fn try_to_start(
        &mut self,
        firmware: &mut dyn Firmware,
        choice: Choice,
        refused: &[Slot],
    ) -> Start {
        firmware.say(&format!("coracle: slot {} ({})", choice.slot, choice.reason));
        let before = self.record;
        self.change(firmware, self.record.begin_boot(choice));
        if choice.reason == Reason::Trial && !self.stored {
            self.record = before;
            return Start::Refused("a start on trial has to be counted".into());
        }
        if choice.reason == Reason::NothingEligible {
            say_states(firmware, &self.record, refused);
            wait(firmware, self.record.pause_seconds());
        }
        let started = match read_boot(firmware.disk(), &self.places, choice.slot) {
            Ok(image) => hand_over(firmware, &image),
            Err(why) => Start::Refused(why),
        };
        if let Start::Refused(why) = &started {
            self.tell(firmware, choice.slot, why);
            self.change(firmware, self.record.refuse(choice.slot));
        }
        started
    }

    /// Writes the record unless the disk says the same already. A record that cannot be written does not keep the machine
    /// from starting.
    pub(crate) fn change(&mut self, firmware: &mut dyn Firmware, next: Record) {
        if self.stored && next == self.record {
            return;
        }
        let offset = self.places.meta.offset + self.next_offset;
        let written = put(firmware.disk(), offset, &next.encode());
        self.stored = written.is_ok();
        match written {
            Ok(()) => {
                let [first, second] = COPY_OFFSETS;
                self.next_offset = if self.next_offset == first { second } else { first };
            }
            Err(error) => firmware.say(&format!("coracle: cannot write the slot record: {error}")),
        }
        self.record = next;
    }

    /// Notes in the history why a slot was not started, once for the same release: a good one that is refused at every boot
    /// must not displace everything else.
    fn tell(&self, firmware: &mut dyn Firmware, slot: Slot, why: &str) {
        let trial = matches!(self.record.state(slot), SlotState::Trial { .. });
        let event = if trial { Event::Failed } else { Event::NotStarted };
        let mut entry = Entry::new(event, slot, self.record.release(slot));
        entry.verdict = trial.then_some(Verdict::Refused);
        entry.detail = Text::cut(why);
        let mut ring = vec![0; HISTORY_BYTES];
        let disk = firmware.disk();
        if disk.read(self.places.meta.offset + HISTORY_OFFSET, &mut ring).is_err() {
            return;
        }
        let newest = history::newest(&ring);
        if newest.is_some_and(|newest| newest.about == entry.about()) {
            return;
        }
        let offset = entry.follow(newest.as_ref());
        if let Err(error) = put(disk, self.places.meta.offset + offset, &entry.encode()) {
            firmware.say(&format!("coracle: cannot write the history: {error}"));
        }
    }
}

/// Writes and flushes.
fn put(disk: &mut dyn Disk, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
    disk.write(offset, bytes)?;
    disk.flush()
}
