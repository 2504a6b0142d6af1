//! What tests take from Debian packages beside their images.

use anyhow::{Context as _, Result};
use coracle::{
    context::Context,
    debian::{Archive, ArchiveOptions, Mirrors, Package, Pocket, Request, Wish, fetch_all, unpack},
    toolroot::{HostArch, ToolRoot},
    tree::{Content, Tree},
};
use coracle_format::slot::Arch;

/// A program that is a whole user space by itself.
pub fn busybox(ctx: &Context) -> Result<Content> {
    busybox_of(ctx, Arch::X86_64)
}

/// The same for any architecture.
pub(crate) fn busybox_of(ctx: &Context, arch: Arch) -> Result<Content> {
    file_of(ctx, arch, "busybox-static", "usr/bin/busybox")
}

/// The stub of boot artefacts.
pub(crate) fn stub(ctx: &Context, arch: Arch) -> Result<Vec<u8>> {
    let name = match arch {
        Arch::X86_64 => "usr/lib/systemd/boot/efi/linuxx64.efi.stub",
        Arch::Aarch64 => "usr/lib/systemd/boot/efi/linuxaa64.efi.stub",
    };
    Ok(file_of(ctx, arch, "systemd-boot-efi", name)?.read()?)
}

fn file_of(ctx: &Context, arch: Arch, package: &str, name: &str) -> Result<Content> {
    let debian = match arch {
        Arch::X86_64 => "amd64",
        Arch::Aarch64 => "arm64",
    };
    let packages = fetch(ctx, debian, &Request::only([package]))?;
    let tree: Tree = unpack(ctx, packages.first().context("no package was chosen")?)?;
    Ok(tree.content(name)?)
}

/// The programs that look into a file system.
pub fn filesystem_tools(ctx: &Context) -> Result<ToolRoot> {
    let packages = fetch(ctx, HostArch::current()?.debian(), &Request::closure_of(["e2fsprogs"]))?;
    let (tools, _) = ToolRoot::of_packages(ctx, &packages, || Ok(()))?;
    Ok(tools)
}

/// The general tools that make differences and find chunks, and what measures them.
pub(crate) fn difference_tools(ctx: &Context) -> Result<ToolRoot> {
    let wanted = ["zstd", "xdelta3", "bsdiff", "casync"];
    let packages = fetch(ctx, HostArch::current()?.debian(), &Request::closure_of(wanted))?;
    let (tools, _) = ToolRoot::of_packages(ctx, &packages, || Ok(()))?;
    Ok(tools)
}

/// A web server.
pub fn nginx(ctx: &Context) -> Result<ToolRoot> {
    let packages = fetch(ctx, HostArch::current()?.debian(), &Request::closure_of(["nginx"]))?;
    let (tools, _) = ToolRoot::of_packages(ctx, &packages, || Ok(()))?;
    Ok(tools)
}

/// Python with python-tuf, the reference implementation of what signed metadata follows.
pub fn python_tuf(ctx: &Context) -> Result<ToolRoot> {
    let wanted = ["python3-tuf", "python3-cryptography"];
    let packages = fetch(ctx, HostArch::current()?.debian(), &Request::closure_of(wanted))?;
    let (tools, _) = ToolRoot::of_packages(ctx, &packages, || Ok(()))?;
    Ok(tools)
}

fn fetch(ctx: &Context, arch: &str, request: &Request) -> Result<Vec<Package>> {
    fetch_from(ctx, ("trixie", &Pocket::ALL), arch, request)
}

/// Packages of any suite, from some of its pockets.
pub(crate) fn fetch_from(
    ctx: &Context,
    (suite, pockets): (&str, &[Pocket]),
    arch: &str,
    request: &Request,
) -> Result<Vec<Package>> {
    let mirrors = Mirrors::find(&Wish::default(), &Wish::default())?;
    let options = ArchiveOptions { pockets: pockets.to_vec(), ..ArchiveOptions::new(mirrors, suite) };
    let archive = Archive::open(ctx, &options)?;
    let packages = archive.index(ctx, arch)?.resolve(request)?;
    fetch_all(ctx, archive.mirrors(), &packages)?;
    Ok(packages)
}
