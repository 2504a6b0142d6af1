//! What is mounted in a container beside its root, and the places in the root where that happens: the root is read-only
//! on the device, so every mount point is in it from the start.

use super::{files, process::Process, source::ImageConfig};
use crate::{
    error::Result,
    tree::{Meta, Node, NodeKind, Tree, TreePath},
};
use coracle_format::device;
use coracle_manifests::manifest::{Container, NetworkMode, Root};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The directory in which the device's network service keeps `resolv.conf`. The directory is bound, not the file: it is
/// replaced whenever a lease changes, and a bound file would stay what it was.
pub const NETWORK_DIR: &str = "/run/coracle/network";
/// Room in `/dev/shm`, as other runtimes give it.
const SHM_BYTES: u64 = 64 << 20;

/// The mounts of one container.
#[derive(Debug, Default)]
pub struct Mounts {
    /// For `config.json`, in order.
    pub list: Vec<Value>,
    /// Directories on `state` to make before the start.
    pub volumes: Vec<device::Volume>,
    /// Where something is mounted that hides what the root has there.
    pub covered: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

impl Mounts {
    /// Decides the mounts and makes their places in `tree`.
    pub fn new(
        declared: &Container,
        image: &ImageConfig,
        process: &Process,
        tree: &mut Tree,
    ) -> Result<Self> {
        let mut mounts = Self { list: kernel(), ..Self::default() };
        for place in ["/proc", "/dev", "/sys"] {
            files::directory(tree, place)?;
        }
        // A parent is mounted before what is mounted in it.
        let mut places: BTreeMap<TreePath, Place<'_>> = BTreeMap::new();
        for path in &declared.tmpfs {
            if path.as_str() != "/dev/shm" {
                places.insert(TreePath::new(path.as_str())?, Place::Memory);
            }
        }
        mounts.image_volumes(declared, image, &mut places)?;
        for volume in &declared.volumes {
            places.insert(TreePath::new(volume.path.as_str())?, Place::Volume(volume));
        }
        for (path, place) in places {
            match place {
                Place::Memory => mounts.memory(declared, process, tree, &path)?,
                Place::Volume(volume) => mounts.volume(volume, process, tree)?,
            }
        }
        // A list of name servers of the manifest's own stays.
        let own = declared.files.iter().any(|file| file.path.as_str() == "/etc/resolv.conf");
        if declared.network == NetworkMode::Host && !own {
            mounts.name_servers(tree)?;
        }
        Ok(mounts)
    }

    /// Directories in which an image keeps data. Declared as a volume they live on `state`; otherwise what is written
    /// there is gone at the next start.
    fn image_volumes(
        &mut self,
        declared: &Container,
        image: &ImageConfig,
        places: &mut BTreeMap<TreePath, Place<'_>>,
    ) -> Result<()> {
        for volume in &image.volumes {
            let path = TreePath::new(volume)?;
            let text = path.to_string();
            let kept =
                declared.volumes.iter().any(|volume| volume.path.is_within(&text) || is_in(volume, &text));
            if path.is_root() || kept {
                continue;
            }
            self.notes
                .push(format!("what it writes to {text} is in memory only: declare a volume to keep it"));
            if declared.root == Root::ReadOnly {
                places.insert(path, Place::Memory);
            }
        }
        Ok(())
    }

    /// A directory in memory. It has the mode and contents that the root's own has.
    fn memory(
        &mut self,
        declared: &Container,
        process: &Process,
        tree: &mut Tree,
        path: &TreePath,
    ) -> Result<()> {
        let missing = tree.get(&super::resolve::follow(tree, path)?).is_none();
        let at = files::directory(tree, path.as_str())?;
        let mut meta = tree.get(&at).map_or_else(|| Meta::root(0o755), |node| node.meta.clone());
        if missing && matches!(path.as_str(), "tmp" | "var/tmp") {
            meta.mode = 0o1777;
        }
        // It is there to be written to: by the program, unless the image says by whom.
        if meta.uid == 0 && meta.mode & 0o002 == 0 {
            meta = meta.owned(process.user.uid, process.user.gid);
        }
        let mut options = vec!["nosuid".to_owned(), "nodev".to_owned(), format!("mode={:o}", meta.mode)];
        if (meta.uid, meta.gid) != (0, 0) {
            options.extend([format!("uid={}", meta.uid), format!("gid={}", meta.gid)]);
        }
        // What is in it counts towards the memory limit: leave room for the program.
        options.push(format!("size={}", declared.memory.0 / 2));
        let below = format!("{}/", at.as_str());
        if tree.iter().any(|(inside, _)| inside.as_str().starts_with(&below)) {
            options.push("tmpcopyup".to_owned());
        }
        let path = path.to_string();
        self.list.push(json!({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}));
        self.covered.push(path);
        Ok(())
    }

    /// A directory on `state`. One that the root has gives its owner, as long as the manifest does not.
    fn volume(
        &mut self,
        volume: &coracle_manifests::manifest::Volume,
        process: &Process,
        tree: &mut Tree,
    ) -> Result<()> {
        let path = volume.path.as_str();
        let at = super::resolve::follow(tree, &TreePath::new(path)?)?;
        let found = tree.get(&at).map(|node| (node.meta.uid, node.meta.gid)).filter(|owner| *owner != (0, 0));
        let (uid, gid) = found.unwrap_or((process.user.uid, process.user.gid));
        let at = files::directory(tree, path)?;
        let below = format!("{}/", at.as_str());
        if tree.iter().any(|(inside, _)| inside.as_str().starts_with(&below)) {
            self.notes.push(format!("volume {} hides what the image has at {path}", volume.name.as_str()));
        }
        self.list.push(json!({
            "destination": path,
            "type": "bind",
            "source": volume.device_path,
            "options": ["bind", "rw", "nosuid", "nodev"],
        }));
        self.volumes.push(device::Volume {
            path: volume.device_path.clone(),
            uid: volume.uid.unwrap_or(uid),
            gid: volume.gid.unwrap_or(gid),
            mode: u32::from(volume.mode.0),
        });
        self.covered.push(path.to_owned());
        Ok(())
    }

    fn name_servers(&mut self, tree: &mut Tree) -> Result<()> {
        files::directory(tree, NETWORK_DIR)?;
        let target = format!("{NETWORK_DIR}/resolv.conf");
        let link = Node { meta: Meta::root(0o777), kind: NodeKind::Symlink(target) };
        files::put(tree, "etc/resolv.conf", link)?;
        self.list.push(json!({
            "destination": NETWORK_DIR,
            "type": "bind",
            "source": NETWORK_DIR,
            "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
        }));
        Ok(())
    }
}

/// What is mounted at a place of the manifest's or the image's choice.
enum Place<'a> {
    Memory,
    Volume(&'a coracle_manifests::manifest::Volume),
}

fn is_in(volume: &coracle_manifests::manifest::Volume, path: &str) -> bool {
    super::process::is_within(path, volume.path.as_str())
}

/// The kernel's own file systems.
fn kernel() -> Vec<Value> {
    let mount = |at: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": source, "options": options});
    let shm = format!("size={SHM_BYTES}");
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ]
}
