//! The boot selector: reads the slot record, starts the slot it names, tries the other one when the firmware refuses.
//!
//! [`select`] is the whole of it, over a [`Firmware`]; `main.rs` is UEFI's. Every decision is coracle-slots'.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod command_line;
mod disk;
pub mod i6300esb;
mod state;

pub use command_line::WATCHDOG_WORD;
pub use disk::{Disk, DiskError, Places};

use alloc::{format, string::String, vec, vec::Vec};
use coracle_format::slot::{BLOCK_BYTES, Descriptor};
use coracle_slots::{Held, PAUSE_SECONDS, Record, Slot};
use core::time::Duration;
use sha2::{Digest, Sha256};
use state::State;

/// The largest boot artefact that is read into memory.
pub const BOOT_BYTES_MAX: u64 = 512 << 20;
/// How long the firmware may take to get a slot's kernel running before its watchdog resets the machine; and how long
/// that kernel may take from there to its own watchdog, where the machine has one that the selector can start.
pub const WATCHDOG: Duration = Duration::from_mins(2);

/// What became of a boot artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The firmware refuses it, or it came back; why.
    Refused(String),
    /// It runs, or will: the selector has nothing more to do. Only a host that plays the firmware says this.
    Started,
}

/// How the selection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected {
    /// This slot was started.
    Slot(Slot),
    /// None could be: reset the machine.
    Nothing,
}

/// What the selector needs of the firmware.
pub trait Firmware {
    /// The disk the selector was loaded from.
    fn disk(&mut self) -> &mut dyn Disk;
    /// Hands a boot artefact to the firmware, which judges and starts it. Where starting does not return, this returns
    /// only when it failed.
    fn start(&mut self, image: &[u8]) -> Start;
    /// Resets the machine if nothing was started within `timeout`; not every firmware can.
    fn arm_watchdog(&mut self, timeout: Duration);
    /// Resets the machine after [`WATCHDOG`], whatever runs then, unless the kernel's driver takes over; not every
    /// machine can.
    fn arm_kernel_watchdog(&mut self);
    /// Ends that.
    fn disarm_kernel_watchdog(&mut self);
    /// Shows a line on the console.
    fn say(&mut self, line: &str);
    /// Waits.
    fn pause(&mut self, duration: Duration);
}

/// Starts a slot; where the firmware does not return from that, this returns only when neither could be started, so that
/// the caller resets the machine.
pub fn select(firmware: &mut dyn Firmware) -> Selected {
    firmware.arm_watchdog(WATCHDOG);
    let places = match Places::find(firmware.disk()) {
        Ok(places) => places,
        Err(error) => {
            firmware.say(&format!("coracle: cannot read the partition table: {error}"));
            wait(firmware, PAUSE_SECONDS);
            return Selected::Nothing;
        }
    };
    let mut state = State::load(firmware, places);
    let at_power_on = state.record;
    let mut refused: Vec<Slot> = Vec::new();
    loop {
        let choice = state.record.choose(&refused);
        if refused.contains(&choice.slot) {
            break;
        }
        match state.try_to_start(firmware, choice, &refused) {
            Start::Started => return Selected::Slot(choice.slot),
            Start::Refused(why) => {
                firmware.say(&format!("coracle: slot {} cannot be started: {why}", choice.slot));
                refused.push(choice.slot);
            }
        }
    }
    state.change(firmware, state.record.back_off(&at_power_on));
    firmware.say("coracle: no slot can be started");
    wait(firmware, state.record.pause_seconds());
    Selected::Nothing
}

/// Starts a boot artefact. A kernel that would feed the machine's watchdog finds it running, so that it may hang before it
/// has got that far.
fn hand_over(firmware: &mut dyn Firmware, image: &[u8]) -> Start {
    if !command_line::has_word(image, WATCHDOG_WORD) {
        return firmware.start(image);
    }
    firmware.arm_kernel_watchdog();
    let started = firmware.start(image);
    if let Start::Refused(_) = started {
        firmware.disarm_kernel_watchdog();
    }
    started
}

/// Says of each slot why it is not usable.
fn say_states(firmware: &mut dyn Firmware, record: &Record, refused: &[Slot]) {
    for slot in Slot::ALL {
        let now = if refused.contains(&slot) { ", cannot be started" } else { "" };
        firmware.say(&format!("coracle: slot {slot} is {}{now}", record.state(slot)));
    }
}

/// Waits without being reset for it.
fn wait(firmware: &mut dyn Firmware, seconds: u64) {
    let pause = Duration::from_secs(seconds);
    firmware.say(&format!("coracle: waiting {seconds} s"));
    firmware.arm_watchdog(WATCHDOG.saturating_add(pause));
    firmware.pause(pause);
    firmware.arm_watchdog(WATCHDOG);
}

fn descriptor(disk: &mut dyn Disk, places: &Places, slot: Slot) -> Result<(u64, Descriptor), String> {
    let place = places.slot(slot).ok_or("there is no such partition")?;
    let at = Descriptor::offset_in(place.bytes).ok_or("the partition is too small")?;
    let mut block = vec![0; usize::try_from(BLOCK_BYTES).ok().ok_or("block too large")?];
    disk.read(place.offset + at, &mut block).map_err(|error| error.0)?;
    let descriptor = Descriptor::parse(&block, place.bytes).map_err(|error| format!("{error}"))?;
    Ok((place.offset, descriptor))
}

fn held(disk: &mut dyn Disk, places: &Places, slot: Slot) -> Option<Held> {
    let (_, descriptor) = descriptor(disk, places, slot).ok()?;
    Some(Held { release: descriptor.boot_digest, version: descriptor.version_number() })
}

fn read_boot(disk: &mut dyn Disk, places: &Places, slot: Slot) -> Result<Vec<u8>, String> {
    let (start, descriptor) = descriptor(disk, places, slot)?;
    let boot = descriptor.boot;
    if boot.bytes > BOOT_BYTES_MAX {
        return Err("boot artefact is too large".into());
    }
    let bytes = usize::try_from(boot.bytes).ok().ok_or("boot artefact is too large for this machine")?;
    let mut image = Vec::new();
    image.try_reserve_exact(bytes).ok().ok_or("not enough memory for the boot artefact")?;
    image.resize(bytes, 0);
    disk.read(start + boot.offset, &mut image).map_err(|error| error.0)?;
    if Sha256::digest(&image)[..] != descriptor.boot_digest {
        return Err("boot artefact does not match its digest".into());
    }
    Ok(image)
}

#[cfg(test)]
#[expect(clippy::as_conversions, clippy::cast_possible_truncation, reason = "small test numbers")]
mod tests;
