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
    let record = Record::shipped(seed.0, 0, 0).encode();
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
    Selection { dir: dir.to_owned(), more: "quiet".to_owned(), watchdog: Duration::ZERO }
}

/// A boot artefact with this command line.
fn artefact(command_line: &str) -> Vec<u8> {
    let parts = uki::Parts {
        linux: &stub(0x8664, 1),
        initrd: b"initramfs",
        command_line,
        os_release: "ID=coracle\n",
        uname: "6.12",
    };
    uki::build(&stub(0x8664, 8), &parts).unwrap()
}

#[test]
fn a_healthy_disk_gives_its_kernel_and_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let disk = disk_with(dir.path(), &artefact("console=ttyS0"));
    let before = std::fs::read(&disk).unwrap();
    let mut heard = Heard::default();
    let chosen = choose(&selection(dir.path()), (&disk, None), &mut heard).unwrap().unwrap();
    assert_eq!(heard.lines, ["coracle: slot A (last good)"]);
    assert!(!chosen.watched);
    let parts = chosen.parts;
    assert_eq!(parts.cmdline, "console=ttyS0 quiet");
    assert_eq!(std::fs::read(parts.kernel).unwrap(), stub(0x8664, 1));
    assert_eq!(std::fs::read(parts.initrd).unwrap(), b"initramfs");
    assert!(std::fs::read(&disk).unwrap() == before);
}

#[test]
fn what_the_builder_makes_is_watched_if_its_command_line_asks_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("console=ttyS0 {}", coracle_selector::WATCHDOG_WORD);
    let disk = disk_with(dir.path(), &artefact(&line));
    let chosen = choose(&selection(dir.path()), (&disk, None), &mut Heard::default()).unwrap().unwrap();
    assert!(chosen.watched);
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
