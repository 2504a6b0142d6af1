use super::*;
use proptest::prelude::*;

fn entry(path: &str, kind: EntryKind) -> Entry {
    Entry { path: path.to_owned(), meta: Meta::root(0o755), kind }
}

fn file(path: &str, id: u64) -> Entry {
    entry(path, EntryKind::File { offset: id, bytes: 1 })
}

fn dir(path: &str) -> Entry {
    entry(path, EntryKind::Dir)
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink(target.to_owned()))
}

fn hard(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::HardLink(target.to_owned()))
}

/// The content of file number `id` is its number.
fn numbered(id: u64, _: u64) -> Content {
    id.to_string().as_str().into()
}

fn apply(layers: Vec<Vec<Entry>>) -> Result<Vec<String>> {
    let mut image = Layers::default();
    for layer in layers {
        image.apply_entries(layer, Whiteouts::Honoured, &numbered)?;
    }
    let (tree, _) = image.finish()?;
    Ok(list(&tree))
}

fn list(tree: &Tree) -> Vec<String> {
    let show = |(path, node): (&TreePath, &Node)| {
        let path = path.as_str();
        match &node.kind {
            NodeKind::Dir => format!("{path}/"),
            NodeKind::File(content) => {
                format!("{path}={}", String::from_utf8(content.read().unwrap()).unwrap())
            }
            NodeKind::Symlink(target) => format!("{path}->{target}"),
            NodeKind::HardLink(target) => format!("{path}=>{}", target.as_str()),
            NodeKind::CharDevice { .. } => panic!("no devices"),
        }
    };
    tree.iter().skip(1).map(show).collect()
}

#[test]
fn a_whiteout_hides_what_is_below_its_layer_and_not_what_stands_beside_it() {
    let lower = vec![dir("a"), file("a/x", 1), file("a/y", 2), file("b", 3)];
    let upper =
        vec![file("a/x", 4), file("a/.wh.x", 0), file("a/.wh.y", 0), file(".wh.b", 0), file(".wh.no", 0)];
    assert_eq!(apply(vec![lower, upper]).unwrap(), ["a/", "a/x=4"]);
}

#[test]
fn an_opaque_directory_keeps_only_its_own_layer() {
    let lower = vec![dir("a"), file("a/x", 1), dir("a/d"), file("a/d/z", 2), file("ab", 3)];
    let upper = vec![file("a/new", 4), file("a/.wh..wh..opq", 0), file("a/.wh..wh.plnk", 0)];
    assert_eq!(apply(vec![lower, upper]).unwrap(), ["a/", "a/new=4", "ab=3"]);
}

#[test]
fn files_links_and_directories_replace_each_other_whole() {
    let lower = vec![dir("d"), file("d/x", 1), file("f", 2), link("l", "d")];
    let upper = vec![file("d", 3), dir("f"), file("f/in", 4), dir("l"), file("l/in", 5)];
    assert_eq!(apply(vec![lower, upper]).unwrap(), ["d=3", "f/", "f/in=4", "l/", "l/in=5"]);
}

#[test]
fn a_path_below_a_link_of_a_lower_layer_lands_where_the_link_leads() {
    let lower = vec![
        dir("usr"),
        dir("usr/lib"),
        link("lib", "usr/lib"),
        link("var/run", "/run"),
        link("out", "../../etc"),
    ];
    let upper =
        vec![file("lib/a.so", 1), file("var/run/x/pid", 2), file("out/passwd", 3), file("lib/.wh.b.so", 0)];
    let list = apply(vec![lower, upper]).unwrap();
    for line in ["usr/lib/a.so=1", "run/x/pid=2", "etc/passwd=3", "lib->usr/lib", "out->../../etc"] {
        assert!(list.contains(&line.to_owned()), "{line} in {list:?}");
    }
}

#[test]
fn a_hard_link_keeps_its_bytes_when_its_target_is_replaced() {
    let lower = vec![file("a", 1), hard("b", "/a"), hard("c", "./b")];
    assert_eq!(apply(vec![lower.clone()]).unwrap(), ["a=1", "b=>a", "c=>a"]);
    let upper = vec![file("a", 2), hard("d", "b")];
    assert_eq!(apply(vec![lower, upper]).unwrap(), ["a=2", "b=1", "c=>b", "d=>b"]);
}

#[test]
fn hostile_members_are_refused() {
    for bad in [
        file("../etc/passwd", 1),
        file("a/../../b", 1),
        hard("a", "../../etc/shadow"),
        hard("a", "missing"),
        hard("a", "dir"),
        link("a", ""),
        link("a", "x\0y"),
        file(".wh..", 0),
        file("dir/.wh...", 0),
        file(".wh.", 0),
        file("file/below", 1),
        file("/", 1),
        entry("sda", EntryKind::BlockDevice),
        entry("etc/null", EntryKind::CharDevice { major: 1, minor: 3 }),
        entry("etc/pipe", EntryKind::Fifo),
    ] {
        let lower = vec![dir("dir"), file("file", 1)];
        let error = apply(vec![lower, vec![bad.clone()]]).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile, "{bad:?}");
    }
}

#[test]
fn absolute_paths_are_those_of_the_image() {
    assert_eq!(apply(vec![vec![file("/etc/passwd", 1)]]).unwrap(), ["etc/", "etc/passwd=1"]);
}

#[test]
fn devices_in_dev_and_foreign_attributes_are_left_out_and_said_so() {
    let mut image = Layers::default();
    let mut program = file("bin/ping", 1);
    program.meta.mode = 0o4755;
    program.meta.xattrs = [("security.capability", 1), ("user.x", 2), ("security.selinux", 3)]
        .map(|(name, value)| (name.to_owned(), vec![value]))
        .into();
    let null = entry("dev/null", EntryKind::CharDevice { major: 1, minor: 3 });
    image.apply_entries(vec![program, null], Whiteouts::Honoured, &numbered).unwrap();
    let (tree, notes) = image.finish().unwrap();
    let ping = tree.get(&TreePath::new("bin/ping").unwrap()).unwrap();
    assert_eq!(ping.meta.mode, 0o4755);
    assert_eq!(ping.meta.xattrs.keys().collect::<Vec<_>>(), ["security.capability"]);
    assert!(tree.get(&TreePath::new("dev/null").unwrap()).is_none());
    assert_eq!(notes, ["left out 1 device nodes and pipes", "left out 2 extended attributes"]);
}

#[test]
fn in_a_plain_archive_a_whiteout_is_a_name() {
    let mut image = Layers::default();
    image.apply_entries(vec![file("a", 1), file(".wh.a", 2)], Whiteouts::Names, &numbered).unwrap();
    assert_eq!(list(&image.finish().unwrap().0), [".wh.a=2", "a=1"]);
}

/// The specification read literally, on paths as text: slow, without links.
#[derive(Default)]
struct Model(BTreeMap<String, Option<u64>>);

impl Model {
    fn remove(&mut self, path: &str, with_itself: bool) {
        let below = format!("{path}/");
        self.0.retain(|at, _| !(at.starts_with(&below) || with_itself && at == path));
    }

    fn apply(&mut self, layer: &[Entry]) {
        for entry in layer {
            let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
            if name == OPAQUE {
                if parent.is_empty() {
                    self.0.clear();
                } else {
                    self.remove(parent, false);
                }
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let path = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
                self.remove(&path, true);
            }
        }
        for entry in layer.iter().filter(|entry| !entry.path.contains(WHITEOUT)) {
            for (index, _) in entry.path.match_indices('/') {
                self.0.entry(entry.path[..index].to_owned()).or_insert(None);
            }
            let is_dir = self.0.get(&entry.path) == Some(&None);
            if let EntryKind::File { offset, .. } = entry.kind {
                self.remove(&entry.path, true);
                self.0.insert(entry.path.clone(), Some(offset));
            } else if !is_dir {
                self.0.insert(entry.path.clone(), None);
            }
        }
    }

    /// Whether some member lies below a file: an error, not an outcome.
    fn is_broken(&self) -> bool {
        self.0.iter().any(|(path, kind)| {
            kind.is_some() && self.0.keys().any(|other| other.starts_with(&format!("{path}/")))
        })
    }
}

fn any_layer() -> impl Strategy<Value = Vec<Entry>> {
    let component = || prop::sample::select(vec!["a", "b", "c"]);
    let path = prop::collection::vec(component(), 1..4).prop_map(|parts| parts.join("/"));
    let member = (path, 0..6_u8, 0..1000_u64).prop_map(|(path, kind, id)| {
        let (parent, name) = path
            .rsplit_once('/')
            .map_or((String::new(), &*path), |(parent, name)| (format!("{parent}/"), name));
        match kind {
            0 | 1 => dir(&path),
            2 => file(&format!("{parent}{WHITEOUT}{name}"), 0),
            3 => file(&format!("{parent}{OPAQUE}"), 0),
            _ => file(&path, id),
        }
    });
    prop::collection::vec(member, 0..12)
}

proptest! {
    #[test]
    fn random_layers_come_out_as_the_literal_reading_says(layers in prop::collection::vec(any_layer(), 0..5)) {
        let mut model = Model::default();
        let mut broken = false;
        for layer in &layers {
            // Member by member, so that a file is seen below which a later member of the same layer lies.
            model.apply(&layer.iter().filter(|entry| entry.path.contains(WHITEOUT)).cloned().collect::<Vec<_>>());
            for entry in layer.iter().filter(|entry| !entry.path.contains(WHITEOUT)) {
                model.apply(std::slice::from_ref(entry));
                broken |= model.is_broken();
            }
        }
        match apply(layers) {
            Ok(list) => {
                let expected: BTreeSet<_> = model.0.iter().map(|(path, kind)| match kind {
                    None => format!("{path}/"),
                    Some(id) => format!("{path}={id}"),
                }).collect();
                prop_assert!(!broken);
                prop_assert_eq!(list.into_iter().collect::<BTreeSet<_>>(), expected);
            }
            Err(error) => {
                prop_assert!(broken, "{}", error);
            }
        }
    }

    #[test]
    fn random_links_and_paths_never_leave_the_tree_or_break_it(
        members in prop::collection::vec(("[ab./]{1,6}", "[ab./]{1,8}", 0..4_u8), 0..16),
    ) {
        let mut image = Layers::default();
        for (path, target, kind) in members {
            let member = match kind {
                0 => dir(&path),
                1 => link(&path, &target),
                2 => hard(&path, &target),
                _ => file(&path, 1),
            };
            // Refused members change nothing that matters here.
            drop(image.apply_entries(vec![member], Whiteouts::Honoured, &numbered));
        }
        let (tree, _) = image.finish().unwrap();
        for (path, node) in tree.iter() {
            prop_assert!(!path.as_str().split('/').any(|part| matches!(part, "." | "..")));
            if let NodeKind::HardLink(target) = &node.kind {
                let is_file = matches!(tree.get(target).map(|node| &node.kind), Some(NodeKind::File(_)));
                prop_assert!(is_file);
            }
        }
    }
}
