//! From the manifest as written to the manifest as the builder reads it. The rules have passed before.

mod update;

use crate::{
    manifest::{
        Arch, Container, Debian, File, FileContent, Image, InputPath, Interface, Kernel, KernelSource, Log,
        Manifest, Network, Root, SeccompProfile, Source, System, Volume,
    },
    rules,
    schema::{
        ContainerTable, FileTable, InterfaceTable, KernelTable, LogTable, LogWord, LogWritten, ManifestTable,
        NetworkTable, SysctlValue, SystemTable, VolumeTable,
    },
    values::{Bad, Capability, GuestPath, HostPath, Seccomp, User},
};
use std::path::Path;

/// Directories in memory that a container with a read-only root has.
pub(crate) const USUAL_TMPFS: [&str; 4] = ["/dev/shm", "/run", "/tmp", "/var/tmp"];
/// Those that a container with an ephemeral root has: elsewhere it writes to its root.
const EPHEMERAL_TMPFS: [&str; 1] = ["/dev/shm"];

/// The manifest with defaults filled in and paths resolved against the directory of `file`.
pub(crate) fn resolve(written: ManifestTable, file: &Path) -> Result<Manifest, Bad> {
    let directory = file.parent().unwrap_or_else(|| Path::new(""));
    let arch = written.image.arch;
    let containers = written.container.into_iter();
    Ok(Manifest {
        file: file.to_owned(),
        image: Image { name: written.image.name, version: written.image.version, arch },
        debian: Debian {
            suite: written.debian.suite,
            mirror: written.debian.mirror,
            security_mirror: written.debian.security_mirror,
            security: written.debian.security,
        },
        kernel: resolve_kernel(written.kernel, arch, directory)?,
        runtime: written.runtime.flavour,
        network: resolve_network(written.network),
        ntp: written.clock.ntp,
        slot_size: written.disk.slot_size,
        system: resolve_system(written.system),
        containers: containers
            .map(|container| resolve_container(container, directory))
            .collect::<Result<_, _>>()?,
        files: resolve_files(written.file, directory)?,
        update: written.update.as_ref().map(|update| update::resolve_update(update, directory)),
        checks: written.health.into_iter().map(update::resolve_check).collect::<Result<_, _>>()?,
        control: written.control.map(|control| update::resolve_control(control, directory)),
    })
}

fn input(path: &HostPath, directory: &Path) -> InputPath {
    InputPath { written: path.as_str().to_owned(), path: path.resolve(directory) }
}

fn resolve_kernel(kernel: KernelTable, arch: Arch, directory: &Path) -> Result<Kernel, Bad> {
    let source = match (kernel.image, kernel.package) {
        (Some(image), _) => KernelSource::Own {
            image: input(&image, directory),
            modules: kernel.image_modules.map(|path| input(&path, directory)),
        },
        (None, Some(package)) => KernelSource::Package(package),
        (None, None) => KernelSource::Package(format!("linux-image-cloud-{}", arch.debian()).parse()?),
    };
    let mut hardware = kernel.hardware;
    hardware.sort();
    hardware.dedup();
    Ok(Kernel {
        source,
        hardware,
        modules: kernel.modules,
        args: kernel.args.map(|args| args.as_str().to_owned()).unwrap_or_default(),
    })
}

fn resolve_network(network: NetworkTable) -> Network {
    let mut interfaces = network.interface;
    if interfaces.is_empty() {
        interfaces.push(InterfaceTable::default());
    }
    let interfaces = interfaces.into_iter().map(|interface| Interface {
        select: interface.r#match,
        ipv4: interface.ipv4,
        ipv4_gateway: interface.ipv4_gateway,
        ipv6: interface.ipv6,
        ipv6_gateway: interface.ipv6_gateway,
        mtu: interface.mtu,
    });
    Network { interfaces: interfaces.collect(), dns: network.dns, search: network.search }
}

fn resolve_system(system: SystemTable) -> System {
    let sysctl = system.sysctl.into_iter().map(|(name, value)| match value {
        SysctlValue::Number(number) => (name, number.to_string()),
        SysctlValue::Text(text) => (name, text),
    });
    System {
        hostname: system.hostname,
        on_failure: system.on_failure,
        watchdog: system.watchdog,
        stop_timeout: system.stop_timeout,
        sysctl: sysctl.collect(),
    }
}

fn resolve_container(written: ContainerTable, directory: &Path) -> Result<Container, Bad> {
    let source = match (written.packages, written.oci, written.rootfs) {
        (Some(packages), _, _) => Source::Packages(packages),
        (None, Some(oci), _) => Source::Oci { path: input(&oci, directory), tag: written.tag },
        (None, None, Some(rootfs)) => Source::Rootfs(input(&rootfs, directory)),
        (None, None, None) => return Err(rules::no_source(&written.name)),
    };
    let volumes: Vec<_> = written
        .volumes
        .into_iter()
        .map(|volume| resolve_volume(volume, written.name.as_str(), written.user.as_ref()))
        .collect();
    let hostname = match written.hostname {
        Some(hostname) => hostname,
        None => written.name.as_str().parse()?,
    };
    Ok(Container {
        source,
        command: written.command,
        env: written.env,
        workdir: written.workdir,
        user: written.user,
        ports: written.ports,
        tmpfs: resolve_tmpfs(written.tmpfs, written.root, &volumes)?,
        volumes,
        root: written.root,
        restart: written.restart,
        backoff: written.backoff,
        log: resolve_log(&written.log),
        memory: written.memory,
        pids: written.pids,
        cpu_weight: written.cpu_weight,
        capabilities: Capability::resolve(&written.capabilities.add, &written.capabilities.drop),
        seccomp: resolve_seccomp(&written.seccomp, directory),
        no_new_privileges: written.no_new_privileges,
        network: written.network,
        needs_network: !written.needs.is_empty(),
        start: written.start,
        hostname,
        stop_signal: written.stop_signal,
        stop_timeout: written.stop_timeout,
        files: resolve_files(written.file, directory)?,
        name: written.name,
    })
}

fn resolve_volume(volume: VolumeTable, container: &str, user: Option<&User>) -> Volume {
    let (uid, gid) = match user {
        Some(User::Ids { uid, gid }) => (Some(*uid), *gid),
        Some(User::Names { .. }) | None => (None, None),
    };
    Volume {
        device_path: format!("/state/volumes/{container}/{}", volume.name),
        name: volume.name,
        path: volume.path,
        uid: volume.uid.or(uid),
        gid: volume.gid.or(gid),
        mode: volume.mode,
    }
}

fn resolve_tmpfs(mut tmpfs: Vec<GuestPath>, root: Root, volumes: &[Volume]) -> Result<Vec<GuestPath>, Bad> {
    let usual: &[&str] = match root {
        Root::ReadOnly => &USUAL_TMPFS,
        Root::Ephemeral => &EPHEMERAL_TMPFS,
    };
    for path in usual {
        if !volumes.iter().any(|volume| volume.path.as_str() == *path) {
            tmpfs.push(path.parse()?);
        }
    }
    tmpfs.sort();
    tmpfs.dedup();
    Ok(tmpfs)
}

fn resolve_log(log: &LogWritten) -> Log {
    let file = |table: &LogTable| Log::File { max_size: table.max_size, files: table.files };
    match log {
        LogWritten::Word(LogWord::Console) => Log::Console,
        LogWritten::Word(LogWord::Discard) => Log::Discard,
        LogWritten::Word(LogWord::File) => file(&LogTable::default()),
        LogWritten::Table(table) => file(table),
    }
}

fn resolve_seccomp(seccomp: &Seccomp, directory: &Path) -> SeccompProfile {
    match seccomp {
        Seccomp::Default => SeccompProfile::Default,
        Seccomp::Unconfined => SeccompProfile::Unconfined,
        Seccomp::File(path) => SeccompProfile::File(input(path, directory)),
    }
}

fn resolve_files(files: Vec<FileTable>, directory: &Path) -> Result<Vec<File>, Bad> {
    let resolve = |file: FileTable| {
        let content = match (file.source, file.content) {
            (Some(source), _) => FileContent::Source(input(&source, directory)),
            (None, Some(text)) => FileContent::Text(text),
            (None, None) => return Err(rules::no_content()),
        };
        Ok(File { path: file.path, content, mode: file.mode, uid: file.uid, gid: file.gid })
    };
    files.into_iter().map(resolve).collect()
}
