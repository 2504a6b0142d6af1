//! The project's own delta, made by its own program as anybody makes it.

use crate::programs;
use anyhow::{Context as _, Result, bail, ensure};
use coracle::{
    context::Context,
    tool::{Stdout, Tool, Waited},
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a delta may take.
const DEADLINE: Duration = Duration::from_hours(1);
/// How often the program's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// What the program needs to know of its surroundings.
const KEPT: [&str; 8] = [
    "HOME",
    "PATH",
    "XDG_CACHE_HOME",
    "CORACLE_CACHE",
    "CORACLE_MIRROR",
    "CORACLE_SECURITY_MIRROR",
    "CORACLE_DEVICE",
    "CORACLE_DEVICE_SHA256",
];

/// A delta that was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ours {
    /// Its bytes.
    pub(super) bytes: u64,
    /// What the program says the whole update has.
    pub(super) full: u64,
    /// How long it took, milliseconds.
    pub(super) ms: u64,
    /// The most memory that the program itself had, as seen every 50 ms.
    pub(super) peak: u64,
}

/// `coracle`.
#[derive(Debug)]
pub(super) struct Program(PathBuf);

impl Program {
    /// Builds it.
    pub(super) fn build(ctx: &Context) -> Result<Self> {
        Ok(Self(programs::built(ctx, "coracle", "coracle")?))
    }

    /// Makes the delta of two directories that `coracle build` made; it is written to `dir` and removed again.
    pub(super) fn make(&self, ctx: &Context, (old, new): (&Path, &Path), dir: &Path) -> Result<Ours> {
        let program = self.0.to_str().context("the path of coracle is not text")?;
        let (delta, said) = (dir.join("delta"), dir.join("delta.said"));
        let begun = Instant::now();
        let mut running = Tool::host(program)
            .args(["--json", "delta"])
            .args([old, new])
            .arg("-o")
            .arg(&delta)
            .keep_env(&KEPT)
            .log("coracle-delta")
            .stdout(Stdout::File(File::create(&said)?))
            .spawn(ctx)?;
        let status = PathBuf::from(format!("/proc/{}/status", running.id()));
        let mut peak = 0;
        let ended = loop {
            peak = fs::read_to_string(&status)
                .ok()
                .and_then(|text| peak_of(&text))
                .map_or(peak, |now| peak.max(now));
            match running.wait(LOOK)? {
                Waited::Exited(status) => break status,
                Waited::Running if begun.elapsed() > DEADLINE => {
                    bail!("coracle delta took more than an hour")
                }
                Waited::Running => {}
            }
        };
        let ms = u64::try_from(begun.elapsed().as_millis())?;
        let text = fs::read_to_string(&said)?;
        running.judge(ended, text.as_bytes())?;
        let (bytes, full) = read(&text)?;
        let found = delta.metadata().context("coracle delta made no file")?.len();
        ensure!(found == bytes, "coracle delta says that it made {bytes} bytes, but there are {found}");
        fs::remove_file(&delta)?;
        Ok(Ours { bytes, full, ms, peak })
    }
}

/// Bytes of the delta and of the whole update: what the last object says.
pub(super) fn read(text: &str) -> Result<(u64, u64)> {
    let line = text.lines().last().context("coracle delta said nothing")?;
    let object: serde_json::Value =
        serde_json::from_str(line).with_context(|| format!("coracle delta said {line:?}"))?;
    let number = |key: &str| {
        object[key].as_u64().with_context(|| format!("what coracle delta said has no number {key}: {line}"))
    };
    Ok((number("delta_bytes")?, number("full_bytes")?))
}

/// `VmHWM` of a process, in bytes.
pub(super) fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coracle::{cache::Cache, report::Report};

    /// What stands in for `coracle`. Another process writes it: while this one had it open, it could not be started.
    fn program(ctx: &Context, dir: &Path, text: &str) -> Program {
        let path = dir.join("program");
        let text = format!("#!/bin/sh\n{text}\n");
        let words = ["-c", "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\""];
        Tool::host("sh").args(words).arg(&path).arg(text).run(ctx).unwrap();
        Program(path)
    }

    #[test]
    fn a_delta_is_believed_only_if_it_is_there_in_the_size_that_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let ctx = Context::new(Cache::open(dir.path().join("cache")).unwrap(), Report::silent());
        let make = |script: &str| {
            let program = program(&ctx, dir.path(), script);
            program.make(&ctx, (Path::new("old"), Path::new("new")), dir.path())
        };
        let said = r#"echo '{"delta_bytes":5,"full_bytes":9}'"#;
        let arguments = r#"[ "$1 $2 $3 $4 $5" = "--json delta old new -o" ] || exit 3"#;
        let delta = make(&format!("{arguments}\nsleep 0.2; printf 12345 > \"$6\"; {said}")).unwrap();
        assert_eq!((delta.bytes, delta.full), (5, 9));
        assert!(delta.ms >= 200 && delta.peak > 0, "{delta:?}");
        assert!(
            make(&format!("printf 1234 > \"$6\"; {said}")).unwrap_err().to_string().contains("there are 4")
        );
        make("echo no >&2; exit 1").unwrap_err();
    }
}
