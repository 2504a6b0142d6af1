//! What tests take from Debian packages beside their images.

use anyhow::{Context as _, Result};
use coracle::{
    context::Context,
    debian::{Archive, ArchiveOptions, Mirrors, Package, Request, Wish, fetch_all, unpack},
    toolroot::{HostArch, ToolRoot},
    tree::{Content, Tree},
};

/// A program that is a whole user space by itself.
pub fn busybox(ctx: &Context) -> Result<Content> {
    let packages = fetch(ctx, "amd64", &Request::only(["busybox-static"]))?;
    let tree: Tree = unpack(ctx, packages.first().context("no package was chosen")?)?;
    Ok(tree.content("usr/bin/busybox")?)
}

/// The programs that look into a file system.
pub fn filesystem_tools(ctx: &Context) -> Result<ToolRoot> {
    let packages = fetch(ctx, HostArch::current()?.debian(), &Request::closure_of(["e2fsprogs"]))?;
    let (tools, _) = ToolRoot::of_packages(ctx, &packages, || Ok(()))?;
    Ok(tools)
}

fn fetch(ctx: &Context, arch: &str, request: &Request) -> Result<Vec<Package>> {
    let mirrors = Mirrors::find(&Wish::default(), &Wish::default())?;
    let archive = Archive::open(ctx, &ArchiveOptions::new(mirrors, "trixie"))?;
    let packages = archive.index(ctx, arch)?.resolve(request)?;
    fetch_all(ctx, archive.mirrors(), &packages)?;
    Ok(packages)
}
