//! Disks as updates leave them, made without one: what the image ships in slot A stands in slot B too.

use anyhow::{Context as _, Result, anyhow, ensure};
use coracle_block::{Access, Disk, Partition, meta};
use coracle_format::{
    gpt::Size, gpt::Table, guid::Guid, layout::Role, slot::DESCRIPTOR_BYTES, slot::Descriptor,
};
use coracle_slots::{COPY_OFFSETS, Held, Record, Slot, history::Entry};
use sha2::{Digest as _, Sha256};
use std::{fs, path::Path};

const BLOCK: u64 = 512;

/// A disk with the same release in both slots; both are good, and A is the one that boots.
#[derive(Debug)]
pub struct TwoSlots {
    disk: Disk,
    table: Table,
    meta: Partition,
}

impl TwoSlots {
    /// Adds slot B to the disk of a machine that was never started.
    pub fn make(path: &Path) -> Result<Self> {
        let bytes = fs::metadata(path).with_context(|| format!("cannot inspect {}", path.display()))?.len();
        let disk = Disk::open(path, Access::Write, BLOCK, bytes)?;
        let mut table = disk.read_table()?;
        table.fit(bytes / BLOCK)?;
        let first = Disk::partition(&table, Role::SlotA).context("no slot A")?;
        table
            .add(Role::SlotB, Guid([0xb0; 16]), Size::Bytes(first.bytes))
            .map_err(|why| anyhow!("{why:?}"))?;
        disk.write_table(&table)?;
        let meta = meta::partition(&disk, &table)?;
        let this = Self { disk, table, meta };
        let descriptor = this.descriptor(Slot::A)?;
        for range in [descriptor.root, descriptor.tree, descriptor.boot] {
            let mut bytes = vec![0; usize::try_from(range.bytes)?];
            this.disk.read_within(&first, range.offset, &mut bytes)?;
            this.disk.write_within(&this.partition(Slot::B)?, range.offset, &bytes)?;
        }
        this.describe(Slot::B, &descriptor)?;
        this.make_good()?;
        Ok(this)
    }

    /// The boot artefact in a slot.
    pub fn boot(&self, slot: Slot) -> Result<Vec<u8>> {
        let range = self.descriptor(slot)?.boot;
        let mut bytes = vec![0; usize::try_from(range.bytes)?];
        self.disk.read_within(&self.partition(slot)?, range.offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives a slot another boot artefact and a descriptor that fits it: nobody but the firmware has a reason to refuse it.
    pub fn replace_boot(&self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let mut descriptor = self.descriptor(slot)?;
        descriptor.boot.bytes = u64::try_from(bytes.len())?;
        descriptor.boot_digest = Sha256::digest(bytes).into();
        self.disk.write_within(&self.partition(slot)?, descriptor.boot.offset, bytes)?;
        self.describe(slot, &descriptor)
    }

    /// Writes over a slot's boot artefact as a defect of the disk does: nothing else changes.
    pub fn damage_boot(&self, slot: Slot, bytes: &[u8]) -> Result<()> {
        let range = self.descriptor(slot)?.boot;
        ensure!(u64::try_from(bytes.len())? <= range.bytes, "this is longer than the boot artefact");
        self.disk.write_within(&self.partition(slot)?, range.offset, bytes)?;
        Ok(self.disk.sync()?)
    }

    /// Makes both slots good, whatever they hold.
    pub fn make_good(&self) -> Result<()> {
        self.rebuild(|_| {})
    }

    /// Puts what slot B holds on trial, whatever it is.
    pub fn put_on_trial(&self) -> Result<()> {
        // Of a record that is made anew, the newer release is on trial.
        self.rebuild(|held| held[1].version = held[0].version.saturating_add(1))
    }

    /// The slot record.
    pub fn record(&self) -> Result<Record> {
        Ok(meta::read(&self.disk, &self.meta)?.record)
    }

    /// What has happened to the slots, oldest first.
    pub fn history(&self) -> Result<Vec<Entry>> {
        Ok(meta::read_history(&self.disk, &self.meta)?)
    }

    fn rebuild(&self, change: impl FnOnce(&mut [Held; 2])) -> Result<()> {
        let held = Slot::ALL.map(|slot| meta::held(&self.disk, &self.table, slot));
        let [Some(first), Some(second)] = held else {
            return Err(anyhow!("a slot has no descriptor"));
        };
        let mut held = [first, second];
        change(&mut held);
        let record = Record::rebuilt(held.map(Some), None);
        for offset in COPY_OFFSETS {
            self.disk.write_within(&self.meta, offset, &record.encode())?;
        }
        Ok(self.disk.sync()?)
    }

    fn partition(&self, slot: Slot) -> Result<Partition> {
        Disk::partition(&self.table, meta::role(slot)).with_context(|| format!("no slot {slot}"))
    }

    fn descriptor(&self, slot: Slot) -> Result<Descriptor> {
        let partition = self.partition(slot)?;
        let mut block = [0; DESCRIPTOR_BYTES];
        let at = Descriptor::offset_in(partition.bytes).context("no room for a descriptor")?;
        self.disk.read_within(&partition, at, &mut block)?;
        Ok(Descriptor::parse(&block, partition.bytes)?)
    }

    fn describe(&self, slot: Slot, descriptor: &Descriptor) -> Result<()> {
        let partition = self.partition(slot)?;
        let at = Descriptor::offset_in(partition.bytes).context("no room for a descriptor")?;
        self.disk.write_within(&partition, at, &descriptor.encode())?;
        Ok(self.disk.sync()?)
    }
}
