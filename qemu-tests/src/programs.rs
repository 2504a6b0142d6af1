//! Other programs of the workspace, built when they are needed.

use anyhow::{Context as _, Result};
use coracle::{context::Context, tool::Tool};
use std::{path::PathBuf, time::Duration};

/// The environment that pip and cargo need as it is.
pub(crate) const KEPT: [&str; 12] = [
    "HOME",
    "PATH",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "PIP_INDEX_URL",
    "PIP_CERT",
    "PIP_FIND_LINKS",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// The program `bin` of a package of the workspace, in the profile of this program.
pub(crate) fn built(ctx: &Context, package: &str, bin: &str) -> Result<PathBuf> {
    let mut build = Tool::host("cargo")
        .args(["build", "--quiet", "--locked", "--package", package, "--bin", bin])
        .current_dir(crate::workspace())
        .keep_env(&KEPT)
        .within(Duration::from_mins(30));
    if !cfg!(debug_assertions) {
        build = build.arg("--release");
    }
    build.run(ctx)?;
    let this = std::env::current_exe()?;
    Ok(this.parent().context("this program is in no directory")?.join(bin))
}
