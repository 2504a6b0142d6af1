use super::*;
use alloc::string::ToString;
use coracle_format::{
    gpt::{Geometry, Size, Table},
    guid::Guid,
    layout::Role,
    slot::{Arch, Range, Text},
};

const SLOT: u64 = 1 << 20;

struct MemoryDisk {
    bytes: Vec<u8>,
    writes: usize,
}

impl Disk for MemoryDisk {
    fn geometry(&self) -> Geometry {
        Geometry::of_bytes(512, self.bytes.len() as u64)
    }

    fn read(&mut self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(self.bytes.get(at..at + out.len()).ok_or(DiskError("beyond the end"))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let at = usize::try_from(offset).unwrap();
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.writes += 1;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A firmware that starts only the images it likes, and notes everything.
struct Machine {
    disk: MemoryDisk,
    likes: &'static [&'static [u8]],
    started: Vec<Vec<u8>>,
    said: Vec<String>,
}

impl Firmware for Machine {
    fn disk(&mut self) -> &mut dyn Disk {
        &mut self.disk
    }

    fn start(&mut self, image: &[u8]) -> Start {
        self.started.push(image.to_vec());
        if self.likes.contains(&image) {
            return Start::Started;
        }
        Start::Refused("the firmware refuses it".to_string())
    }

    fn arm_watchdog(&mut self, _: Duration) {}

    fn say(&mut self, line: &str) {
        self.said.push(line.to_string());
    }

    fn pause(&mut self, _: Duration) {}
}

impl Machine {
    /// A disk with slot A holding `a` and slot B holding `b`, and this record in both copies.
    fn new(record: Option<Record>, a: Option<&[u8]>, b: Option<&[u8]>) -> Self {
        let mut disk = MemoryDisk { bytes: vec![0; 8 << 20], writes: 0 };
        let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
        for (index, role) in [Role::Meta, Role::SlotA, Role::SlotB].into_iter().enumerate() {
            table.add(role, Guid::from_random([index as u8 + 2; 16]), Size::Bytes(SLOT)).unwrap();
        }
        for write in table.encode().unwrap().primary {
            disk.write(write.lba * 512, &write.bytes).unwrap();
        }
        for (index, boot) in [(2, a), (3, b)] {
            if let Some(boot) = boot {
                fill(&mut disk, index * SLOT, boot);
            }
        }
        if let Some(record) = record {
            for offset in COPY_OFFSETS {
                disk.write(SLOT + offset, &record.encode()).unwrap();
            }
        }
        disk.writes = 0;
        Self { disk, likes: &[], started: Vec::new(), said: Vec::new() }
    }

    fn liking(mut self, likes: &'static [&'static [u8]]) -> Self {
        self.likes = likes;
        self
    }

    fn boot(&mut self) -> Selected {
        select(self)
    }

    fn record(&mut self) -> Record {
        let mut copies = [[0; COPY_BYTES]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            self.disk.read(SLOT + offset, copy).unwrap();
        }
        coracle_slots::parse_copies(&copies[0], &copies[1]).unwrap().record
    }
}

fn fill(disk: &mut MemoryDisk, at: u64, boot: &[u8]) {
    let descriptor = Descriptor {
        arch: Arch::X86_64,
        name: Text::new("t").unwrap(),
        version: Text::new("1").unwrap(),
        root: Range { offset: 0, bytes: 4096 },
        tree: Range { offset: 4096, bytes: 4096 },
        root_hash: [0; 32],
        salt: [0; 32],
        boot: Range { offset: 8192, bytes: boot.len() as u64 },
        boot_digest: Sha256::digest(boot).into(),
    };
    disk.write(at + 8192, boot).unwrap();
    disk.write(at + Descriptor::offset_in(SLOT).unwrap(), &descriptor.encode()).unwrap();
}

fn trial() -> Record {
    Record::shipped([1; 32], 1).written(Slot::B, [2; 32], 2).unwrap().arm(Slot::B).unwrap()
}

#[test]
fn the_shipped_slot_is_started_without_a_write() {
    let mut machine = Machine::new(Some(Record::shipped([1; 32], 1)), Some(b"one"), None).liking(&[b"one"]);
    machine.boot();
    assert_eq!(machine.started, [b"one"]);
    assert_eq!(machine.disk.writes, 0);
    assert_eq!(machine.said, ["coracle: slot A (last good)"]);
}

#[test]
fn a_trial_is_counted_on_disk_before_it_starts() {
    let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"two"]);
    machine.boot();
    assert_eq!(machine.started, [b"two"]);
    let record = machine.record();
    assert_eq!(record.state(Slot::B), coracle_slots::SlotState::Trial { starts: 1 });
    assert_eq!(record.booting(), Slot::B);
}

#[test]
fn a_trial_that_the_firmware_refuses_fails_and_the_good_slot_starts_at_once() {
    let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    machine.boot();
    assert_eq!(machine.started, [b"two".to_vec(), b"one".to_vec()]);
    let record = machine.record();
    assert_eq!(record.state(Slot::B), coracle_slots::SlotState::Failed(coracle_slots::Verdict::Refused));
    assert_eq!(record.booting(), Slot::A);
}

#[test]
fn a_torn_boot_artefact_is_never_handed_over() {
    let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    let at = usize::try_from(3 * SLOT).unwrap() + 8192;
    machine.disk.bytes[at] ^= 1;
    machine.boot();
    assert_eq!(machine.started, [b"one"]);
}

#[test]
fn a_ruined_record_still_starts_the_slot_that_holds_something() {
    let mut machine = Machine::new(None, None, Some(b"two")).liking(&[b"two"]);
    machine.boot();
    assert_eq!(machine.started, [b"two"]);
    assert_eq!(machine.record().booting(), Slot::B);
}

#[test]
fn a_machine_without_anything_to_start_says_so_and_comes_back() {
    let mut machine = Machine::new(Some(Record::shipped([1; 32], 1)), None, None);
    machine.boot();
    assert!(machine.started.is_empty());
    assert_eq!(machine.said.last().unwrap(), "coracle: waiting 10 s");
}
