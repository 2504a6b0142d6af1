//! The verified device, and the file system of the root image on it.

use super::System;
use super::disk::RootSlot;
use crate::cmdline::Verity;
use crate::fault::{Attempt, Fault};
use crate::hex;
use crate::sys::dm::{self, Mapping};
use coracle_format::device::SYSTEM;
use coracle_format::slot::BLOCK_BYTES;
use nix::mount::{MsFlags, mount};

/// Makes the dm-verity device. Hash, salt and length come from the command line alone.
pub(super) fn run(system: &mut System) -> Result<(), Fault> {
    let (Some(verity), Some(slot)) = (&system.verity, &system.slot) else {
        return Err(Fault::new("verify", "the root", "an earlier phase did not run"));
    };
    system.device = Some(dm::create(&mapping(verity, slot))?);
    Ok(())
}

/// A block that does not match its hash is an error for whoever reads it, and an event for PID 1, which lives in memory:
/// it marks the slot as damaged and reboots. See `docs/decisions/damaged-root.md`.
fn mapping(verity: &Verity, slot: &RootSlot) -> Mapping {
    let device = &slot.number_pair;
    let blocks = verity.data_blocks;
    let root = hex::encode(&verity.root_hash);
    let salt = if verity.salt.is_empty() { "-".to_owned() } else { hex::encode(&verity.salt) };
    // The superblock stands right behind the data, the tree behind the superblock.
    let hash_start = blocks.saturating_add(1);
    Mapping {
        name: "coracle-root",
        sectors: blocks.saturating_mul(BLOCK_BYTES / 512),
        target: "verity",
        parameters: format!(
            "1 {device} {device} {BLOCK_BYTES} {BLOCK_BYTES} {blocks} {hash_start} sha256 {root} {salt}"
        ),
    }
}

/// Mounts the verified device read-only.
pub(super) fn mount_image(system: &mut System) -> Result<(), Fault> {
    let Some(device) = &system.device else {
        return Err(Fault::new("mount", "the root image", "an earlier phase did not run"));
    };
    let device = format!("/dev/{device}");
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NODEV;
    mount(Some(device.as_str()), SYSTEM, Some("ext4"), flags, None::<&str>).attempt("mount", &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::layout::Role;

    #[test]
    fn the_mapping_says_what_the_command_line_says() {
        let verity = Verity { root_hash: [0xab; 32], salt: vec![0xcd, 0x01], data_blocks: 2048 };
        let slot = RootSlot {
            disk: "vda".to_owned(),
            role: Role::SlotA,
            partition: "vda3".to_owned(),
            number_pair: "254:3".to_owned(),
        };
        let mapping = mapping(&verity, &slot);
        assert_eq!(mapping.sectors, 16384);
        let hash = "ab".repeat(32);
        assert_eq!(mapping.parameters, format!("1 254:3 254:3 4096 4096 2048 2049 sha256 {hash} cd01"));
    }
}
