//! The public TUF conformance suite against the device's channel client.
//!
//! The suite is a checkout of the `tuf-conformance` repository, written in Python; it serves repositories on the loopback
//! interface and runs the client as a program. What it needs is installed with pip into a directory of the cache.

use crate::programs::{self, KEPT};
use anyhow::{Context as _, Result};
use coracle::{
    cache::Cache,
    context::Context,
    files,
    report::Report,
    show::{Lines, Verbosity},
    tool::{Stdout, Tool},
};
use std::{
    fmt::Write as _,
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// Tests that are refused on purpose: devices verify Ed25519 and nothing else; the client is built with what the suite
/// signs with by default beside it, and not with RSA.
pub const REFUSED: [&str; 1] = ["test_keytype_and_scheme[rsa/rsassa-pss-sha256]"];

/// Stands in for the program that moves the clock below the C library, which a static client does not ask.
const FAKETIME: &str = "#!/bin/sh
CORACLE_TUF_TIME=$(date -u -d \"$1\" +%s) || exit 1
export CORACLE_TUF_TIME
shift
exec \"$@\"
";

/// What to run.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// A checkout of the suite.
    #[arg(long)]
    suite: PathBuf,
    /// Only tests whose names match this expression.
    #[arg(long)]
    only: Option<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many tests passed.
    pub passed: usize,
    /// Those that failed and should not.
    pub failed: Vec<String>,
    /// Those that failed on purpose.
    pub refused: Vec<String>,
}

impl Outcome {
    /// What `pytest-json-report` says.
    fn read(report: &serde_json::Value) -> Result<Self> {
        let mut outcome = Self::default();
        for test in report["tests"].as_array().context("the report lists no tests")? {
            let id = test["nodeid"].as_str().context("a test has no name")?;
            let name = id.rsplit("::").next().unwrap_or(id);
            match test["outcome"].as_str() {
                Some("passed") => outcome.passed += 1,
                _ if REFUSED.contains(&name) => outcome.refused.push(name.to_owned()),
                _ => outcome.failed.push(name.to_owned()),
            }
        }
        Ok(outcome)
    }

    /// For people.
    pub fn text(&self) -> String {
        let total = self.passed + self.failed.len() + self.refused.len();
        let mut out = format!("{} of {total} tests passed\n", self.passed);
        for name in &self.refused {
            writeln!(out, "refused on purpose: {name}").unwrap_or_default();
        }
        for name in &self.failed {
            writeln!(out, "FAILED: {name}").unwrap_or_default();
        }
        out
    }
}

/// Builds the client, runs the suite against it.
pub fn run(options: &Options) -> Result<Outcome> {
    let root = Cache::default_root()?;
    let lines = Lines::new(io::stderr(), Verbosity::Normal);
    let ctx = Context::new(Cache::open(root.clone())?, Report::new(Arc::new(lines)));
    let suite = options.suite.canonicalize().context("there is no such checkout")?;
    let home = root.join("tuf-conformance");
    let python = python(&ctx, &suite, &home)?;
    let programs = home.join("programs");
    fs::create_dir_all(&programs)?;
    let faketime = programs.join("faketime");
    files::replace(&faketime, FAKETIME.as_bytes())?;
    fs::set_permissions(&faketime, fs::Permissions::from_mode(0o755))?;
    let client = programs::built(&ctx, "coracle-qemu-tests", "coracle-tuf-client")?;
    let report = home.join("report.json");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut tests = Tool::host(&text(&python)?)
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tuf_conformance", "--json-report"])
        .arg(format!("--json-report-file={}", text(&report)?))
        .arg(format!("--entrypoint={}", text(&client)?))
        .current_dir(&suite)
        .keep_env(&["HOME"])
        .env("PATH", format!("{}:{path}", text(&programs)?))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdout(Stdout::Log)
        .log_to(home.join("suite.log"))
        .within(Duration::from_mins(20));
    if let Some(only) = &options.only {
        tests = tests.args(["-k", only]);
    }
    if report.exists() {
        fs::remove_file(&report)?;
    }
    // Failures are in the report; without one, the suite did not run.
    let ended = tests.run(&ctx);
    match fs::read(&report) {
        Ok(bytes) => Outcome::read(&serde_json::from_slice(&bytes)?),
        Err(_) => Err(ended.err().map_or_else(|| anyhow::anyhow!("the suite wrote no report"), Into::into)),
    }
}

/// A Python with what the suite says it depends on.
fn python(ctx: &Context, suite: &Path, home: &Path) -> Result<PathBuf> {
    let project: toml::Table = fs::read_to_string(suite.join("pyproject.toml"))?.parse()?;
    let wanted = project.get("project").and_then(|project| project.get("dependencies"));
    let wanted = wanted.and_then(toml::Value::as_array).context("the suite names no dependencies")?;
    let wanted: Vec<&str> = wanted.iter().filter_map(toml::Value::as_str).collect();
    let (environment, stamp) = (home.join("python"), home.join("python.stamp"));
    let python = environment.join("bin/python");
    if fs::read_to_string(&stamp).is_ok_and(|stated| stated == wanted.join("\n")) {
        return Ok(python);
    }
    fs::create_dir_all(home)?;
    let of_host = |name: &str| Tool::host(name).keep_env(&KEPT).within(Duration::from_mins(15));
    of_host("python3").args(["-m", "venv", "--clear"]).arg(&environment).run(ctx)?;
    of_host(&text(&python)?).args(["-m", "pip", "install", "--quiet"]).args(&wanted).run(ctx)?;
    files::replace(&stamp, wanted.join("\n").as_bytes())?;
    Ok(python)
}

fn text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path is not text")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_on_purpose_is_excused() {
        let report = serde_json::json!({"tests": [
            {"nodeid": "a.py::test_one", "outcome": "passed"},
            {"nodeid": "a.py::test_two[x]", "outcome": "failed"},
            {"nodeid": "a.py::test_three", "outcome": "error"},
            {"nodeid": "a.py::test_four", "outcome": "skipped"},
            {"nodeid": format!("a.py::{}", REFUSED[0]), "outcome": "failed"},
        ]});
        let outcome = Outcome::read(&report).unwrap();
        let failed = ["test_two[x]", "test_three", "test_four"].map(str::to_owned).to_vec();
        assert_eq!(outcome, Outcome { passed: 1, failed, refused: vec![REFUSED[0].to_owned()] });
        assert!(outcome.text().starts_with("1 of 5 tests passed\n"));
        Outcome::read(&serde_json::json!({})).unwrap_err();
    }
}
