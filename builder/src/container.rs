//! From a declared container to what the device runs: a root file system, an OCI runtime configuration, and a line in
//! the device configuration.
//!
//! ```text
//! source     packages, OCI image or root file system → tree, and how its program is run
//! layers     image layers over each other
//! files      the manifest's own files over that
//! process    command line, environment, user
//! mounts     what is mounted, and the places for it
//! seccomp    which system calls are allowed
//! config     config.json
//! ```

pub mod config;
pub mod files;
pub mod fixture;
pub mod layers;
pub mod mounts;
pub mod process;
pub mod resolve;
pub mod seccomp;
pub mod source;
pub mod users;

use crate::{
    context::Context,
    error::Result,
    tree::{Meta, Node, NodeKind, Tree, TreePath},
};
use coracle_format::{device, slot::Arch};
use coracle_manifests::manifest::{Container, Log, Restart, Root, Source, Start};
use mounts::Mounts;
use process::Process;
use source::{Image, Wanted};

/// The directory in the device's root that has a directory for each container: `config.json` and `rootfs`.
pub const BUNDLES: &str = "usr/lib/coracle/containers";

/// What the device gets for one container.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// The container's part of the device's root file system, everything below [`BUNDLES`].
    pub tree: Tree,
    /// Its part of the device configuration.
    pub device: device::Container,
    /// What identifies the image it came from, if it came from one.
    pub image: Option<crate::digest::Digest>,
}

/// Compiles a declared container. `packages` are the trees of its packages in order, each as unpacked, if that is its
/// source. Notes for the user go to the report.
pub fn compile(ctx: &Context, declared: &Container, packages: Vec<Tree>, arch: Arch) -> Result<Bundle> {
    let image = match &declared.source {
        Source::Packages(_) => source::from_packages(packages)?,
        Source::Oci { path, tag } => {
            source::from_image(ctx, &path.path, Wanted { arch, tag: tag.as_deref() })?
        }
        Source::Rootfs(input) => source::from_rootfs(ctx, &input.path)?,
    };
    let (bundle, notes) = bundle(ctx, declared, image, arch)?;
    for note in notes {
        ctx.report.info(format!("container {}: {note}", declared.name.as_str()));
    }
    Ok(bundle)
}

/// The same with the source resolved, and the notes returned.
fn bundle(ctx: &Context, declared: &Container, image: Image, arch: Arch) -> Result<(Bundle, Vec<String>)> {
    let Image { mut tree, config: image, digest, mut notes } = image;
    add_names(&mut tree, declared)?;
    files::put_all(&ctx.cache, &mut tree, &declared.files)?;
    let process = Process::new(declared, &image, &mut tree)?;
    let mut mounts = Mounts::new(declared, &image, &process, &mut tree)?;
    process.check_program(&tree, arch, &mounts.covered)?;
    notes.append(&mut mounts.notes);
    let volumes = std::mem::take(&mut mounts.volumes);
    let stop_signal = process.stop_signal;
    let config = config::config(declared, &process, mounts, arch)?;
    let mut out = Tree::new();
    let dir = format!("{BUNDLES}/{}", declared.name.as_str());
    out.merge(&TreePath::new(&format!("{dir}/rootfs"))?, &tree)?;
    out.file(&format!("{dir}/config.json"), 0o644, config)?;
    Ok((Bundle { tree: out, device: device(declared, volumes, stop_signal), image: digest }, notes))
}

/// `/etc/hostname` and `/etc/hosts`, unless the image has entries of its own. The manifest's files come after.
fn add_names(tree: &mut Tree, declared: &Container) -> Result<()> {
    let name = declared.hostname.as_str();
    let hosts = format!("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.1.1 {name}\n");
    let has_hosts = match tree
        .get(&resolve::follow(tree, &TreePath::new("etc/hosts")?)?)
        .map(|node| &node.kind)
    {
        Some(NodeKind::File(content)) => !content.is_empty(),
        Some(NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. })
        | None => false,
    };
    let file = |text: &str| Node { meta: Meta::root(0o644), kind: NodeKind::File(text.into()) };
    if !has_hosts {
        files::put(tree, "etc/hosts", file(&hosts))?;
    }
    files::put(tree, "etc/hostname", file(&format!("{name}\n")))
}

fn device(declared: &Container, volumes: Vec<device::Volume>, stop_signal: u8) -> device::Container {
    let name = declared.name.as_str();
    device::Container {
        name: name.to_owned(),
        bundle: format!("/{BUNDLES}/{name}"),
        root: match declared.root {
            Root::ReadOnly => device::ContainerRoot::ReadOnly,
            Root::Ephemeral => device::ContainerRoot::Ephemeral,
        },
        restart: match declared.restart {
            Restart::Always => device::Restart::Always,
            Restart::OnFailure => device::Restart::OnFailure,
            Restart::Never => device::Restart::Never,
        },
        backoff_ms: (declared.backoff.first.0, declared.backoff.longest.0),
        log: match declared.log {
            Log::Console => device::Log::Console,
            Log::File { max_size, files } => device::Log::File { max_bytes: max_size.0, files },
            Log::Discard => device::Log::Discard,
        },
        volumes,
        // Decided where the image is put together.
        needs_system: true,
        needs_state: declared.needs_state(),
        needs_network: declared.needs_network,
        after_commit: declared.start == Start::AfterCommit,
        stop_signal,
        stop_seconds: declared.stop_timeout.seconds(),
    }
}

#[cfg(test)]
mod tests;
