use super::*;
use crate::{cache::Cache, report::Report};
use coracle_format::device::Load;
use std::cell::Cell;

/// A minimal ELF object with one `.modinfo` section.
fn elf(modinfo: &[&str]) -> Vec<u8> {
    let info: Vec<u8> = modinfo.iter().flat_map(|field| field.bytes().chain([0])).collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let word = |at: usize| u64::try_from(at).unwrap().to_le_bytes();
    let sections = 64 + info.len() + names.len();
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x01\0\x3e\0\x01\0\0\0".to_vec();
    out.extend([word(0), word(0), word(sections)].concat());
    out.extend([0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 64, 0, 3, 0, 2, 0]);
    out.extend(&info);
    out.extend(names);
    let section = |name: u32, kind: u32, at: usize, bytes: usize| {
        let head = [name.to_le_bytes(), kind.to_le_bytes()].concat();
        let body = [word(0), word(0), word(at), word(bytes), word(0), word(1), word(0)].concat();
        [head, body].concat()
    };
    out.extend([0; 64]);
    out.extend(section(1, 1, 64, info.len()));
    out.extend(section(10, 3, 64 + info.len(), names.len()));
    out
}

fn bzimage(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x300];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
    image.extend(release.bytes().chain([0]));
    image
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    liblzma::copy_encode(bytes, &mut out, 1).unwrap();
    out
}

fn package() -> Tree {
    let mut tree = Tree::new();
    let dir = "usr/lib/modules/6.1-x";
    tree.file("boot/vmlinuz-6.1-x", 0o644, bzimage("6.1-x (builder)")).unwrap();
    let modules = [
        ("md/dm-mod.ko.xz", xz(&elf(&["name=dm_mod", "depends="]))),
        ("md/dm-verity.ko.xz", xz(&elf(&["name=dm_verity", "depends=dm-mod"]))),
        ("block/virtio_blk.ko", elf(&["name=virtio_blk", "alias=virtio:d2v*", "depends=virtio"])),
        ("net/wg.ko.xz", xz(&elf(&["name=wg", "depends="]))),
    ];
    for (path, bytes) in modules {
        tree.file(&format!("{dir}/kernel/{path}"), 0o644, bytes).unwrap();
    }
    tree.file(&format!("{dir}/modules.builtin"), 0o644, "kernel/virtio/virtio.ko\nkernel/ext4.ko\n").unwrap();
    tree
}

fn context() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path()).unwrap();
    (dir, Context::new(cache, Report::silent()))
}

fn virtio() -> Request {
    Request {
        hardware: vec!["virtio".into()],
        modules: vec!["wg".into()],
        needed: Vec::new(),
        services: Vec::new(),
    }
}

#[test]
fn a_package_becomes_an_image_and_two_lists_with_their_files() {
    let (_dir, ctx) = context();
    let kernel = Kernel::from_package(&ctx, &Digest::of(b"deb"), || Ok(package())).unwrap();
    assert_eq!(kernel.release(), "6.1-x");
    assert_eq!(kernel.image().read().unwrap(), bzimage("6.1-x (builder)"));
    let set = kernel.modules(&ctx, &virtio()).unwrap();
    let names = |modules: &[Module]| modules.iter().map(|module| module.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&set.early), ["dm_mod", "dm_verity", "virtio_blk"]);
    assert_eq!(set.early[2].load, Load::Alias(vec!["virtio:d2v*".into()]));
    assert_eq!(names(&set.late), ["wg"]);
    let path = crate::tree::TreePath::new("/usr/lib/modules/dm_verity.ko").unwrap();
    let crate::tree::NodeKind::File(content) = &set.early_files.get(&path).unwrap().kind else {
        panic!("not a file")
    };
    let expected = elf(&["name=dm_verity", "depends=dm-mod"]);
    assert_eq!(content.read().unwrap(), expected);
    assert_eq!(content.identity(), Digest::of(&expected));
}

#[test]
fn a_driver_is_there_early_as_an_early_module_or_built_in_only() {
    let (_dir, ctx) = context();
    let kernel = Kernel::from_package(&ctx, &Digest::of(b"deb"), || Ok(package())).unwrap();
    let set = kernel.modules(&ctx, &virtio()).unwrap();
    let early = |driver| kernel.drives_early(driver, &set);
    // The last two: a module that is loaded late, and one that nobody has.
    assert_eq!(["virtio_blk", "ext4", "wg", "i6300esb"].map(early), [true, true, false, false]);
}

#[test]
fn the_package_is_unpacked_once() {
    let (_dir, ctx) = context();
    let calls = Cell::new(0);
    let tree = || {
        calls.set(calls.get() + 1);
        Ok(package())
    };
    for _ in 0..3 {
        let kernel = Kernel::from_package(&ctx, &Digest::of(b"deb"), tree).unwrap();
        kernel.modules(&ctx, &virtio()).unwrap();
    }
    assert_eq!(calls.get(), 2, "once for the index, once for the files");
}

#[test]
fn an_own_kernel_comes_with_a_directory_an_archive_or_nothing() {
    let (dir, ctx) = context();
    let image = dir.path().join("bzImage");
    write(&image, &bzimage("6.1-x")).unwrap();
    let kernel = Kernel::from_own(&ctx, &image, None).unwrap();
    let base = Request { modules: Vec::new(), ..virtio() };
    assert!(kernel.modules(&ctx, &base).unwrap().early.is_empty());

    let modules = dir.path().join("modules");
    let archive = dir.path().join("modules.tar");
    let mut tar = tar::Builder::new(File::create(&archive).unwrap());
    for (path, node) in package().iter() {
        if let crate::tree::NodeKind::File(content) = &node.kind {
            let file = modules.join(path.as_str().trim_start_matches("usr/"));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            write(&file, &content.read().unwrap()).unwrap();
            tar.append_path_with_name(&file, path.as_str()).unwrap();
        }
    }
    tar.finish().unwrap();
    std::os::unix::fs::symlink("/", modules.join("lib/modules/6.1-x/build")).unwrap();
    for source in [&modules, &archive] {
        let kernel = Kernel::from_own(&ctx, &image, Some(source)).unwrap();
        assert_eq!(kernel.modules(&ctx, &virtio()).unwrap().early.len(), 3);
    }
}

#[test]
fn modules_of_another_release_are_refused() {
    let (_dir, ctx) = context();
    let mut tree = package();
    tree.file("boot/vmlinuz-6.1-x", 0o644, bzimage("6.2")).unwrap();
    let error = Kernel::from_package(&ctx, &Digest::of(b"x"), || Ok(tree.clone())).unwrap_err();
    assert_eq!(error.to_string(), "the modules are for kernel 6.1-x, the image is 6.2");
}

#[test]
fn an_unknown_class_is_an_error_that_lists_the_classes() {
    let (_dir, ctx) = context();
    let kernel = Kernel::from_package(&ctx, &Digest::of(b"deb"), || Ok(package())).unwrap();
    let request = Request {
        hardware: vec!["toaster".into()],
        modules: Vec::new(),
        needed: Vec::new(),
        services: Vec::new(),
    };
    let error = kernel.modules(&ctx, &request).unwrap_err();
    assert!(error.hint_text().unwrap().contains("virtio, nvme"), "{error:?}");
}
