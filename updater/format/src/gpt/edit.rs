//! Finding, adding and growing partitions.

use super::{ENTRIES, Geometry, NotATable, Partition, Table, u64_of};
use crate::{
    guid::Guid,
    layout::{ALIGNMENT, Role},
};
use core::fmt;

/// How large a partition to add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Exactly this many bytes, rounded up to [`ALIGNMENT`], in the first gap that holds them.
    Bytes(u64),
    /// The largest gap, which must have at least this many bytes.
    Rest {
        /// The least that is acceptable.
        at_least: u64,
    },
}

/// Why a partition cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// There is one of this role already.
    Exists(Role),
    /// All entries are used.
    Entries,
    /// No gap is large enough.
    Space {
        /// What was asked for.
        role: Role,
        /// Bytes asked for.
        wanted: u64,
        /// Bytes of the largest gap, alignment considered.
        largest: u64,
    },
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(role) => write!(f, "the disk has a {} partition already", role.label()),
            Self::Entries => write!(f, "all {ENTRIES} partition entries are used"),
            Self::Space { role, wanted, largest } => {
                write!(f, "no room for the {} partition: {wanted} bytes needed, {largest} free", role.label())
            }
        }
    }
}

impl core::error::Error for NoRoom {}

/// An aligned run of free blocks: first block and how many.
#[derive(Clone, Copy)]
struct Gap {
    first: u64,
    blocks: u64,
}

impl Table {
    /// The partition of a role.
    pub fn find(&self, role: Role) -> Option<&Partition> {
        self.partitions.iter().find(|partition| partition.role() == Some(role))
    }

    /// Where a partition is on the disk: byte offset and length. The table comes from `parse`, or was encoded.
    pub fn byte_range(&self, partition: &Partition) -> (u64, u64) {
        let block = u64_of(self.block_bytes);
        (partition.first.saturating_mul(block), partition.blocks().saturating_mul(block))
    }

    /// Adds a partition for a role and returns it. It gets the role's own number (its place in [`Role::ALL`]), or the
    /// lowest free one, and the role's label.
    pub fn add(&mut self, role: Role, id: Guid, size: Size) -> Result<Partition, NoRoom> {
        if self.find(role).is_some() {
            return Err(NoRoom::Exists(role));
        }
        let number = self.number_for(role).ok_or(NoRoom::Entries)?;
        let gap = self.gap_for(role, size)?;
        let partition = Partition {
            number,
            kind: role.type_guid(),
            id,
            first: gap.first,
            last: gap.first + gap.blocks - 1,
            attributes: 0,
            name: encode_label(role.label()),
        };
        let at = self.partitions.partition_point(|one| one.number < number);
        self.partitions.insert(at, partition);
        Ok(partition)
    }

    /// Lets the partition of a role grow over the free blocks behind it, up to a multiple of [`ALIGNMENT`]. Returns how
    /// many bytes it gained: 0 if there is nothing to gain, or no such partition.
    pub fn grow(&mut self, role: Role) -> u64 {
        let geometry = self.geometry();
        let Some(last) = self.find(role).map(|partition| partition.last) else {
            return 0;
        };
        let next = self.partitions.iter().map(|one| one.first);
        let limit = next.filter(|first| *first > last).min().unwrap_or_else(|| geometry.last_usable() + 1);
        let end = limit / alignment(geometry) * alignment(geometry);
        let gained = end.saturating_sub(last + 1);
        for partition in &mut self.partitions {
            if partition.role() == Some(role) {
                partition.last += gained;
            }
        }
        gained.saturating_mul(u64_of(self.block_bytes))
    }

    /// Lays the table out anew for a disk of `disk_blocks` blocks, which moves the backup copy to its end. Returns
    /// whether anything changed. Fails, and changes nothing, if a partition would lie outside.
    pub fn fit(&mut self, disk_blocks: u64) -> Result<bool, NotATable> {
        let before = core::mem::replace(&mut self.disk_blocks, disk_blocks);
        match self.check() {
            Ok(()) => Ok(before != disk_blocks),
            Err(error) => {
                self.disk_blocks = before;
                Err(error)
            }
        }
    }

    fn number_for(&self, role: Role) -> Option<u32> {
        let own = (1..).zip(Role::ALL).find(|(_, one)| *one == role);
        let free = |number: &u32| self.partitions.iter().all(|one| one.number != *number);
        own.map(|(number, _)| number).into_iter().chain(1..=ENTRIES).find(free)
    }

    fn gap_for(&self, role: Role, size: Size) -> Result<Gap, NoRoom> {
        let geometry = self.geometry();
        let block = u64_of(self.block_bytes);
        let wanted = match size {
            Size::Bytes(bytes) | Size::Rest { at_least: bytes } => bytes.max(1),
        };
        let step = alignment(geometry);
        let blocks = wanted.div_ceil(ALIGNMENT).saturating_mul(step);
        let largest = self.gaps().max_by_key(|gap| gap.blocks);
        let found = match size {
            Size::Bytes(_) => self.gaps().find(|gap| gap.blocks >= blocks),
            Size::Rest { .. } => largest.filter(|gap| gap.blocks >= blocks),
        };
        let refused = NoRoom::Space {
            role,
            wanted,
            largest: largest.map_or(0, |gap| gap.blocks.saturating_mul(block)),
        };
        found.ok_or(refused).map(|gap| match size {
            Size::Bytes(_) => Gap { blocks, ..gap },
            Size::Rest { .. } => gap,
        })
    }

    /// The aligned gaps between partitions in the order of the disk. `check` has seen the partitions when they came in.
    fn gaps(&self) -> impl Iterator<Item = Gap> {
        let geometry = self.geometry();
        let step = alignment(geometry);
        let mut sorted = self.by_position();
        sorted.dedup_by_key(|partition| partition.first);
        let ends = sorted.iter().map(|partition| partition.last + 1);
        let starts = sorted.iter().map(|partition| partition.first);
        let begin = core::iter::once(geometry.first_usable());
        let final_limit = core::iter::once(geometry.last_usable() + 1);
        let pairs: alloc::vec::Vec<_> = begin.chain(ends).zip(starts.chain(final_limit)).collect();
        pairs.into_iter().filter_map(move |(free, next)| {
            let first = free.div_ceil(step).saturating_mul(step);
            let blocks = (next / step * step).checked_sub(first)?;
            (blocks > 0).then_some(Gap { first, blocks })
        })
    }
}

/// Blocks of [`ALIGNMENT`].
fn alignment(geometry: Geometry) -> u64 {
    ALIGNMENT / u64_of(geometry.block_bytes)
}

fn encode_label(label: &str) -> [u16; 36] {
    let mut out = [0; 36];
    for (unit, value) in out.iter_mut().zip(label.encode_utf16().take(35)) {
        *unit = value;
    }
    out
}
