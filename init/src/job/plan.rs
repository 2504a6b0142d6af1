//! How the disk is laid out on the first boot, and how it follows a disk that has grown. Pure.

use super::signature::NEVER_USED;
use crate::fault::Fault;
use coracle_block::disk::{Copies, FoundTable};
use coracle_format::gpt::{NoRoom, Size, Table};
use coracle_format::guid::Guid;
use coracle_format::layout::{Role, STATE_BYTES_MIN};

/// The table the disk should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The table.
    pub(super) table: Table,
    /// Whether it must be written: it differs from what is on the disk, or the copies there differ.
    pub(super) write: bool,
}

/// Plans the table of a disk that has `blocks` blocks now. On the first boot slot B and `state` are added and every id
/// is drawn anew, so that no two machines share one; later `state` takes what the disk has gained.
pub(super) fn make(
    found: &FoundTable,
    blocks: u64,
    mut draw: impl FnMut() -> Result<Guid, Fault>,
) -> Result<Plan, Fault> {
    let mut table = found.table.clone();
    table.fit(blocks).map_err(|error| Fault::new("fit the partitions to", "the disk", error.to_string()))?;
    if table.find(Role::SlotB).is_some() && table.find(Role::State).is_some() {
        table.grow(Role::State);
    } else {
        table.disk_id = draw()?;
        for partition in &mut table.partitions {
            partition.id = draw()?;
        }
        add_slot_b(&mut table, draw()?)?;
        add_state(&mut table, draw()?)?;
    }
    let write = table != found.table || found.copies == Copies::Differ;
    Ok(Plan { table, write })
}

fn add_slot_b(table: &mut Table, id: Guid) -> Result<(), Fault> {
    if table.find(Role::SlotB).is_some() {
        return Ok(());
    }
    let Some(slot_a) = table.find(Role::SlotA) else {
        return Err(Fault::new("add", Role::SlotB.label(), "the disk has no slot A to take the size from"));
    };
    let (_, bytes) = table.byte_range(slot_a);
    add(table, Role::SlotB, id, Size::Bytes(bytes))
}

fn add_state(table: &mut Table, id: Guid) -> Result<(), Fault> {
    if table.find(Role::State).is_some() {
        return Ok(());
    }
    add(table, Role::State, id, Size::Rest { at_least: STATE_BYTES_MIN })?;
    for partition in &mut table.partitions {
        if partition.role() == Some(Role::State) {
            partition.attributes |= NEVER_USED;
        }
    }
    Ok(())
}

fn add(table: &mut Table, role: Role, id: Guid, size: Size) -> Result<(), Fault> {
    match table.add(role, id, size) {
        Ok(_) => Ok(()),
        Err(refused) => Err(Fault::new("add partition", role.label(), explain(table, refused))),
    }
}

/// The arithmetic behind a refusal.
fn explain(table: &Table, refused: NoRoom) -> String {
    let disk = table.disk_blocks.saturating_mul(u64::from(table.block_bytes));
    let missing = match refused {
        NoRoom::Space { wanted, largest, .. } => wanted.saturating_sub(largest),
        NoRoom::Exists(_) | NoRoom::Entries => 0,
    };
    format!("{refused}: the disk has {disk} bytes, {missing} more are needed")
}

/// The table with the mark of an unused `state` partition taken away.
pub(super) fn in_use(table: &Table) -> Table {
    let mut table = table.clone();
    for partition in &mut table.partitions {
        if partition.role() == Some(Role::State) {
            partition.attributes &= !NEVER_USED;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle_format::gpt::Geometry;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn geometry(bytes: u64) -> Geometry {
        Geometry::of_bytes(512, bytes)
    }

    /// A disk as it is shipped: ESP, meta, slot A.
    fn shipped(bytes: u64) -> FoundTable {
        let mut table = Table::new(Guid::from_random([9; 16]), geometry(bytes)).unwrap();
        for (role, size) in [(Role::Esp, 48 * MIB), (Role::Meta, MIB), (Role::SlotA, 256 * MIB)] {
            table.add(role, Guid::from_random([8; 16]), Size::Bytes(size)).unwrap();
        }
        FoundTable { table, copies: Copies::Agree }
    }

    fn drawer() -> impl FnMut() -> Result<Guid, Fault> {
        let mut next = 0_u8;
        move || {
            next += 1;
            Ok(Guid::from_random([next; 16]))
        }
    }

    fn bytes_of(table: &Table, role: Role) -> u64 {
        table.byte_range(table.find(role).unwrap()).1
    }

    #[test]
    fn the_first_boot_adds_slot_b_and_a_state_that_may_be_formatted() {
        let found = shipped(307 * MIB);
        let plan = make(&found, 2048 * MIB / 512, drawer()).unwrap();
        assert!(plan.write);
        assert_eq!(bytes_of(&plan.table, Role::SlotB), 256 * MIB);
        let state = plan.table.find(Role::State).unwrap();
        assert_eq!((state.number, state.attributes), (5, NEVER_USED));
        assert_eq!(bytes_of(&plan.table, Role::State), (2048 - 1 - 48 - 1 - 512 - 1) * MIB);
    }

    #[test]
    fn the_first_boot_leaves_no_id_as_it_was_shipped() {
        let found = shipped(307 * MIB);
        let table = make(&found, 2048 * MIB / 512, drawer()).unwrap().table;
        let mut ids: Vec<_> = table.partitions.iter().map(|one| one.id).chain([table.disk_id]).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 6, "all differ");
        assert!(!ids.contains(&Guid::from_random([8; 16])) && !ids.contains(&Guid::from_random([9; 16])));
    }

    #[test]
    fn a_settled_disk_is_not_written() {
        let first = make(&shipped(307 * MIB), 2048 * MIB / 512, drawer()).unwrap();
        let found = FoundTable { table: first.table.clone(), copies: Copies::Agree };
        let again = make(&found, 2048 * MIB / 512, || panic!("no id is drawn")).unwrap();
        assert_eq!(again, Plan { table: first.table, write: false });
    }

    #[test]
    fn differing_copies_are_written_again() {
        let table = make(&shipped(307 * MIB), 2048 * MIB / 512, drawer()).unwrap().table;
        let found = FoundTable { table, copies: Copies::Differ };
        assert!(make(&found, 2048 * MIB / 512, drawer()).unwrap().write);
    }

    #[test]
    fn a_disk_without_room_is_refused_with_the_arithmetic() {
        let fault = make(&shipped(307 * MIB), 600 * MIB / 512, drawer()).unwrap_err();
        assert_eq!(
            fault.line(),
            "cannot add partition state: no room for the state partition: 67108864 bytes needed, 38797312 free: \
             the disk has 629145600 bytes, 28311552 more are needed"
        );
    }

    #[test]
    fn the_mark_goes_and_nothing_else_does() {
        let plan = make(&shipped(307 * MIB), 2048 * MIB / 512, drawer()).unwrap();
        let used = in_use(&plan.table);
        assert_eq!(used.find(Role::State).unwrap().attributes, 0);
        assert_eq!(used.partitions.len(), plan.table.partitions.len());
    }

    proptest! {
        #[test]
        fn growth_moves_nothing_and_only_state_gains(first in 700_u64..4000, more in 0_u64..4000) {
            let before = make(&shipped(307 * MIB), first * MIB / 512, drawer()).unwrap().table;
            let found = FoundTable { table: before.clone(), copies: Copies::Agree };
            let after = make(&found, (first + more) * MIB / 512, drawer()).unwrap().table;
            for role in Role::ALL {
                let (old, new) = (before.find(role).unwrap(), after.find(role).unwrap());
                prop_assert_eq!((old.first, old.id, old.number), (new.first, new.id, new.number));
                let gained = if role == Role::State { more * MIB } else { 0 };
                prop_assert_eq!(bytes_of(&after, role), bytes_of(&before, role) + gained);
            }
        }
    }
}
