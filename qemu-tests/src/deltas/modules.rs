//! The modules of a kernel.

use crate::packages::fetch_from;
use anyhow::{Context as _, Result, ensure};
use coracle::{
    archive,
    context::Context,
    debian::{Pocket, Request, unpack},
    kernel::modinfo::{self, MODULE_LIMIT_BYTES, Modinfo},
    tree::NodeKind,
};
use std::{collections::BTreeSet, io::Read as _};

/// How many modules a manifest can name.
const NAMES_MAX: usize = 1024;

/// The modules that no other one needs: whoever has them has all.
pub(super) fn leaves(ctx: &Context, package: &str) -> Result<Vec<String>> {
    let step = ctx.report.step("modules without users");
    let packages = fetch_from(ctx, ("trixie", &Pocket::ALL), "amd64", &Request::only([package]))?;
    let tree = unpack(ctx, packages.first().context("no kernel was chosen")?)?;
    let mut modules = Vec::new();
    for (path, node) in tree.iter() {
        let NodeKind::File(content) = &node.kind else { continue };
        let Some(name) = path.name().strip_suffix(".ko.xz") else { continue };
        let mut elf = Vec::new();
        archive::decoder(content.open()?)?.take(MODULE_LIMIT_BYTES).read_to_end(&mut elf)?;
        modules.push(modinfo::parse(name, &elf)?);
    }
    let leaves = without_users(&modules);
    step.done(format!("{} of {}", leaves.len(), modules.len()));
    ensure!(!leaves.is_empty(), "{package} has no modules");
    ensure!(leaves.len() <= NAMES_MAX, "{package} has {} modules without users", leaves.len());
    Ok(leaves)
}

/// The names of those that no other one takes symbols from.
pub(super) fn without_users(modules: &[Modinfo]) -> Vec<String> {
    let used: BTreeSet<&str> =
        modules.iter().flat_map(|module| module.depends.iter().map(String::as_str)).collect();
    let mut names: Vec<String> = modules
        .iter()
        .filter(|module| !used.contains(module.name.as_str()))
        .map(|module| module.name.clone())
        .collect();
    names.sort();
    names
}
