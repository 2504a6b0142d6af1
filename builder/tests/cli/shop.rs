//! A place to run `coracle` in: a cache, a signed mirror, a manifest, device programs.

use super::{
    Pocket,
    fixture::{DAY, Files, KEY_MADE, Key, deb, member, tar, xz},
};
use coracle::{
    cache::Cache,
    context::Context,
    debian::{Archive, ArchiveOptions, Mirrors, Wish, fetch_all},
    device::{ARCHES, Program},
    digest::Digest,
    files::replace,
    image,
    report::Report,
    toolroot::{Group, HostArch},
    tree::{Content, Tree},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// When the mirror's lists are signed.
pub(crate) const MADE: u32 = KEY_MADE + DAY;
/// Tells a small program of no use from a file that is none: a static ELF header for `x86_64`.
pub(crate) const ELF: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\0\0\0\0";

/// A manifest whose image builds. Its kernel is the author's own, so that no large package is needed.
pub(crate) const GOOD: &str = r#"[image]
name = "trial"
version = "1"
arch = "x86_64"

[kernel]
image = "bzImage"

[[container]]
name = "web"
packages = ["app"]
command = ["/bin/app"]
"#;

/// What all tests share: made once, never changed.
struct Stock {
    key: Key,
    files: Files,
}

fn stock() -> &'static Stock {
    static ONE: OnceLock<Stock> = OnceLock::new();
    ONE.get_or_init(|| {
        let mut files = Files::default();
        tools(&mut files);
        files.package(Pocket::Main, "systemd-boot-efi", "", &stub());
        files.package(Pocket::Main, "crun", "", &program("./usr/bin/crun", ELF));
        files.package(Pocket::Main, "app", "", &program("./usr/bin/app", ELF));
        for name in ["qemu-system-x86", "seabios", "ovmf"] {
            files.package(Pocket::Main, name, "", &program("./usr/share/nothing", b"nothing"));
        }
        Stock { key: Key::new(), files }
    })
}

/// The real packages with the tools of a build, as if this mirror had made them.
fn tools(files: &mut Files) {
    let ctx = Context::new(Cache::open(Cache::default_root().unwrap()).unwrap(), Report::silent());
    let mirrors = Mirrors::find(&Wish::default(), &Wish::default()).unwrap();
    let archive = Archive::open(&ctx, &ArchiveOptions::new(mirrors, "trixie")).unwrap();
    let index = archive.index(&ctx, HostArch::current().unwrap().debian()).unwrap();
    let packages = index.resolve(&Group::Build.request()).unwrap();
    fetch_all(&ctx, archive.mirrors(), &packages).unwrap();
    let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    let needs = format!("Depends: {}\n", names.join(", "));
    for package in &packages {
        let asked = Group::Build.packages().contains(&package.name.as_str());
        let bytes = fs::read(ctx.cache.object(&package.sha256).unwrap()).unwrap();
        files.package(Pocket::Main, &package.name, if asked { &needs } else { "" }, &bytes);
    }
}

/// A package with one file.
pub(crate) fn program(path: &str, bytes: &[u8]) -> Vec<u8> {
    package(&[member(path, b'0', "", bytes)])
}

/// A package with these members.
pub(crate) fn package(members: &[Vec<u8>]) -> Vec<u8> {
    deb("data.tar.xz", &xz(&tar(members)))
}

fn stub() -> Vec<u8> {
    program("./usr/lib/systemd/boot/efi/linuxx64.efi.stub", &pe(8))
}

/// A PE file for `x86_64` with one small section and room for `room` more.
fn pe(room: usize) -> Vec<u8> {
    let raw = (64 + 24 + 240 + 40 * (1 + room)).next_multiple_of(512);
    let mut out = vec![0; 64];
    out[..2].copy_from_slice(b"MZ");
    out[0x3c] = 64;
    out.extend_from_slice(b"PE\0\0\x64\x86\x01\0");
    out.extend_from_slice(&[0; 12]);
    out.extend_from_slice(&[240, 0, 0x2e, 2]);
    let mut optional = [0; 240];
    optional[..2].copy_from_slice(&0x20b_u16.to_le_bytes());
    optional[32..36].copy_from_slice(&4096_u32.to_le_bytes());
    optional[36..40].copy_from_slice(&512_u32.to_le_bytes());
    optional[108] = 16;
    out.extend_from_slice(&optional);
    out.extend_from_slice(b".sbat\0\0\0");
    for field in [5, 0x1000, 512, u32::try_from(raw).unwrap(), 0, 0, 0, 0x4000_0040] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    out.resize(raw, 0);
    out.extend_from_slice(b"sbat,");
    out.resize(raw + 512, 0);
    out
}

/// A kernel image that tells its release, and does nothing.
fn bzimage() -> Vec<u8> {
    let mut image = pe(12);
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x400_u16.to_le_bytes());
    image.resize(0x600, 0);
    image.extend_from_slice(b"6.12.0-trial #1\0");
    image.resize(0x800, 0);
    image
}

/// A place of its own for one test; gone with it.
pub(crate) struct Shop {
    dir: tempfile::TempDir,
    device: Digest,
    /// The mirror's files before they are signed.
    pub(crate) files: Files,
}

impl Shop {
    /// With a good manifest and a good mirror.
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = device_programs(&dir.path().join("device.tar"));
        let shop = Self { dir, device, files: stock().files.clone() };
        replace(&shop.path("keys.gpg"), &stock().key.public()).unwrap();
        replace(&shop.path("bzImage"), &bzimage()).unwrap();
        shop.write_manifest(GOOD);
        shop.sign(MADE);
        shop
    }

    /// Without a mirror: for what is noticed before one is asked.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = Digest::of(b"none");
        let shop = Self { dir, device, files: Files::default() };
        replace(&shop.path("bzImage"), &bzimage()).unwrap();
        shop.write_manifest(GOOD);
        shop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write_manifest(&self, text: &str) {
        replace(&self.path("trial.toml"), text.as_bytes()).unwrap();
    }

    /// The mirror as signed at `made`.
    pub(crate) fn signed(&self, made: u32) -> Files {
        self.files.clone().sign(&stock().key, made)
    }

    /// Makes the mirror directory anew.
    pub(crate) fn sign(&self, made: u32) {
        let mirror = self.path("mirror");
        if mirror.exists() {
            fs::remove_dir_all(&mirror).unwrap();
        }
        for (path, bytes) in &self.signed(made).0 {
            let path = mirror.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::File::create(&path).and_then(|mut file| std::io::Write::write_all(&mut file, bytes)).unwrap();
        }
    }

    /// `coracle` with these words and the surroundings of this place.
    #[expect(clippy::disallowed_methods, reason = "the program itself is what is tested")]
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        self.surround(&mut command);
        command.args(words);
        command
    }

    /// `coracle` with these words, started by a shell that first sets `limit`.
    #[expect(clippy::disallowed_methods, reason = "only a shell can limit a program without being root")]
    pub(crate) fn limited(&self, limit: &str, words: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        self.surround(&mut command);
        command.arg("-c").arg(format!("{limit}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_coracle"));
        command.args(words);
        command
    }

    fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .env("CORACLE_CACHE", self.path("cache"))
            .env("CORACLE_DEVICE", self.path("device.tar"))
            .env("CORACLE_DEVICE_SHA256", self.device.to_string())
            .env("NO_COLOR", "1")
            .env_remove("CORACLE_MIRROR")
            .env_remove("CORACLE_SECURITY_MIRROR");
    }

    /// Runs `coracle VERB trial.toml` with the mirror at `mirror` and these words.
    pub(crate) fn at(&self, mirror: &str, verb: &str, words: &[&str]) -> Outcome {
        let mut all = vec![verb, "trial.toml", "--mirror", mirror, "--security-mirror", mirror];
        all.extend(["--keyring", "keys.gpg"]);
        all.extend(words);
        Outcome::of(self.command(&all).output().unwrap())
    }

    pub(crate) fn lock(&self) -> Outcome {
        self.at("mirror", "lock", &[])
    }

    pub(crate) fn build(&self, words: &[&str]) -> Outcome {
        let mut all = vec!["--out", "out"];
        all.extend(words);
        self.at("mirror", "build", &all)
    }

    /// Nothing is left of a failed run: no disk, no record, no temporary file.
    pub(crate) fn nothing_is_made(&self) {
        let left = names(&self.path("out"));
        assert!(left.is_empty(), "the output directory has {left:?}");
    }

    /// Every object in the cache has the digest it is named by, and nothing half made is left.
    pub(crate) fn cache_is_good(&self) {
        // A download that was cut short is kept: the next one goes on from there.
        let tmp = names(&self.path("cache/tmp"));
        let is_part = |name: &String| Path::new(name).extension().is_some_and(|ending| ending == "part");
        let half: Vec<_> = tmp.iter().filter(|name| !is_part(name)).collect();
        assert!(half.is_empty(), "the cache has {half:?}");
        for name in names(&self.path("cache/objects")) {
            let bytes = fs::read(self.path("cache/objects").join(&name)).unwrap();
            assert_eq!(Digest::of(&bytes).to_string(), name);
        }
    }

    /// The good manifest with the good mirror builds: what failed before has spoilt nothing.
    pub(crate) fn recovers(&self) {
        self.nothing_is_made();
        self.cache_is_good();
        let outcome = self.build(&[]);
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(names(&self.path("out")), ["build.json", "disk.raw"]);
        let out = self.command(&["inspect", "out", "--json"]).output().unwrap();
        let inspected: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(inspected["slots"][0]["name"], "trial", "{inspected}");
    }
}

/// An artefact of device programs that are none.
fn device_programs(out: &Path) -> Digest {
    let mut tree = Tree::new();
    let mut digests = serde_json::Map::new();
    for arch in ARCHES {
        for each in Program::ALL {
            let name = format!("{}/{}", arch.name(), each.file());
            let content = Content::from(ELF.to_vec());
            digests.insert(name.clone(), json!(content.identity().to_string()));
            tree.file(&name, 0o755, content).unwrap();
        }
    }
    let index = json!({"version": env!("CARGO_PKG_VERSION"), "files": digests});
    tree.file("device.json", 0o644, index.to_string().as_str()).unwrap();
    let mut bytes = Vec::new();
    image::tar::write(&tree, 0, &mut bytes).unwrap();
    replace(out, &bytes).unwrap();
    Digest::of(&bytes)
}

/// The sorted names in a directory; none if there is no such directory.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<_> = list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It ended with `code`, and its error has all of these words.
    #[track_caller]
    pub(crate) fn says(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        let at = self.stderr.find("error: ").unwrap_or_else(|| panic!("no error in {self}"));
        for word in words {
            assert!(self.stderr[at..].contains(word), "{word:?} is not in {self}");
        }
        assert!(!self.stderr.contains("panicked"), "{self}");
    }

    /// It ended well.
    #[track_caller]
    pub(crate) fn is_done(&self) {
        assert_eq!(self.code, Some(0), "{self}");
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
