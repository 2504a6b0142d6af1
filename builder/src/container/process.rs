//! What a container runs: command line, environment, working directory, user, stop signal.

use super::{
    files, resolve,
    source::ImageConfig,
    users::{self, Identity},
};
use crate::{
    error::{Doing, Error, Kind, Result},
    tree::{Node, NodeKind, Tree, TreePath},
};
use coracle_format::slot::Arch;
use coracle_manifests::{manifest::Container, values::Signal};
use std::{io::Read, path::Path};

/// Where programs are looked for if neither image nor manifest says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// SIGTERM.
const STOP_SIGNAL: u8 = 15;
/// What of an ELF header says for which processor the program is.
const ELF_HEADER_BYTES: usize = 20;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Program and arguments; at least one.
    pub args: Vec<String>,
    /// `NAME=value`, each name once.
    pub env: Vec<String>,
    /// Absolute.
    pub cwd: String,
    /// Who it runs as.
    pub user: Identity,
    /// Signal that asks it to stop.
    pub stop_signal: u8,
}

impl Process {
    /// The manifest's word before the image's. A working directory that is missing is made.
    pub fn new(declared: &Container, image: &ImageConfig, tree: &mut Tree) -> Result<Self> {
        let args = declared
            .command
            .clone()
            .unwrap_or_else(|| [image.entrypoint.as_slice(), image.cmd.as_slice()].concat());
        if args.first().is_none_or(String::is_empty) {
            return Err(Error::new(
                Kind::Usage,
                "neither the manifest nor the image says which program it runs",
            )
            .hint("add command = [\"PROGRAM\", \"ARGUMENT\"] to the container"));
        }
        let user = match &declared.user {
            Some(user) => users::identify(tree, &user.to_string())?,
            None => users::identify(tree, &image.user)?,
        };
        let cwd = match &declared.workdir {
            Some(path) => path.as_str().to_owned(),
            None => format!("/{}", TreePath::new(&image.workdir)?.as_str()),
        };
        files::directory(tree, &cwd)?;
        let env = environment(declared, image, &user);
        Ok(Self { args, env, cwd, user, stop_signal: stop_signal(declared, image)? })
    }

    /// Checks that the program is in the tree, may be executed, and is for `arch`. Programs in `covered` directories
    /// come with what is mounted there, and are not looked for.
    pub fn check_program(&self, tree: &Tree, arch: Arch, covered: &[String]) -> Result<()> {
        let program = self.args.first().map_or("", String::as_str);
        let candidates: Vec<String> = if program.starts_with('/') {
            vec![program.to_owned()]
        } else if program.contains('/') {
            vec![format!("{}/{program}", self.cwd)]
        } else {
            self.search_path().split(':').map(|dir| format!("{dir}/{program}")).collect()
        };
        for candidate in &candidates {
            if covered.iter().any(|dir| is_within(candidate, dir)) {
                return Ok(());
            }
            if let Some(node) = executable(tree, candidate)? {
                return check_machine(node, candidate, arch);
            }
        }
        Err(Error::new(Kind::Usage, format!("its program {program:?} is not in its root file system"))
            .hint(format!("looked for an executable file at {}", candidates.join(", "))))
    }

    fn search_path(&self) -> &str {
        self.env.iter().find_map(|line| line.strip_prefix("PATH=")).unwrap_or(PATH)
    }
}

/// Whether `path` is `dir` or below it.
pub(super) fn is_within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir.trim_end_matches('/')).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The image's variables with the manifest's over them, in a fixed order; then what every program may expect.
fn environment(declared: &Container, image: &ImageConfig, user: &Identity) -> Vec<String> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match out.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => out.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", PATH);
    set("HOME", &user.home);
    set("HOSTNAME", declared.hostname.as_str());
    for (name, value) in image.env.iter().filter_map(|line| line.split_once('=')) {
        set(name, value);
    }
    for (name, value) in &declared.env {
        set(name.as_str(), value);
    }
    out.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn stop_signal(declared: &Container, image: &ImageConfig) -> Result<u8> {
    if let Some(signal) = declared.stop_signal {
        return Ok(signal.0);
    }
    let text = image.stop_signal.as_str();
    if text.is_empty() {
        return Ok(STOP_SIGNAL);
    }
    let number = text.parse::<u8>().ok().filter(|number| (1..=64).contains(number));
    number.or_else(|| text.parse::<Signal>().ok().map(|signal| signal.0)).ok_or_else(|| {
        Error::new(Kind::Usage, format!("the image's stop signal {text:?} is not known"))
            .hint("name another: stop_signal = \"SIGTERM\"")
    })
}

/// The regular file that `path` leads to, if someone may execute it.
fn executable<'a>(tree: &'a Tree, path: &str) -> Result<Option<&'a Node>> {
    let at = resolve::follow(tree, &TreePath::new(path)?)?;
    let node = match tree.get(&at).map(|node| (node, &node.kind)) {
        Some((_, NodeKind::HardLink(target))) => tree.get(target),
        Some((node, NodeKind::File(_))) => Some(node),
        Some((_, NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::CharDevice { .. })) | None => None,
    };
    Ok(node.filter(|node| node.meta.mode & 0o111 != 0))
}

/// A program for another processor fails on the device with words that nobody understands.
fn check_machine(node: &Node, path: &str, arch: Arch) -> Result<()> {
    let NodeKind::File(content) = &node.kind else {
        return Ok(());
    };
    let mut header = Vec::new();
    let limit = u64::try_from(ELF_HEADER_BYTES).unwrap_or(u64::MAX);
    content.open()?.take(limit).read_to_end(&mut header).doing("read", Path::new(path))?;
    let [0x7f, b'E', b'L', b'F', class, order, .., low, high] = header.as_slice() else {
        return Ok(());
    };
    let machine: u16 = match arch {
        Arch::X86_64 => 62,
        Arch::Aarch64 => 183,
    };
    if header.len() < ELF_HEADER_BYTES
        || (*class, *order) == (2, 1) && u16::from_le_bytes([*low, *high]) == machine
    {
        return Ok(());
    }
    Err(Error::new(Kind::Usage, format!("its program {path} is not a 64-bit {} program", arch.name()))
        .hint("take an image for the device's architecture"))
}
