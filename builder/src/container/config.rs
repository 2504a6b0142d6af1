//! `config.json` of the OCI runtime specification: written the same way every time, keys in a fixed order.

use super::{
    BUNDLES,
    mounts::Mounts,
    process::Process,
    seccomp::{self, Profile},
};
use crate::{
    error::{Doing, Error, Kind, Result},
    tree::Content,
};
use coracle_format::slot::Arch;
use coracle_manifests::manifest::{Container, NetworkMode, Root, SeccompProfile};
use oci_spec::runtime::LinuxSeccomp;
use serde_json::{Map, Value, json};
use std::{fs, path::Path};

/// The version of the specification that is written.
const VERSION: &str = "1.0.2";
/// Largest seccomp profile of a manifest's own.
const PROFILE_BYTES_MAX: u64 = 1 << 20;
/// Open files, as long as the program does not ask for more, and the most it can ask for.
const OPEN_FILES: (u64, u64) = (65_536, 524_288);
/// Containers go before the device's own services when memory runs out.
const OOM_SCORE: i32 = 300;
/// What the kernel gives a control group.
const CPU_WEIGHT: u16 = 100;
/// What images expect to have by default: see capabilities(7).
const USUAL_CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];
/// What tells about the machine rather than the container, or reaches it.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// Character devices: null, zero, full, tty, random, urandom, console, ptmx, and the container's own terminals.
const DEVICES: [(u32, Option<u32>); 9] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// The file's bytes.
pub fn config(declared: &Container, process: &Process, mounts: Mounts, arch: Arch) -> Result<Content> {
    let capabilities: Vec<String> =
        declared.capabilities.iter().map(|capability| capability.name()).collect();
    let filter = Filter::new(declared, &capabilities, arch)?;
    let name = declared.name.as_str();
    let mut out = Map::new();
    out.insert("ociVersion".to_owned(), VERSION.into());
    out.insert("process".to_owned(), process_section(declared, process, &capabilities));
    out.insert("root".to_owned(), root_section(declared));
    out.insert("hostname".to_owned(), declared.hostname.as_str().into());
    out.insert("mounts".to_owned(), mounts.list.into());
    if let Some(program) = filter.program {
        out.insert("annotations".to_owned(), json!({ seccomp::BPF_ANNOTATION: program }));
    }
    let mut linux = json!({
        "namespaces": namespaces(declared),
        "resources": resources(declared),
        "cgroupsPath": format!("/coracle/{name}"),
        "rootfsPropagation": "rprivate",
        "maskedPaths": MASKED,
        "readonlyPaths": READ_ONLY,
    });
    if let (Some(section), Value::Object(linux)) = (filter.section, &mut linux) {
        linux.insert("seccomp".to_owned(), section);
    }
    out.insert("linux".to_owned(), linux);
    let text = serde_json::to_vec(&Value::Object(out))
        .map_err(|source| Error::new(Kind::Internal, "cannot write config.json").because(source))?;
    Ok(text.into())
}

fn process_section(declared: &Container, process: &Process, capabilities: &[String]) -> Value {
    let user = &process.user;
    json!({
        "terminal": false,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": user.groups},
        "args": process.args,
        "env": process.env,
        "cwd": process.cwd,
        "capabilities": capability_sets(capabilities, user.uid),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": OPEN_FILES.1, "soft": OPEN_FILES.0}],
        "noNewPrivileges": declared.no_new_privileges,
        "oomScoreAdj": OOM_SCORE,
    })
}

/// Root has the whole set. Another user has what goes beyond the usual set, which nobody gives without need, and may
/// bind low ports, as everywhere containers run.
fn capability_sets(capabilities: &[String], uid: u32) -> Value {
    if uid == 0 {
        return json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    }
    let usual = |name: &str| name != "CAP_NET_BIND_SERVICE" && USUAL_CAPABILITIES.contains(&name);
    let own: Vec<_> = capabilities.iter().filter(|name| !usual(name)).collect();
    json!({"bounding": capabilities, "effective": own, "inheritable": own, "permitted": own, "ambient": own})
}

fn root_section(declared: &Container) -> Value {
    let name = declared.name.as_str();
    match declared.root {
        Root::ReadOnly => json!({"path": format!("/{BUNDLES}/{name}/rootfs"), "readonly": true}),
        Root::Ephemeral => {
            json!({"path": format!("/run/coracle/containers/{name}/rootfs"), "readonly": false})
        }
    }
}

fn namespaces(declared: &Container) -> Vec<Value> {
    let network = match declared.network {
        NetworkMode::Host => None,
        NetworkMode::None => Some("network"),
    };
    ["pid", "ipc", "uts", "mount", "cgroup"]
        .into_iter()
        .chain(network)
        .map(|kind| json!({"type": kind}))
        .collect()
}

fn resources(declared: &Container) -> Value {
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    devices.extend(DEVICES.into_iter().map(|(major, minor)| match minor {
        Some(minor) => json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        None => json!({"allow": true, "type": "c", "major": major, "access": "rwm"}),
    }));
    let memory = declared.memory.0;
    let mut out = json!({
        "devices": devices,
        // Swap is counted with memory: the same number means none.
        "memory": {"limit": memory, "swap": memory},
        "pids": {"limit": declared.pids},
    });
    if declared.cpu_weight != CPU_WEIGHT {
        out["unified"] = json!({"cpu.weight": declared.cpu_weight.to_string()});
    }
    out
}

/// The system call filter: as a section of the file, or as a program with a section that only says no.
struct Filter {
    section: Option<Value>,
    program: Option<String>,
}

impl Filter {
    fn new(declared: &Container, capabilities: &[String], arch: Arch) -> Result<Self> {
        match &declared.seccomp {
            SeccompProfile::Unconfined => Ok(Self { section: None, program: None }),
            SeccompProfile::Default => {
                let profile = Profile::new(arch, capabilities)?;
                Ok(Self { section: Some(seccomp::closed()), program: Some(profile.annotation()?) })
            }
            SeccompProfile::File(input) => {
                Ok(Self { section: Some(own_profile(&input.path)?), program: None })
            }
        }
    }
}

/// A profile of the manifest's own, which the runtime compiles.
fn own_profile(path: &Path) -> Result<Value> {
    let bytes = fs::metadata(path).doing("find seccomp profile", path)?.len();
    if bytes > PROFILE_BYTES_MAX {
        let text = format!("seccomp profile {} is larger than {PROFILE_BYTES_MAX} bytes", path.display());
        return Err(Error::new(Kind::Usage, text));
    }
    let text = fs::read(path).doing("read seccomp profile", path)?;
    let bad = |source| {
        Error::new(Kind::Usage, format!("{} is not a seccomp profile", path.display()))
            .because(source)
            .hint("it must be the linux.seccomp object of the OCI runtime specification")
    };
    let profile: LinuxSeccomp = serde_json::from_slice(&text).map_err(bad)?;
    serde_json::to_value(profile).map_err(bad)
}
