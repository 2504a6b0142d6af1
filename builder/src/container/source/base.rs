//! What every root file system of packages has beside the packages' files: the directories of a merged system, users
//! and groups with Debian's fixed ids, and where names are looked up.

use crate::{
    container::resolve,
    error::Result,
    tree::{Content, NodeKind, Tree, TreePath},
};

/// Users with ids that Debian fixes: name, uid, gid, home directory.
const USERS: [(&str, u32, u32, &str); 18] = [
    ("root", 0, 0, "/root"),
    ("daemon", 1, 1, "/usr/sbin"),
    ("bin", 2, 2, "/bin"),
    ("sys", 3, 3, "/dev"),
    ("sync", 4, 65534, "/bin"),
    ("games", 5, 60, "/usr/games"),
    ("man", 6, 12, "/var/cache/man"),
    ("lp", 7, 7, "/var/spool/lpd"),
    ("mail", 8, 8, "/var/mail"),
    ("news", 9, 9, "/var/spool/news"),
    ("uucp", 10, 10, "/var/spool/uucp"),
    ("proxy", 13, 13, "/bin"),
    ("www-data", 33, 33, "/var/www"),
    ("backup", 34, 34, "/var/backups"),
    ("list", 38, 38, "/var/list"),
    ("irc", 39, 39, "/run/ircd"),
    ("_apt", 42, 65534, "/nonexistent"),
    ("nobody", 65534, 65534, "/nonexistent"),
];

/// Groups with ids that Debian fixes.
const GROUPS: [(&str, u32); 38] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("irc", 39),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65534),
];

/// Directories and their modes.
const DIRS: [(&str, u16); 22] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("usr/sbin", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
    ("mnt", 0o755),
    ("media", 0o755),
    ("opt", 0o755),
    ("srv", 0o755),
    ("usr/local", 0o755),
    ("usr/share", 0o755),
];

/// Links of a merged system.
const LINKS: [(&str, &str); 6] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("var/run", "/run"),
    ("var/lock", "/run/lock"),
];

const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
    protocols: files\nservices: files\n";

/// Adds what is missing; what packages brought stays.
pub(super) fn complete(tree: &mut Tree) -> Result<()> {
    for (path, mode) in DIRS {
        if tree.get(&TreePath::new(path)?).is_none() {
            tree.dir(path, mode)?;
        }
    }
    for (path, target) in LINKS {
        if tree.get(&TreePath::new(path)?).is_none() {
            tree.symlink(path, target)?;
        }
    }
    if tree.get(&TreePath::new("usr/lib64")?).is_none() {
        tree.dir("usr/lib64", 0o755)?;
    }
    let passwd =
        master(tree, "usr/share/base-passwd/passwd.master")?.unwrap_or_else(|| passwd().as_str().into());
    let group =
        master(tree, "usr/share/base-passwd/group.master")?.unwrap_or_else(|| group().as_str().into());
    for (path, content) in
        [("etc/passwd", passwd), ("etc/group", group), ("etc/nsswitch.conf", NSSWITCH.into())]
    {
        if tree.get(&TreePath::new(path)?).is_none() {
            tree.file(path, 0o644, content)?;
        }
    }
    Ok(())
}

/// The list that the package with the ids itself ships.
fn master(tree: &Tree, path: &str) -> Result<Option<Content>> {
    let path = resolve::follow(tree, &TreePath::new(path)?)?;
    Ok(match tree.get(&path).map(|node| &node.kind) {
        Some(NodeKind::File(content)) => Some(content.clone()),
        Some(NodeKind::Dir | NodeKind::Symlink(_) | NodeKind::HardLink(_) | NodeKind::CharDevice { .. })
        | None => None,
    })
}

/// No user has a password, and none but root a shell.
fn passwd() -> String {
    let line = |(name, uid, gid, home): (&str, u32, u32, &str)| {
        let shell = if uid == 0 { "/bin/sh" } else { "/usr/sbin/nologin" };
        format!("{name}:*:{uid}:{gid}:{name}:{home}:{shell}\n")
    };
    USERS.into_iter().map(line).collect()
}

fn group() -> String {
    let line = |(name, gid): (&str, u32)| format!("{name}:*:{gid}:\n");
    GROUPS.into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(tree: &Tree, path: &str) -> String {
        let NodeKind::File(content) = &tree.get(&TreePath::new(path).unwrap()).unwrap().kind else {
            panic!("{path} is not a file");
        };
        String::from_utf8(content.read().unwrap()).unwrap()
    }

    #[test]
    fn an_empty_tree_becomes_a_root_file_system() {
        let mut tree = Tree::new();
        complete(&mut tree).unwrap();
        assert!(
            text(&tree, "etc/passwd").contains("\nwww-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n")
        );
        assert!(text(&tree, "etc/group").ends_with("\nnogroup:*:65534:\n"));
        assert_eq!(tree.get(&TreePath::new("tmp").unwrap()).unwrap().meta.mode, 0o1777);
        assert!(
            matches!(&tree.get(&TreePath::new("lib").unwrap()).unwrap().kind, NodeKind::Symlink(to) if to == "usr/lib")
        );
    }

    #[test]
    fn what_packages_bring_stays() {
        let mut tree = Tree::new();
        tree.file("usr/share/base-passwd/passwd.master", 0o644, "root:*:0:0::/root:/bin/bash\n").unwrap();
        tree.file("etc/nsswitch.conf", 0o644, "mine\n").unwrap();
        tree.dir("tmp", 0o700).unwrap();
        complete(&mut tree).unwrap();
        assert_eq!(text(&tree, "etc/passwd"), "root:*:0:0::/root:/bin/bash\n");
        assert_eq!(text(&tree, "etc/nsswitch.conf"), "mine\n");
        assert_eq!(tree.get(&TreePath::new("tmp").unwrap()).unwrap().meta.mode, 0o700);
    }
}
