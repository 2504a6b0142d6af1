//! The boot selector: reads the slot record, starts the slot it names, tries the other one when the firmware refuses.
//!
//! [`select`] is the whole of it, over a [`Firmware`]; `main.rs` is UEFI's. Every decision is coracle-slots'.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod disk;

pub use disk::{Disk, DiskError, Places};

use alloc::{format, string::String, vec, vec::Vec};
use coracle_format::slot::{BLOCK_BYTES, Descriptor};
use coracle_slots::{COPY_BYTES, COPY_OFFSETS, Found, Reason, Record, Slot};
use core::time::Duration;
use sha2::{Digest, Sha256};

/// The largest boot artefact that is read into memory.
pub const BOOT_BYTES_MAX: u64 = 512 << 20;
/// The pause before a slot is tried that nothing recommends.
pub const PAUSE_WHEN_NOTHING_ELIGIBLE: Duration = Duration::from_secs(10);
/// The pause before the machine is reset because nothing could be started.
pub const PAUSE_BEFORE_RESET: Duration = Duration::from_secs(30);
/// How long the firmware may take to get a slot's kernel running before its watchdog resets the machine.
pub const WATCHDOG: Duration = Duration::from_mins(2);

/// What the selector needs of the firmware.
pub trait Firmware {
    /// The disk the selector was loaded from.
    fn disk(&mut self) -> &mut dyn Disk;
    /// Hands a boot artefact to the firmware, which judges and starts it. Returns only when that failed, with why.
    fn start(&mut self, image: &[u8]) -> String;
    /// Resets the machine if nothing was started within `timeout`; not every firmware can.
    fn arm_watchdog(&mut self, timeout: Duration);
    /// Shows a line on the console.
    fn say(&mut self, line: &str);
    /// Waits.
    fn pause(&mut self, duration: Duration);
}

/// Starts a slot; returns when neither could be started, so that the caller resets the machine.
pub fn select(firmware: &mut dyn Firmware) {
    firmware.arm_watchdog(WATCHDOG);
    let places = match Places::find(firmware.disk()) {
        Ok(places) => places,
        Err(error) => {
            firmware.say(&format!("coracle: cannot read the partition table: {error}"));
            return firmware.pause(PAUSE_BEFORE_RESET);
        }
    };
    let mut state = State::load(firmware, places);
    let mut refused: Vec<Slot> = Vec::new();
    while refused.len() < Slot::ALL.len() {
        let choice = state.record.choose(&refused);
        if refused.contains(&choice.slot) {
            break;
        }
        firmware.say(&format!("coracle: slot {} ({})", choice.slot, choice.reason));
        if choice.reason == Reason::NothingEligible {
            firmware.pause(PAUSE_WHEN_NOTHING_ELIGIBLE);
        }
        state.change(firmware, state.record.begin_boot(choice));
        let why = match read_boot(firmware.disk(), &state.places, choice.slot) {
            Ok(image) => firmware.start(&image),
            Err(why) => why,
        };
        firmware.say(&format!("coracle: slot {} cannot be started: {why}", choice.slot));
        state.change(firmware, state.record.refuse(choice.slot));
        refused.push(choice.slot);
    }
    firmware.say("coracle: no slot can be started; resetting");
    firmware.pause(PAUSE_BEFORE_RESET);
}

/// The record as it is on disk.
struct State {
    places: Places,
    record: Record,
    /// Whether `record` is what the disk says.
    stored: bool,
    next_offset: u64,
}

impl State {
    /// The newest whole copy. When both are unreadable the slot that holds something is taken for the good one, so that
    /// a machine with a ruined record still starts.
    fn load(firmware: &mut dyn Firmware, places: Places) -> Self {
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
                firmware.say(&format!("coracle: no slot record: {first}; {second}"));
                let holds = |disk: &mut dyn Disk, slot| descriptor(disk, &places, slot).is_ok();
                let disk = firmware.disk();
                let record = Record::rebuilt(holds(disk, Slot::A), holds(disk, Slot::B));
                Self { places, record, stored: false, next_offset: COPY_OFFSETS[0] }
            }
        }
    }

    /// Writes the record unless the disk says the same already. A record that cannot be written does not keep the machine from starting.
    fn change(&mut self, firmware: &mut dyn Firmware, next: Record) {
        if self.stored && next == self.record {
            return;
        }
        let offset = self.places.meta.offset + self.next_offset;
        let disk = firmware.disk();
        match disk.write(offset, &next.encode()).and_then(|()| disk.flush()) {
            Ok(()) => {
                self.stored = true;
                let [first, second] = COPY_OFFSETS;
                self.next_offset = if self.next_offset == first { second } else { first };
            }
            Err(error) => firmware.say(&format!("coracle: cannot write the slot record: {error}")),
        }
        self.record = next;
    }
}

fn descriptor(disk: &mut dyn Disk, places: &Places, slot: Slot) -> Result<(u64, Descriptor), String> {
    let place = places.slot(slot).ok_or("there is no such partition")?;
    let at = Descriptor::offset_in(place.bytes).ok_or("the partition is too small")?;
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).ok().ok_or("block too large")?];
    disk.read(place.offset + at, &mut block).map_err(|error| format!("{error}"))?;
    let descriptor = Descriptor::parse(&block, place.bytes).map_err(|error| format!("{error}"))?;
    Ok((place.offset, descriptor))
}

fn read_boot(disk: &mut dyn Disk, places: &Places, slot: Slot) -> Result<Vec<u8>, String> {
    let (start, descriptor) = descriptor(disk, places, slot)?;
    let boot = descriptor.boot;
    if boot.bytes > BOOT_BYTES_MAX {
        return Err(format!("boot artefact has {} bytes, more than {BOOT_BYTES_MAX}", boot.bytes));
    }
    let bytes = usize::try_from(boot.bytes).ok().ok_or("boot artefact is too large for this machine")?;
    let mut image = Vec::new();
    image.try_reserve_exact(bytes).ok().ok_or("not enough memory for the boot artefact")?;
    image.resize(bytes, 0);
    disk.read(start + boot.offset, &mut image).map_err(|error| format!("{error}"))?;
    if Sha256::digest(&image)[..] != descriptor.boot_digest {
        return Err("boot artefact does not match its digest".into());
    }
    Ok(image)
}

#[cfg(test)]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "small test numbers")]
mod tests;
