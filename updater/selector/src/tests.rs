use super::*;
use alloc::string::ToString;
use coracle_format::{
    gpt::{Geometry, Size, Table},
    guid::Guid,
    layout::Role,
    slot::{Arch, BLOCK_BYTES, Descriptor, Range, Text},
};
use coracle_slots::history::{self, Event, HISTORY_BYTES, HISTORY_OFFSET};
use coracle_slots::{COPY_BYTES, COPY_OFFSETS, SlotState, Verdict};

const SLOT: u64 = 1 << 20;

struct MemoryDisk {
    bytes: Vec<u8>,
    writes: usize,
    broken: bool,
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
        if self.broken {
            return Err(DiskError("write-protected"));
        }
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
    paused: Vec<u64>,
    /// Whether the machine's watchdog was started or stopped, and after how many starts of images.
    armed: Vec<(bool, usize)>,
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

    fn arm_kernel_watchdog(&mut self) {
        self.armed.push((true, self.started.len()));
    }

    fn disarm_kernel_watchdog(&mut self) {
        self.armed.push((false, self.started.len()));
    }

    fn say(&mut self, line: &str) {
        self.said.push(line.to_string());
    }

    fn pause(&mut self, duration: Duration) {
        self.paused.push(duration.as_secs());
    }
}

impl Machine {
    /// A disk with slot A holding `a` and slot B holding `b`, and this record in both copies.
    fn new(record: Option<Record>, a: Option<&[u8]>, b: Option<&[u8]>) -> Self {
        let mut disk = MemoryDisk { bytes: vec![0; 8 << 20], writes: 0, broken: false };
        let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
        for (index, role) in [Role::Meta, Role::SlotA, Role::SlotB].into_iter().enumerate() {
            table.add(role, Guid::from_random([index as u8 + 2; 16]), Size::Bytes(SLOT)).unwrap();
        }
        for write in table.encode().unwrap().primary {
            disk.write(write.lba * 512, &write.bytes).unwrap();
        }
        for (index, boot, version) in [(2, a, "1"), (3, b, "2")] {
            if let Some(boot) = boot {
                fill(&mut disk, index * SLOT, boot, version);
            }
        }
        if let Some(record) = record {
            for offset in COPY_OFFSETS {
                disk.write(SLOT + offset, &record.encode()).unwrap();
            }
        }
        disk.writes = 0;
        let (started, said, paused, armed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { disk, likes: &[], started, said, paused, armed }
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

fn fill(disk: &mut MemoryDisk, at: u64, boot: &[u8], version: &str) {
    let descriptor = Descriptor {
        arch: Arch::X86_64,
        name: Text::new("t").unwrap(),
        version: Text::new(version).unwrap(),
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
    Record::shipped([1; 32], 1, 0).written(Slot::B, [2; 32], 2, 0).unwrap().arm(Slot::B).unwrap()
}

#[test]
fn the_shipped_slot_is_started_without_a_write() {
    let mut machine =
        Machine::new(Some(Record::shipped([1; 32], 1, 0)), Some(b"one"), None).liking(&[b"one"]);
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
    assert_eq!(record.state(Slot::B), SlotState::Trial { starts: 1 });
    assert_eq!(record.booting(), Slot::B);
}

#[test]
fn a_trial_that_the_firmware_refuses_fails_and_the_good_slot_starts_at_once() {
    let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    machine.boot();
    assert_eq!(machine.started, [b"two".to_vec(), b"one".to_vec()]);
    let record = machine.record();
    assert_eq!(record.state(Slot::B), SlotState::Failed(Verdict::Refused));
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

/// Slot A good and last, slot B good too.
fn both_good() -> Record {
    let booted = trial().begin_boot(trial().choose(&[])).commit().unwrap().roll_back().unwrap();
    booted.begin_boot(booted.choose(&[])).release_hold()
}

#[test]
fn a_kernel_that_feeds_the_watchdog_is_started_with_it_running_and_only_that_one() {
    let feeds = command_line::tests::with_line(b"quiet coracle.watchdog=i6300esb");
    let feeds: &'static [u8] = feeds.leak();
    let likes: &'static [&'static [u8]] = alloc::vec![feeds].leak();
    let mut machine = Machine::new(Some(both_good()), Some(feeds), Some(b"two")).liking(likes);
    assert_eq!(machine.boot(), Selected::Slot(Slot::A));
    assert_eq!(machine.armed, [(true, 0)]);

    let mut machine = Machine::new(Some(both_good()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    machine.boot();
    assert_eq!(machine.armed, []);
}

#[test]
fn a_refused_kernel_leaves_no_watchdog_running_behind_it() {
    let feeds = command_line::tests::with_line(b"coracle.watchdog=i6300esb");
    let mut machine = Machine::new(Some(both_good()), Some(&feeds), Some(b"two")).liking(&[b"two"]);
    assert_eq!(machine.boot(), Selected::Slot(Slot::B));
    assert_eq!(machine.armed, [(true, 0), (false, 1)]);
}

type Ruin = fn(&mut [u8]);

/// What may have become of a boot artefact.
const RUINS: [(&str, Ruin); 3] = [
    ("truncated", |boot| boot[1..].fill(0)),
    ("garbage", |boot| boot.fill(0xa5)),
    ("zeroed", |boot| boot.fill(0)),
];

impl Machine {
    fn boot_artefact(&mut self, slot: Slot) -> &mut [u8] {
        let at = usize::try_from((2 + slot.index() as u64) * SLOT + 2 * BLOCK_BYTES).unwrap();
        &mut self.disk.bytes[at..at + 3]
    }

    fn events(&mut self) -> Vec<(Event, Slot, String)> {
        let mut ring = vec![0; HISTORY_BYTES];
        self.disk.read(SLOT + HISTORY_OFFSET, &mut ring).unwrap();
        history::entries(&ring).map(|entry| (entry.event, entry.slot, entry.detail.to_string())).collect()
    }
}

#[test]
fn a_ruined_boot_artefact_on_trial_fails_and_the_good_slot_starts() {
    for (name, ruin) in RUINS {
        let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
        ruin(machine.boot_artefact(Slot::B));
        assert_eq!(machine.boot(), Selected::Slot(Slot::A), "{name}");
        assert_eq!(machine.started, [b"one"]);
        let record = machine.record();
        assert_eq!(record.state(Slot::B), SlotState::Failed(Verdict::Refused));
        assert_eq!(record.blocked(&[2; 32]), Some(Verdict::Refused));
        let why = "boot artefact does not match its digest".to_string();
        assert_eq!(machine.events(), [(Event::Failed, Slot::B, why)]);
    }
}

#[test]
fn a_ruined_boot_artefact_in_the_committed_slot_gives_way_to_the_other_good_one_and_stays_good() {
    for (name, ruin) in RUINS {
        let mut machine = Machine::new(Some(both_good()), Some(b"one"), Some(b"two")).liking(&[b"two"]);
        ruin(machine.boot_artefact(Slot::A));
        for _ in 0..3 {
            assert_eq!(machine.boot(), Selected::Slot(Slot::B), "{name}");
        }
        let record = machine.record();
        assert_eq!((record.state(Slot::A), record.booting()), (SlotState::Good, Slot::B));
        // Told once, however often the machine boots.
        assert_eq!(machine.events().len(), 1);
        assert_eq!(machine.events()[0].0, Event::NotStarted);
    }
}

#[test]
fn an_image_the_firmware_refuses_is_told_with_its_reason() {
    let mut machine = Machine::new(Some(both_good()), Some(b"one"), Some(b"two")).liking(&[b"two"]);
    assert_eq!(machine.boot(), Selected::Slot(Slot::B));
    assert_eq!(
        machine.said,
        [
            "coracle: slot A (last good)",
            "coracle: slot A cannot be started: the firmware refuses it",
            "coracle: slot B (the other slot cannot be used)",
        ]
    );
    assert_eq!(machine.events(), [(Event::NotStarted, Slot::A, "the firmware refuses it".to_string())]);
}

#[test]
fn a_trial_whose_start_cannot_be_counted_is_not_started_and_not_failed() {
    let mut machine = Machine::new(Some(trial()), Some(b"one"), Some(b"two")).liking(&[b"one", b"two"]);
    machine.disk.broken = true;
    assert_eq!(machine.boot(), Selected::Slot(Slot::A));
    assert_eq!(machine.started, [b"one"]);
    assert_eq!(machine.record(), trial());
}

#[test]
fn both_slots_damaged_say_so_wait_longer_each_time_and_the_last_good_one_is_tried() {
    let record = both_good().damage(Slot::A).damage(Slot::B);
    let mut machine = Machine::new(Some(record), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    assert_eq!(machine.boot(), Selected::Slot(Slot::A));
    assert_eq!(
        machine.said,
        [
            "coracle: slot A (nothing is eligible)",
            "coracle: slot A is damaged",
            "coracle: slot B is damaged",
            "coracle: waiting 10 s",
        ]
    );
    for _ in 0..7 {
        machine.boot();
    }
    assert_eq!(machine.paused, [10, 20, 40, 80, 160, 320, 320, 320]);
}

#[test]
fn a_damaged_last_good_slot_that_cannot_be_started_gives_way_to_the_other_one() {
    let record = both_good().damage(Slot::A).damage(Slot::B);
    let mut machine = Machine::new(Some(record), Some(b"one"), Some(b"two")).liking(&[b"two"]);
    assert_eq!(machine.boot(), Selected::Slot(Slot::B));
    assert_eq!(machine.started, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn ten_boots_of_a_good_slot_write_nothing() {
    let record = both_good();
    let mut machine = Machine::new(Some(record), Some(b"one"), Some(b"two")).liking(&[b"one"]);
    for _ in 0..10 {
        assert_eq!(machine.boot(), Selected::Slot(Slot::A));
    }
    assert_eq!((machine.disk.writes, machine.paused.len()), (0, 0));
}

#[test]
fn without_a_record_the_newer_release_proves_itself_again_and_the_older_one_is_kept() {
    let mut machine = Machine::new(None, Some(b"one"), Some(b"two")).liking(&[b"one", b"two"]);
    assert_eq!(machine.boot(), Selected::Slot(Slot::B));
    let record = machine.record();
    assert_eq!(record.state(Slot::B), SlotState::Trial { starts: 1 });
    assert_eq!((record.state(Slot::A), record.last_good()), (SlotState::Good, Slot::A));
    assert_eq!(machine.said[0], "coracle: no slot record (copy 0: there is none; copy 1: there is none)");
}

#[test]
fn one_ruined_copy_of_the_record_changes_nothing() {
    for ruined in COPY_OFFSETS {
        let mut machine = Machine::new(Some(both_good()), Some(b"one"), Some(b"two")).liking(&[b"one"]);
        machine.disk.write(SLOT + ruined, &[0xff; COPY_BYTES]).unwrap();
        assert_eq!(machine.boot(), Selected::Slot(Slot::A));
        assert_eq!(machine.record(), both_good());
    }
}

#[test]
fn a_ruined_record_still_starts_the_slot_that_holds_something() {
    let mut machine = Machine::new(None, None, Some(b"two")).liking(&[b"two"]);
    machine.boot();
    assert_eq!(machine.started, [b"two"]);
    assert_eq!(machine.record().booting(), Slot::B);
}

#[test]
fn a_machine_without_anything_to_start_says_so_waits_longer_each_time_and_comes_back() {
    let mut machine = Machine::new(Some(Record::shipped([1; 32], 1, 0)), None, None);
    for _ in 0..3 {
        assert_eq!(machine.boot(), Selected::Nothing);
    }
    assert!(machine.started.is_empty());
    assert_eq!(machine.said[machine.said.len() - 2], "coracle: no slot can be started");
    assert_eq!(machine.paused, [10, 20, 40]);
}
