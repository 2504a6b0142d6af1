use super::*;
use crate::{cache::Cache, error::Kind, report::Report, tree::Content};
use coracle_manifests::Manifest;
use serde_json::Value;
use std::{env, path::Path};

const ELF_X86_64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";
const ELF_AARCH64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";

struct Bench {
    _dir: tempfile::TempDir,
    ctx: Context,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Context::new(Cache::open(dir.path()).unwrap(), Report::silent());
    Bench { _dir: dir, ctx }
}

/// The container of a manifest with `lines` in it.
fn declared(lines: &str) -> Container {
    let head = "[image]\nname = \"t\"\nversion = \"1\"\narch = \"x86_64\"\n[[container]]\nname = \"web\"\n";
    let parsed: Result<Manifest, _> =
        coracle_manifests::parse(&format!("{head}{lines}"), Path::new("t.toml"));
    parsed.unwrap().containers.remove(0)
}

fn packaged(lines: &str) -> Container {
    declared(&format!("packages = [\"busybox-static\"]\n{lines}"))
}

fn busybox(elf: &[u8]) -> Tree {
    let mut tree = Tree::new();
    tree.file("bin/busybox", 0o755, Content::from(elf.to_vec())).unwrap();
    tree
}

fn compiled(lines: &str) -> (Tree, Value, device::Container) {
    let bundle = compile(&bench().ctx, &packaged(lines), vec![busybox(ELF_X86_64)], Arch::X86_64).unwrap();
    let config = config_of(&bundle.tree);
    (bundle.tree, serde_json::from_str(&config).unwrap(), bundle.device)
}

fn config_of(tree: &Tree) -> String {
    let node = tree.get(&TreePath::new(&format!("{BUNDLES}/web/config.json")).unwrap()).unwrap();
    let NodeKind::File(content) = &node.kind else { panic!("config.json is a file") };
    String::from_utf8(content.read().unwrap()).unwrap()
}

fn in_rootfs<'a>(tree: &'a Tree, path: &str) -> Option<&'a Node> {
    tree.get(&TreePath::new(&format!("{BUNDLES}/web/rootfs/{path}")).unwrap())
}

fn mount<'a>(config: &'a Value, at: &str) -> &'a Value {
    let mounts = config["mounts"].as_array().unwrap();
    mounts
        .iter()
        .find(|mount| mount["destination"] == at)
        .unwrap_or_else(|| panic!("nothing mounted at {at}"))
}

const HELLO: &str = "command = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\"]\nmemory = \"32 MiB\"\n";

#[test]
fn the_configuration_of_a_simple_container_is_the_recorded_one() {
    for (arch, name, elf) in [(Arch::X86_64, "x86_64", ELF_X86_64), (Arch::Aarch64, "aarch64", ELF_AARCH64)] {
        let bundle = compile(&bench().ctx, &packaged(HELLO), vec![busybox(elf)], arch).unwrap();
        let value: Value = serde_json::from_str(&config_of(&bundle.tree)).unwrap();
        let config = format!("{value:#}\n");
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/container/golden/{name}.json"));
        if env::var_os("CORACLE_UPDATE_GOLDEN").is_some() {
            crate::files::replace(&golden, config.as_bytes()).unwrap();
        }
        let recorded = std::fs::read_to_string(&golden).unwrap();
        assert!(config == recorded, "{name}: run with CORACLE_UPDATE_GOLDEN=1 and review the difference");
    }
}

#[test]
fn the_configuration_is_what_the_runtime_specification_says() {
    let lines =
        "command = [\"busybox\"]\nvolumes = [{ name = \"data\", path = \"/data\" }]\nnetwork = \"none\"\n";
    let (_, config, _) = compiled(lines);
    let typed: oci_spec::runtime::Spec = serde_json::from_value(config).unwrap();
    let kinds: Vec<_> = typed
        .linux()
        .as_ref()
        .unwrap()
        .namespaces()
        .as_ref()
        .unwrap()
        .iter()
        .map(oci_spec::runtime::LinuxNamespace::typ)
        .collect();
    assert!(kinds.contains(&oci_spec::runtime::LinuxNamespaceType::Network));
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    assert_eq!(compiled(HELLO).0.identity(), compiled(HELLO).0.identity());
}

#[test]
fn every_mount_point_is_a_directory_of_the_read_only_root() {
    let lines = "command = [\"busybox\"]\ntmpfs = [\"/var/cache/web\"]\nvolumes = [{ name = \"data\", path = \"/var/run/data\" }]\n";
    let (tree, config, _) = compiled(lines);
    for mount in config["mounts"].as_array().unwrap() {
        let at = mount["destination"].as_str().unwrap();
        if ["/dev/", "/sys/"].iter().any(|kernel| at.starts_with(kernel)) {
            continue;
        }
        let rootfs = TreePath::new(&format!("{BUNDLES}/web/rootfs")).unwrap();
        let at = match at.strip_prefix("/var/run") {
            Some(rest) => format!("/run{rest}"),
            None => at.to_owned(),
        };
        let node = tree.get(&rootfs.join(&TreePath::new(&at).unwrap()));
        assert!(matches!(node.map(|node| &node.kind), Some(NodeKind::Dir)), "{at}");
    }
}

#[test]
fn directories_in_memory_belong_to_the_program_and_keep_what_the_image_has_in_them() {
    let mut package = busybox(ELF_X86_64);
    package.file("var/lib/web/seed", 0o644, "x").unwrap();
    let lines =
        "command = [\"busybox\"]\nuser = \"33:33\"\nmemory = \"64 MiB\"\ntmpfs = [\"/var/lib/web\"]\n";
    let bundle = compile(&bench().ctx, &packaged(lines), vec![package], Arch::X86_64).unwrap();
    let config: Value = serde_json::from_str(&config_of(&bundle.tree)).unwrap();
    let options = &mount(&config, "/var/lib/web")["options"];
    let expected = ["nosuid", "nodev", "mode=755", "uid=33", "gid=33", "size=33554432", "tmpcopyup"];
    assert_eq!(*options, serde_json::json!(expected));
    let options = &mount(&config, "/tmp")["options"];
    assert_eq!(*options, serde_json::json!(["nosuid", "nodev", "mode=1777", "size=33554432"]));
}

#[test]
fn a_volume_is_owned_by_whom_the_image_says_else_by_the_program() {
    let mut package = busybox(ELF_X86_64);
    let meta = Meta::root(0o750).owned(999, 998);
    package.insert(TreePath::new("data").unwrap(), Node { meta, kind: NodeKind::Dir }).unwrap();
    package.file("etc/passwd", 0o644, "me:x:7:8::/:\n").unwrap();
    let lines = "command = [\"busybox\"]\nuser = \"me\"\nvolumes = [{ name = \"a\", path = \"/data\" }, { name = \"b\", path = \"/srv/b\", mode = \"0700\" }, { name = \"c\", path = \"/srv/c\", uid = 1 }]\n";
    let bundle = compile(&bench().ctx, &packaged(lines), vec![package], Arch::X86_64).unwrap();
    let owners: Vec<_> = bundle
        .device
        .volumes
        .iter()
        .map(|volume| (&*volume.path, volume.uid, volume.gid, volume.mode))
        .collect();
    assert_eq!(
        owners,
        [
            ("/state/volumes/web/a", 999, 998, 0o755),
            ("/state/volumes/web/b", 7, 8, 0o700),
            ("/state/volumes/web/c", 1, 8, 0o755)
        ]
    );
    assert!(bundle.device.needs_state);
}

#[test]
fn a_program_that_is_missing_or_for_another_machine_is_an_error_at_build_time() {
    let run = |lines: &str, elf| compile(&bench().ctx, &packaged(lines), vec![busybox(elf)], Arch::X86_64);
    let error = run("command = [\"nginx\"]\n", ELF_X86_64).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.hint_text().unwrap().contains("/usr/sbin/nginx"), "{error:?}");
    let error = run("command = [\"/bin/busybox\"]\n", ELF_AARCH64).unwrap_err();
    assert!(error.to_string().contains("not a 64-bit x86_64 program"), "{error:?}");
    run("command = [\"/bin/busybox\"]\n", ELF_X86_64).unwrap();
    run("command = [\"/data/tool\"]\nvolumes = [{ name = \"d\", path = \"/data\" }]\n", ELF_X86_64).unwrap();
}

#[test]
fn the_manifest_speaks_before_the_image_and_unmodified_images_run_as_they_say() {
    let mut tree = busybox(ELF_X86_64);
    tree.file("entrypoint.sh", 0o755, "#!/bin/sh\n").unwrap();
    tree.file("etc/passwd", 0o644, "redis:x:999:998::/data:\n").unwrap();
    let image = Image {
        tree,
        config: source::ImageConfig {
            entrypoint: vec!["/entrypoint.sh".to_owned()],
            cmd: vec!["server".to_owned()],
            env: vec!["A=1".to_owned(), "PATH=/bin".to_owned(), "broken".to_owned()],
            workdir: "/work".to_owned(),
            user: "redis".to_owned(),
            volumes: vec!["/data".to_owned(), "/kept/".to_owned()],
            stop_signal: "SIGQUIT".to_owned(),
            ..source::ImageConfig::default()
        },
        ..Image::default()
    };
    let lines = "oci = \"x.tar\"\nenv = { A = \"2\" }\nvolumes = [{ name = \"k\", path = \"/kept\" }]\n";
    let (made, notes) = bundle(&bench().ctx, &declared(lines), image.clone(), Arch::X86_64).unwrap();
    let config: Value = serde_json::from_str(&config_of(&made.tree)).unwrap();
    let process = &config["process"];
    assert_eq!(process["args"], serde_json::json!(["/entrypoint.sh", "server"]));
    assert_eq!(process["env"], serde_json::json!(["PATH=/bin", "HOME=/data", "HOSTNAME=web", "A=2"]));
    assert_eq!(process["user"], serde_json::json!({"uid": 999, "gid": 998, "additionalGids": []}));
    assert_eq!(process["cwd"], "/work");
    assert!(in_rootfs(&made.tree, "work").is_some());
    assert_eq!(made.device.stop_signal, 3);
    assert_eq!(mount(&config, "/data")["type"], "tmpfs");
    assert_eq!(mount(&config, "/kept")["type"], "bind");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let lines = "oci = \"x.tar\"\ncommand = [\"/bin/busybox\"]\nuser = \"0\"\nworkdir = \"/srv\"\nstop_signal = \"SIGINT\"\n";
    let (made, _) = bundle(&bench().ctx, &declared(lines), image, Arch::X86_64).unwrap();
    let config: Value = serde_json::from_str(&config_of(&made.tree)).unwrap();
    assert_eq!(config["process"]["args"], serde_json::json!(["/bin/busybox"]));
    assert_eq!((config["process"]["cwd"].as_str(), made.device.stop_signal), (Some("/srv"), 2));
}

#[test]
fn a_container_without_a_program_says_what_to_add() {
    let error = bundle(&bench().ctx, &declared("oci = \"x\"\n"), Image::default(), Arch::X86_64).unwrap_err();
    assert!(error.hint_text().unwrap().contains("command ="));
}

#[test]
fn a_user_other_than_root_gets_no_usual_capability_but_low_ports() {
    let (_, config, _) =
        compiled("command = [\"busybox\"]\nuser = \"33\"\ncapabilities = { add = [\"SYS_TIME\"] }\n");
    let sets = &config["process"]["capabilities"];
    assert_eq!(sets["ambient"], serde_json::json!(["CAP_NET_BIND_SERVICE", "CAP_SYS_TIME"]));
    assert_eq!(sets["effective"], sets["ambient"]);
    assert_eq!(sets["bounding"].as_array().unwrap().len(), 15);
    let (_, config, _) = compiled("command = [\"busybox\"]\n");
    let sets = &config["process"]["capabilities"];
    assert_eq!((sets["effective"].as_array().unwrap().len(), sets.get("ambient")), (14, None));
}

#[test]
fn seccomp_is_precompiled_by_default_and_the_authors_own_is_passed_on() {
    let (_, config, _) = compiled("command = [\"busybox\"]\n");
    assert!(
        config["annotations"][seccomp::BPF_ANNOTATION].is_string() && config["linux"]["seccomp"].is_object()
    );
    let (_, config, _) = compiled("command = [\"busybox\"]\nseccomp = \"unconfined\"\n");
    assert!(config.get("annotations").is_none() && config["linux"].get("seccomp").is_none());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.json");
    let lines = format!("command = [\"busybox\"]\nseccomp = {:?}\n", path.to_str().unwrap());
    crate::files::replace(&path, b"{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"syscalls\": []}").unwrap();
    let (_, config, _) = compiled(&lines);
    assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ALLOW");
    assert!(config.get("annotations").is_none());
    crate::files::replace(&path, b"{\"defaultAction\": 7}").unwrap();
    let error =
        compile(&bench().ctx, &packaged(&lines), vec![busybox(ELF_X86_64)], Arch::X86_64).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
}

#[test]
fn files_of_the_manifest_come_over_the_image_and_links_in_it_stay_inside() {
    let mut package = busybox(ELF_X86_64);
    package.symlink("www", "/srv/www").unwrap();
    package.symlink("etc/hosts", "/../../../outside").unwrap();
    let lines = "command = [\"busybox\"]\n[[container.file]]\npath = \"/www/index.html\"\ncontent = \"hello\"\nuid = 33\n";
    let bundle = compile(&bench().ctx, &packaged(lines), vec![package], Arch::X86_64).unwrap();
    assert_eq!(in_rootfs(&bundle.tree, "srv/www/index.html").unwrap().meta.uid, 33);
    assert!(matches!(in_rootfs(&bundle.tree, "etc/hosts").unwrap().kind, NodeKind::File(_)));
    assert!(matches!(&in_rootfs(&bundle.tree, "etc/resolv.conf").unwrap().kind, NodeKind::Symlink(_)));
    assert!(bundle.tree.iter().all(|(path, _)| {
        let path = path.as_str();
        path.starts_with(BUNDLES) || BUNDLES.starts_with(path)
    }));
}

#[test]
fn name_servers_come_from_the_device_unless_the_manifest_has_its_own() {
    let (tree, config, _) = compiled("command = [\"busybox\"]\n");
    assert_eq!(mount(&config, mounts::NETWORK_DIR)["source"], mounts::NETWORK_DIR);
    assert!(matches!(&in_rootfs(&tree, "etc/resolv.conf").unwrap().kind, NodeKind::Symlink(_)));
    let own = "[[container.file]]\npath = \"/etc/resolv.conf\"\ncontent = \"nameserver ::1\"\n";
    let (tree, _, _) = compiled(&format!("command = [\"busybox\"]\n{own}"));
    assert!(matches!(&in_rootfs(&tree, "etc/resolv.conf").unwrap().kind, NodeKind::File(_)));
}

#[test]
fn an_ephemeral_root_is_the_overlay_that_the_device_mounts() {
    let (_, config, device) = compiled("command = [\"busybox\"]\nroot = \"ephemeral\"\n");
    assert_eq!(config["root"]["path"], "/run/coracle/containers/web/rootfs");
    assert_eq!(
        (config["root"]["readonly"].as_bool(), device.root),
        (Some(false), device::ContainerRoot::Ephemeral)
    );
}
