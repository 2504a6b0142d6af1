//! General tools, as Debian has them: what each makes of an old and a new file.

use crate::packages::difference_tools;
use anyhow::{Context as _, Result};
use coracle::{context::Context, tool::Tool, toolroot::ToolRoot};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long one difference may take.
const DEADLINE: Duration = Duration::from_hours(1);
/// Between these xdelta3 can remember parts of the old file.
const WINDOW_BYTES: [u64; 2] = [1 << 20, 1 << 30];

/// The tools.
#[derive(Debug)]
pub(super) struct Tools<'a> {
    ctx: &'a Context,
    root: ToolRoot,
}

impl<'a> Tools<'a> {
    pub(super) fn find(ctx: &'a Context) -> Result<Self> {
        Ok(Self { ctx, root: difference_tools(ctx)? })
    }

    fn tool(&self, name: &str) -> Tool<'static> {
        Tool::new(&self.root, name).within(DEADLINE)
    }

    /// A file, compressed.
    pub(super) fn compressed(&self, new: &Path) -> Result<u64> {
        let tool = self.tool("zstd").args(["-19", "--long", "-T1", "-q", "-f"]).arg(new);
        self.run(tool.arg("-o"), new, ".zst")
    }

    /// What zstd makes of two images.
    pub(super) fn zstd_of_images(&self, old: &Path, new: &Path) -> Result<u64> {
        let tool =
            self.tool("zstd").args(["-19", "--long=31", "-T1", "-q", "-f"]).arg(patch_from(old)).arg(new);
        self.run(tool.arg("-o"), new, ".zstd")
    }

    /// What zstd makes of two files.
    pub(super) fn zstd(&self, old: &Path, new: &Path) -> Result<u64> {
        let tool = self.tool("zstd").args(["-19", "-T1", "-q", "-f"]).arg(patch_from(old)).arg(new);
        self.run(tool.arg("-o"), new, ".zstd")
    }

    /// What xdelta3 makes of two files, if it may remember all of the old one.
    pub(super) fn xdelta3(&self, old: &Path, new: &Path) -> Result<u64> {
        let [least, most] = WINDOW_BYTES;
        let window = old.metadata()?.len().next_power_of_two().clamp(least, most).to_string();
        let tool = self.tool("xdelta3").args(["-e", "-9", "-f", "-B", &window, "-s"]).args([old, new]);
        self.run(tool, new, ".xdelta3")
    }

    /// What bsdiff makes of two files.
    pub(super) fn bsdiff(&self, old: &Path, new: &Path) -> Result<u64> {
        self.run(self.tool("bsdiff").args([old, new]), new, ".bsdiff")
    }

    /// The chunks of the new file that the old one has not, compressed as casync keeps them.
    pub(super) fn casync(&self, old: &Path, new: &Path) -> Result<u64> {
        let store = beside(new, ".chunks");
        let make = |file: &Path| -> Result<BTreeSet<PathBuf>> {
            let index = beside(file, ".caibx");
            let mut option = OsString::from("--store=");
            option.push(&store);
            self.tool("casync").arg("make").arg(option).args([&index, file]).run(self.ctx)?;
            fs::remove_file(&index)?;
            let mut chunks = BTreeSet::new();
            files(&store, &mut chunks)?;
            Ok(chunks)
        };
        let before = make(old)?;
        let after = make(new)?;
        let sizes = after.difference(&before).map(|chunk| Ok(chunk.metadata()?.len()));
        let sum = sizes.sum::<io::Result<u64>>()?;
        fs::remove_dir_all(&store)?;
        Ok(sum)
    }

    /// Runs a tool whose last argument is the file that it makes, which stands beside the new one for a while; the bytes
    /// of that. Each tool has its own `suffix`: several may run at a time.
    fn run(&self, tool: Tool<'_>, new: &Path, suffix: &str) -> Result<u64> {
        let out = beside(new, suffix);
        tool.arg(&out).run(self.ctx)?;
        let bytes =
            out.metadata().with_context(|| format!("no difference {} was made", out.display()))?.len();
        fs::remove_file(&out)?;
        Ok(bytes)
    }
}

fn patch_from(old: &Path) -> OsString {
    let mut option = OsString::from("--patch-from=");
    option.push(old);
    option
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    coracle::files::with_suffix(path, suffix)
}

fn files(dir: &Path, out: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, out)?;
        } else {
            out.insert(path);
        }
    }
    Ok(())
}
