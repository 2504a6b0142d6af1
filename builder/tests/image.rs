//! The byte formats of an image against the tools that know them, and against themselves: built twice, compared.

#![expect(clippy::tests_outside_test_module, reason = "the whole crate is a test")]
use coracle::{
    cache::Cache,
    context::Context,
    debian::{Archive, ArchiveOptions, Mirrors, Request, Wish, fetch_all, unpack},
    digest::Digest,
    error::{Doing, Error, Kind, Result},
    image::{cpio, disk, esp, ext4, inspect::Disk, slot, uki, verity},
    report::Report,
    tool::Tool,
    toolroot::{Group, HostArch, ToolRoot},
    tree::{Content, Meta, Node, NodeKind, Tree, TreePath},
};
use coracle_format::{
    layout::{ESP_BYTES, Role},
    slot::Arch,
};
use nix::sys::stat::{Mode, umask};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    sync::OnceLock,
};

const EPOCH: u64 = 1_700_000_000;
const STUBS: [(&str, &str); 2] = [
    ("amd64", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
    ("arm64", "usr/lib/systemd/boot/efi/linuxaa64.efi.stub"),
];

/// Tools and boot stubs from locked packages, in the ordinary cache.
struct Workshop {
    ctx: Context,
    tools: ToolRoot,
    stub: Vec<u8>,
    arm_stub: Vec<u8>,
}

fn workshop() -> Result<&'static Workshop> {
    static ONE: OnceLock<std::result::Result<Workshop, String>> = OnceLock::new();
    ONE.get_or_init(|| open_workshop().map_err(|error| error.render())).as_ref().map_err(|why| {
        Error::new(Kind::NotFound, "cannot set up the tools of this test").because(why.as_str())
    })
}

fn open_workshop() -> Result<Workshop> {
    let ctx = Context::new(Cache::open(Cache::default_root()?)?, Report::silent());
    let mirrors = Mirrors::find(&Wish::default(), &Wish::default())?;
    let archive = Archive::open(&ctx, &ArchiveOptions::new(mirrors, "trixie"))?;
    let host = archive.index(&ctx, HostArch::current()?.debian())?;
    let packages = host.resolve(&Group::Build.request())?;
    fetch_all(&ctx, archive.mirrors(), &packages)?;
    let (tools, _) = ToolRoot::of_packages(&ctx, &packages, || Ok(()))?;
    let [stub, arm_stub] = STUBS.map(|(arch, path)| {
        let package = archive.index(&ctx, arch)?.resolve(&Request::only(["systemd-boot-efi"]))?;
        fetch_all(&ctx, archive.mirrors(), &package)?;
        content(&unpack(&ctx, &package[0])?, path)
    });
    let (stub, arm_stub) = (stub?, arm_stub?);
    Ok(Workshop { ctx, tools, stub, arm_stub })
}

fn content(tree: &Tree, path: &str) -> Result<Vec<u8>> {
    match tree.get(&TreePath::new(path)?).map(|node| &node.kind) {
        Some(NodeKind::File(content)) => content.read(),
        Some(NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. })
        | None => Err(Error::new(Kind::NotFound, format!("no file {path}"))),
    }
}

/// A little of everything a root file system has.
fn sample() -> Result<Tree> {
    let mut tree = Tree::new();
    for number in 0..400_u32 {
        let bytes: Vec<u8> = (0..number * 7).flat_map(|n| n.wrapping_mul(number).to_le_bytes()).collect();
        tree.file(&format!("usr/lib/modules/a-module-with-a-long-name-{number}.ko"), 0o644, bytes)?;
    }
    tree.symlink("lib", "usr/lib")?;
    tree.symlink("long", &"../very-far-away".repeat(10))?;
    tree.file(&format!("{}ü", "deep-directory/".repeat(12)), 0o600, "leaf")?;
    let mut meta = Meta::root(0o4755).owned(1000, 3_000_000);
    meta.xattrs.insert("security.capability".into(), [1, 0, 0, 2].repeat(5));
    tree.insert(TreePath::new("bin/ping")?, Node { meta, kind: NodeKind::File("ping".into()) })?;
    let link = NodeKind::HardLink(TreePath::new("bin/ping")?);
    tree.insert(TreePath::new("bin/alias")?, Node { meta: Meta::root(0o755), kind: link })?;
    let null = NodeKind::CharDevice { major: 1, minor: 3 };
    tree.insert(TreePath::new("dev/null")?, Node { meta: Meta::root(0o666), kind: null })?;
    Ok(tree)
}

/// What `debugfs` says about an image.
fn debugfs(shop: &Workshop, image: &Path, request: &str) -> Result<String> {
    Ok(Tool::new(&shop.tools, "debugfs").args(["-R", request]).arg(image).run(&shop.ctx)?.text())
}

/// Builds everything that a disk has into `dir`, and returns the disk's digest.
fn build(shop: &Workshop, dir: &Path) -> Result<Digest> {
    let (tree, out) = (sample()?, dir.join("disk.raw"));
    let seed = tree.identity();
    let root = dir.join("root.img");
    ext4::build(&shop.ctx, &shop.tools, &tree, EPOCH, &root)?;
    let verity = verity::build(&root, &seed)?;
    let mut early = Tree::new();
    early.file("init", 0o755, Content::from(vec![7; 50_000]))?;
    let mut initrd = Vec::new();
    cpio::write(&early, EPOCH, &mut initrd)?;
    let command_line = verity.argument();
    let boot = uki::build(
        &shop.stub,
        &uki::Parts {
            // The stub is a PE file for the right architecture: all that is asked of a kernel here.
            linux: &shop.stub,
            initrd: &initrd,
            command_line: &command_line,
            os_release: "ID=coracle\n",
            uname: "6.12.0",
        },
    )?;
    let payload = slot::Payload {
        arch: Arch::X86_64,
        name: "test",
        version: "1",
        root: &root,
        verity: &verity,
        boot: &boot,
    };
    let esp = esp::build(Arch::X86_64, &shop.stub, &seed)?;
    let contents =
        disk::Contents { seed: &seed, esp: &esp, meta: b"", payload, slot_size: slot::Size::Fixed(16 << 20) };
    disk::write(&contents, &out)?;
    let (digest, _) = Digest::of_reader(&mut File::open(&out).doing("open", &out)?).doing("read", &out)?;
    Ok(digest)
}

fn temporary() -> Result<tempfile::TempDir> {
    tempfile::tempdir().doing("create directory in", Path::new("the temporary directory"))
}

#[test]
fn two_builds_in_different_directories_under_different_umasks_are_identical() -> Result<()> {
    let shop = workshop()?;
    let (one, two) = (temporary()?, temporary()?);
    let before = umask(Mode::from_bits_truncate(0o022));
    let first = build(shop, one.path());
    umask(Mode::from_bits_truncate(0o077));
    let second = build(shop, two.path());
    umask(before);
    assert_eq!(first?, second?);
    Ok(())
}

#[test]
fn a_disk_read_back_gives_kernel_initramfs_and_the_root_hash_of_its_own_root() -> Result<()> {
    let shop = workshop()?;
    let dir = temporary()?;
    build(shop, dir.path())?;
    let disk = Disk::open(&dir.path().join("disk.raw"))?;
    let slot = disk.slot(Role::SlotA)?.ok_or_else(|| Error::new(Kind::NotFound, "slot A is empty"))?;
    let boot = slot.boot()?;
    let uki = uki::Uki::parse(&boot)?;
    assert_eq!(uki.linux()?, shop.stub);
    let root_hash = Digest(slot.descriptor.root_hash).to_string();
    assert!(uki.command_line()?.contains(&root_hash), "{}", uki.command_line()?);
    assert!(uki.section(".sbat").is_some_and(|sbat| sbat.starts_with(b"sbat,")));
    let esp = disk.read_partition(Role::Esp, usize::try_from(ESP_BYTES).unwrap_or(0))?;
    assert!(esp == esp::build(Arch::X86_64, &shop.stub, &sample()?.identity())?);
    Ok(())
}

#[test]
fn the_boot_stubs_of_both_architectures_take_the_sections() -> Result<()> {
    let shop = workshop()?;
    for (stub, arch) in [(&shop.stub, Arch::X86_64), (&shop.arm_stub, Arch::Aarch64)] {
        let parts = uki::Parts {
            linux: stub,
            initrd: b"initrd",
            command_line: "quiet",
            os_release: "ID=x\n",
            uname: "6",
        };
        let image = uki::build(stub, &parts)?;
        let uki = uki::Uki::parse(&image)?;
        assert_eq!((uki.arch, uki.initrd()?, uki.linux()?), (arch, &b"initrd"[..], &stub[..]));
    }
    Ok(())
}

#[test]
fn veritysetup_accepts_our_tree_and_notices_one_changed_byte() -> Result<()> {
    let shop = workshop()?;
    let dir = temporary()?;
    let (data, tree) = (dir.path().join("data"), dir.path().join("tree"));
    for blocks in [1_u64, 2, 129, 16_385] {
        let file = File::create(&data).doing("create", &data)?;
        file.set_len(blocks * 4096).doing("size", &data)?;
        file.write_all_at(b"not zero", blocks * 4096 - 8).doing("write", &data)?;
        let made = verity::build(&data, &Digest::of(&blocks.to_le_bytes()))?;
        assert_eq!(coracle_format::verity::tree_bytes(blocks), u64::try_from(made.tree.len()).unwrap_or(0));
        let out = File::create(&tree).doing("create", &tree)?;
        out.write_all_at(&made.tree, 0).doing("write", &tree)?;
        let verify = || {
            Tool::new(&shop.tools, "veritysetup")
                .arg("verify")
                .arg(&data)
                .arg(&tree)
                .arg(Digest(made.root_hash).to_string())
                .log_to(dir.path().join("verify.log"))
                .run(&shop.ctx)
        };
        verify()?;
        file.write_all_at(b"N", blocks * 4096 - 8).doing("write", &data)?;
        assert!(verify().is_err_and(|error| error.kind() == Kind::Tool), "{blocks} blocks");
    }
    Ok(())
}

#[test]
fn the_root_file_system_is_clean_and_holds_what_the_tree_has() -> Result<()> {
    let shop = workshop()?;
    let dir = temporary()?;
    let image = dir.path().join("root.img");
    let bytes = ext4::build(&shop.ctx, &shop.tools, &sample()?, EPOCH, &image)?;
    assert_eq!(fs::metadata(&image).doing("inspect", &image)?.len(), bytes);
    Tool::new(&shop.tools, "e2fsck").args(["-f", "-n"]).arg(&image).run(&shop.ctx)?;
    let ping = debugfs(shop, &image, "stat /bin/alias")?;
    for expected in ["Mode:  04755", "User:  1000", "Group: 3000000", "Links: 2", "mtime: 0x6553f100"] {
        assert!(ping.contains(expected), "{expected} is not in {ping}");
    }
    assert!(debugfs(shop, &image, "ea_get /bin/ping security.capability")?.contains("01 00 00 02"));
    assert!(debugfs(shop, &image, "stat /dev/null")?.contains("Device major/minor number: 01:03"));
    assert!(debugfs(shop, &image, "stat /long")?.contains("Size: 160"));
    let leaf = dir.path().join("leaf");
    debugfs(shop, &image, &format!("dump /{}ü {}", "deep-directory/".repeat(12), leaf.display()))?;
    assert_eq!(fs::read(&leaf).doing("read", &leaf)?, b"leaf");
    Ok(())
}

#[test]
fn the_root_file_system_is_as_small_as_its_contents() -> Result<()> {
    let shop = workshop()?;
    let dir = temporary()?;
    for megabytes in [0_u32, 1, 30, 150] {
        let image = dir.path().join(format!("{megabytes}.img"));
        let mut tree = Tree::new();
        for number in 0..megabytes {
            let bytes: Vec<u8> = (0..250_000).flat_map(|n: u32| (n ^ number << 20).to_le_bytes()).collect();
            tree.file(&format!("f{number}"), 0o644, bytes)?;
        }
        let bytes = ext4::build(&shop.ctx, &shop.tools, &tree, EPOCH, &image)?;
        Tool::new(&shop.tools, "e2fsck").args(["-f", "-n"]).arg(&image).run(&shop.ctx)?;
        let payload = u64::from(megabytes) * 1_000_000;
        assert!(bytes <= payload + payload / 100 + (256 << 10), "{bytes} bytes for {megabytes} MB");
    }
    Ok(())
}
