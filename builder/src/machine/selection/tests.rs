use super::*;
use crate::{
    digest::Digest,
    image::{
        disk, esp,
        slot::{Payload, Size},
        uki::{self, tests::stub},
        verity,
    },
};
use coracle_format::slot::Arch;
use coracle_slots::{COPY_OFFSETS, Record};

/// A console that nobody waits at.
#[derive(Default)]
struct Heard {
    lines: Vec<String>,
    paused: Duration,
}

impl Surroundings for Heard {
    fn say(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    fn pause(&mut self, duration: Duration) {
        self.paused += duration;
    }

    fn stopping(&self) -> bool {
        false
    }
}

/// A disk as it is shipped, with `boot` in slot A.
fn disk_with(dir: &Path, boot: &[u8]) -> PathBuf {
    let root = dir.join("root");
    File::create(&root).unwrap().set_len(1 << 20).unwrap();
    let seed = Digest::of(boot);
    let verity = verity::build(&root, &seed).unwrap();
    let record = Record::shipped(seed.0, 0).encode();
    let mut meta = vec![0; usize::try_from(COPY_OFFSETS[1]).unwrap()];
    meta[..record.len()].copy_from_slice(&record);
    meta.extend_from_slice(&record);
    let (name, version, arch) = ("hello", "1.0", Arch::X86_64);
    let contents = disk::Contents {
        seed: &seed,
        esp: &esp::build(arch, b"MZ selector", &seed).unwrap(),
        meta: &meta,
        payload: Payload { arch, name, version, root: &root, verity: &verity, boot },
        slot_size: Size::Fixed(8 << 20),
    };
    let out = dir.join("disk.raw");
    disk::write(&contents, &out).unwrap();
    out
}

fn selection(dir: &Path) -> Selection {
    Selection { dir: dir.to_owned(), more: "quiet".to_owned() }
}

#[test]
fn a_healthy_disk_gives_its_kernel_and_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = stub(0x8664, 1);
    let parts = uki::Parts {
        linux: &kernel,
        initrd: b"initramfs",
        command_line: "console=ttyS0",
        os_release: "ID=coracle\n",
        uname: "6.12",
    };
    let disk = disk_with(dir.path(), &uki::build(&stub(0x8664, 8), &parts).unwrap());
    let before = std::fs::read(&disk).unwrap();
    let mut heard = Heard::default();
    let chosen = choose(&selection(dir.path()), (&disk, None), &mut heard).unwrap().unwrap();
    assert_eq!(heard.lines, ["coracle: slot A (last good)"]);
    assert_eq!(chosen.cmdline, "console=ttyS0 quiet");
    assert_eq!(std::fs::read(chosen.kernel).unwrap(), kernel);
    assert_eq!(std::fs::read(chosen.initrd).unwrap(), b"initramfs");
    assert!(std::fs::read(&disk).unwrap() == before);
}

#[test]
fn a_disk_without_anything_to_start_says_why_and_backs_off() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk_with(dir.path(), b"garbage with the right digest");
    let mut heard = Heard::default();
    assert_eq!(choose(&selection(dir.path()), (&disk, None), &mut heard).unwrap(), None);
    let text = heard.lines.join("\n");
    assert!(text.contains("slot A cannot be started: cannot read the boot artefact"), "{text}");
    assert!(text.contains("no slot can be started"), "{text}");
    assert!(heard.paused >= Duration::from_secs(10), "{:?}", heard.paused);
}
