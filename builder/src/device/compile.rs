//! Compiles the device programs with cargo, for one architecture, so that the same sources give the same bytes wherever
//! they are checked out, wherever cargo keeps its registry, and whoever compiles.

use super::{Program, put, read};
use crate::{
    context::{Context, Network},
    error::{Doing, Error, Kind, Result},
    report::{Step, Unit},
    tool::{Stdout, Tool},
};
use coracle_manifests::manifest::Arch;
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// The profile of the workspace for programs of the device.
const PROFILE: &str = "device";
/// How long one compilation may take: minutes on a slow machine.
const COMPILE_DEADLINE: Duration = Duration::from_hours(1);
/// How long rustup may take to fetch something.
const FETCH_DEADLINE: Duration = Duration::from_mins(30);
/// What cargo and rustup need of the user's environment: where the linker of build scripts and their own files are, and
/// how to reach the network.
const KEPT_ENV: [&str; 15] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_UPDATE_ROOT",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CARGO_HTTP_CAINFO",
];

/// Compiles all programs for `arch` from the workspace at `root` and puts them into `dir`.
pub(super) fn compile(ctx: &Context, root: &Path, arch: Arch, dir: &Path) -> Result<()> {
    let step = ctx.report.step(format!("compile device programs for {}", arch.name()));
    // One target directory for all: what others compiled is not compiled again.
    let target_dir = ctx.cache.root().join("device-target");
    let _lock = ctx.cache.lock("device-target")?;
    let toolchain = Toolchain::ensure(ctx, root, arch)?;
    let job = Job { ctx, root, toolchain, target_dir, step: &step };
    let mut sizes = Vec::new();
    for (target, programs) in targets(arch) {
        let out = job.cargo(target, programs)?;
        for program in programs {
            let bytes = read(&out.join(program.file()))?;
            put(dir, *program, &bytes)?;
            sizes.push(format!("{} {} KB", program.package(), bytes.len().div_ceil(1000)));
        }
    }
    step.done(sizes.join(", "));
    Ok(())
}

/// The targets of an architecture, and what is compiled for each.
fn targets(arch: Arch) -> [(&'static str, &'static [Program]); 2] {
    const LINUX: &[Program] = &[Program::Init, Program::Services, Program::Update, Program::Probe];
    const UEFI: &[Program] = &[Program::Selector];
    match arch {
        Arch::X86_64 => [("x86_64-unknown-linux-musl", LINUX), ("x86_64-unknown-uefi", UEFI)],
        Arch::Aarch64 => [("aarch64-unknown-linux-musl", LINUX), ("aarch64-unknown-uefi", UEFI)],
    }
}

/// Makes cargo compile the workspace's own crates anew. It goes by modification times and relative paths, so it could
/// take what it made of another checkout, or of newer files, for what these sources give.
fn forget_own_crates(profile_dir: &Path) -> Result<()> {
    let dir = profile_dir.join(".fingerprint");
    let Ok(list) = fs::read_dir(&dir) else {
        return Ok(());
    };
    for entry in list {
        let entry = entry.doing("list", &dir)?;
        if entry.file_name().as_encoded_bytes().starts_with(b"coracle-") {
            fs::remove_dir_all(entry.path()).doing("remove", &entry.path())?;
        }
    }
    Ok(())
}

struct Job<'a> {
    ctx: &'a Context,
    root: &'a Path,
    toolchain: Toolchain,
    target_dir: PathBuf,
    step: &'a Step,
}

impl Job<'_> {
    /// Compiles these programs for one target; the directory they are in.
    fn cargo(&self, target: &str, programs: &[Program]) -> Result<PathBuf> {
        let out = self.target_dir.join(target).join(PROFILE);
        forget_own_crates(&out)?;
        let mut done = 0;
        let count = Stdout::Lines(Box::new(|line: &str| {
            if line.contains(r#""reason":"compiler-artifact""#) {
                done += 1;
                self.step.progress(done, 0, Unit::Items);
            }
        }));
        let flags = self.toolchain.flags(self.root, target).join("\x1f");
        let mut tool = self
            .toolchain
            .cargo()
            .args(["build", "--locked", "--profile", PROFILE, "--target", target])
            .args(["--message-format", "json-render-diagnostics"])
            .arg("--manifest-path")
            .arg(self.root.join("Cargo.toml"))
            .arg("--target-dir")
            .arg(&self.target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("CARGO_INCREMENTAL", "0")
            .current_dir(self.root);
        for program in programs {
            tool = tool.args(["-p", program.package()]);
        }
        if self.ctx.network == Network::Offline {
            tool = tool.arg("--offline");
        }
        let tool = tool.within(COMPILE_DEADLINE).log(&format!("compile-{target}"));
        tool.stdout(count).run(self.ctx).map_err(|error| self.failed(target, error))?;
        Ok(out)
    }

    fn failed(&self, target: &str, error: Error) -> Error {
        let message = format!("cannot compile the device programs for {target}");
        let error = Error::new(error.kind(), message).because(error);
        if self.ctx.network == Network::Offline {
            return error.hint("without --offline, cargo can fetch what it lacks");
        }
        error
    }
}

/// The pinned toolchain.
struct Toolchain {
    channel: String,
    sysroot: PathBuf,
    commit: String,
}

impl Toolchain {
    /// The toolchain that the workspace pins, with its targets for `arch`; fetched by rustup where missing.
    fn ensure(ctx: &Context, root: &Path, arch: Arch) -> Result<Self> {
        let mut toolchain = Self { channel: channel(root)?, sysroot: PathBuf::new(), commit: String::new() };
        let asked = |toolchain: &Self| toolchain.tool("rustc").args(["--print", "sysroot"]).run(ctx);
        let answer = match asked(&toolchain) {
            Ok(answer) => answer,
            Err(error) if error.kind() == Kind::Tool => {
                toolchain
                    .rustup(ctx, &["toolchain", "install", "--profile", "minimal", &toolchain.channel])?;
                asked(&toolchain)?
            }
            Err(error) => return Err(error),
        };
        toolchain.sysroot = answer.text().into();
        for (target, _) in targets(arch) {
            if !toolchain.sysroot.join("lib/rustlib").join(target).join("lib").is_dir() {
                toolchain.rustup(ctx, &["target", "add", "--toolchain", &toolchain.channel, target])?;
            }
        }
        let version = toolchain.tool("rustc").arg("-vV").run(ctx)?.text();
        let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        commit.unwrap_or("unknown").clone_into(&mut toolchain.commit);
        Ok(toolchain)
    }

    /// A program of this toolchain. rustup's stand-ins read the variable.
    fn tool(&self, name: &str) -> Tool<'static> {
        Tool::host(name).keep_env(&KEPT_ENV).env("RUSTUP_TOOLCHAIN", &self.channel)
    }

    /// Its cargo and compiler themselves, without rustup's stand-ins.
    fn cargo(&self) -> Tool<'static> {
        let bin = self.sysroot.join("bin");
        let cargo = bin.join("cargo").to_string_lossy().into_owned();
        Tool::host(&cargo).keep_env(&KEPT_ENV).env("RUSTC", bin.join("rustc"))
    }

    fn rustup(&self, ctx: &Context, args: &[&str]) -> Result<()> {
        let command = format!("rustup {}", args.join(" "));
        if ctx.network == Network::Offline {
            let message =
                format!("the Rust toolchain {} is incomplete and the network may not be used", self.channel);
            return Err(Error::new(Kind::NotFound, message).hint(format!("run: {command}")));
        }
        let step = ctx.report.step(&command);
        let tool = Tool::host("rustup").keep_env(&KEPT_ENV).args(args).within(FETCH_DEADLINE);
        tool.run(ctx).map_err(|error| {
            let message = format!("cannot complete the Rust toolchain {}", self.channel);
            Error::new(error.kind(), message).because(error)
        })?;
        step.done("done");
        Ok(())
    }

    /// The compiler's flags: a linker that every toolchain brings, and no path of this machine in the programs.
    fn flags(&self, root: &Path, target: &str) -> Vec<String> {
        let mut flags = Vec::new();
        if target.ends_with("-linux-musl") {
            flags.extend(["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"].map(str::to_owned));
            // A signature now and then needs no vector instructions: one implementation instead of three is 27 KB less.
            flags.push("--cfg=curve25519_dalek_backend=\"serial\"".to_owned());
        } else {
            // Else a UEFI program carries the time of day and the path of its debug information.
            flags.extend(["-Clink-arg=/Brepro", "-Clink-arg=/DEBUG:NONE"].map(str::to_owned));
            // Rolled loops where a processor has no instructions for SHA-256: 10 KB less.
            flags.push("--cfg=sha2_backend_soft=\"compact\"".to_owned());
        }
        // The last one that matches wins, so what is more particular comes later.
        let library = self.sysroot.join("lib/rustlib/src/rust");
        let remapped = [
            (self.sysroot.clone(), "/toolchain".to_owned()),
            (cargo_home(), "/cargo".to_owned()),
            (root.to_owned(), "/coracle".to_owned()),
            (library, format!("/rustc/{}", self.commit)),
        ];
        flags.extend(
            remapped.into_iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
        );
        flags
    }
}

/// Where cargo keeps its registry.
fn cargo_home() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cargo")))
        .unwrap_or_else(|| "/.cargo".into())
}

/// The channel in `rust-toolchain.toml`.
fn channel(root: &Path) -> Result<String> {
    let path = root.join("rust-toolchain.toml");
    let text = fs::read_to_string(&path).doing("read", &path)?;
    let table: toml::Table = text.parse().map_err(|source| {
        Error::new(Kind::Usage, format!("cannot read {}", path.display())).because(source)
    })?;
    let channel = table.get("toolchain").and_then(|toolchain| toolchain.get("channel")?.as_str());
    channel
        .map(str::to_owned)
        .ok_or_else(|| Error::new(Kind::Usage, format!("{} names no channel", path.display())))
}
