use super::*;
use crate::image::{
    esp,
    inspect::{Disk, Format},
    uki::Uki,
    verity,
};
use coracle_format::slot::Arch;
use std::{
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::PathBuf,
};

/// A root of 3 MiB that is mostly empty, and what belongs to it.
struct Sample {
    dir: tempfile::TempDir,
    root: PathBuf,
    verity: verity::Verity,
    esp: Vec<u8>,
    seed: Digest,
}

impl Sample {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let file = fs::File::create(&root).unwrap();
        file.set_len(3 << 20).unwrap();
        file.write_all_at(&[7; 9000], 1 << 20).unwrap();
        file.write_all_at(&[0x53, 0xef], 1080).unwrap();
        let seed = Digest::of(b"sample");
        let verity = verity::build(&root, &seed).unwrap();
        let esp = esp::build(Arch::X86_64, b"MZ selector", &seed).unwrap();
        Self { dir, root, verity, esp, seed }
    }

    fn contents(&self) -> Contents<'_> {
        Contents {
            seed: &self.seed,
            esp: &self.esp,
            meta: b"record",
            payload: Payload {
                arch: Arch::X86_64,
                name: "hello",
                version: "1.0",
                root: &self.root,
                verity: &self.verity,
                boot: b"boot artefact",
            },
            slot_size: Size::Fixed(8 << 20),
        }
    }

    fn write(&self, name: &str) -> (PathBuf, Written) {
        let out = self.dir.path().join(name);
        let written = write(&self.contents(), &out).unwrap();
        (out, written)
    }
}

#[test]
fn what_was_written_is_found_again() {
    let sample = Sample::new();
    let (path, written) = sample.write("disk.raw");
    let disk = Disk::open(&path).unwrap();
    assert_eq!(disk.bytes(), (1 + 48 + 1 + 8 + 1) << 20);
    assert_eq!(disk.bytes(), written.bytes);
    assert_eq!(disk.table, written.table);
    let shown: Vec<_> = disk
        .table
        .partitions
        .iter()
        .map(|one| (one.number, one.label(), disk.format(one).unwrap()))
        .collect();
    assert_eq!(
        shown,
        [
            (1, "esp".to_owned(), Format::Fat),
            (2, "meta".to_owned(), Format::Other),
            (3, "slot-a".to_owned(), Format::Ext4)
        ]
    );
    assert_eq!(disk.read_partition(Role::Meta, 6).unwrap(), b"record");
    let slot = disk.slot(Role::SlotA).unwrap().unwrap();
    assert_eq!(slot.descriptor, written.descriptor);
    assert_eq!(slot.boot().unwrap(), b"boot artefact");
    let root = Digest::of(&fs::read(&sample.root).unwrap());
    assert_eq!(slot.root_digest().unwrap(), root);
    assert!(disk.slot(Role::SlotB).unwrap().is_none());
    Uki::parse(&slot.boot().unwrap()).unwrap_err();
}

#[test]
fn zeros_take_no_room_on_the_disk() {
    let sample = Sample::new();
    let (path, _) = sample.write("disk.raw");
    let used = fs::metadata(path).unwrap().blocks() * 512;
    assert!(used < 2 << 20, "{used}");
}

#[test]
fn the_same_contents_give_the_same_disk_in_any_directory() {
    let first = Sample::new();
    let second = Sample::new();
    let (one, _) = first.write("disk.raw");
    let (two, _) = second.write("another name");
    assert!(fs::read(one).unwrap() == fs::read(two).unwrap());
}

#[test]
fn another_seed_gives_other_identifiers() {
    let sample = Sample::new();
    let (_, one) = sample.write("1");
    let mut contents = sample.contents();
    let seed = Digest::of(b"other");
    contents.seed = &seed;
    let two = write(&contents, &sample.dir.path().join("2")).unwrap();
    assert_ne!(one.table.disk_id, two.table.disk_id);
    for (a, b) in one.table.partitions.iter().zip(&two.table.partitions) {
        assert_ne!(a.id, b.id);
        assert_eq!(a.kind, b.kind);
    }
}

#[test]
fn a_failed_build_leaves_the_old_image_and_nothing_else() {
    let sample = Sample::new();
    let (path, _) = sample.write("disk.raw");
    let before = fs::read(&path).unwrap();
    let missing = sample.dir.path().join("missing");
    let mut contents = sample.contents();
    contents.payload.root = &missing;
    write(&contents, &path).unwrap_err();
    contents = sample.contents();
    contents.slot_size = Size::Fixed(1 << 20);
    assert_eq!(write(&contents, &path).unwrap_err().kind(), Kind::TooLarge);
    assert!(fs::read(&path).unwrap() == before);
    let names = fs::read_dir(sample.dir.path()).unwrap().count();
    assert_eq!(names, 2, "root and disk.raw");
}

#[test]
fn damage_is_named_when_the_disk_is_read() {
    let sample = Sample::new();
    let (path, written) = sample.write("disk.raw");
    let file = fs::File::options().write(true).open(&path).unwrap();
    let slot = 50 << 20;
    file.write_all_at(b"B", slot + written.descriptor.boot.offset).unwrap();
    let error = |path| {
        let disk = Disk::open(path).unwrap();
        let slot = disk.slot(Role::SlotA);
        slot.and_then(|slot| slot.unwrap().boot()).unwrap_err()
    };
    assert_eq!(error(&path).kind(), Kind::Digest);
    file.write_all_at(b"X", slot + (8 << 20) - 100).unwrap();
    assert_eq!(error(&path).kind(), Kind::Hostile);
    file.write_all_at(&[0; 512], 512).unwrap();
    let disk = Disk::open(&path).unwrap();
    assert_eq!(disk.place, gpt::Place::Backup);
    file.set_len(4096).unwrap();
    assert_eq!(Disk::open(&path).unwrap_err().kind(), Kind::Hostile);
}
