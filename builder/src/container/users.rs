//! Who a container's program runs as: names are looked up in the container's own `/etc/passwd` and `/etc/group`.

use super::resolve;
use crate::{
    error::{Error, Kind, Result},
    tree::{NodeKind, Tree, TreePath},
};

/// Largest `/etc/passwd` or `/etc/group` that is read.
const LIST_BYTES_MAX: u64 = 4 << 20;
/// Most groups of one user; the kernel's own limit is 65536.
const GROUPS_MAX: usize = 1024;

/// A user as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups, sorted.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// A line of `/etc/passwd`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// A line of `/etc/group`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// The user that `text` names: `name`, `uid`, either with `:group` or `:gid`. Empty means root. Without a group it is
/// the user's own, and the groups that list the user come along; an unknown number has group 0 and no home.
pub fn identify(tree: &Tree, text: &str) -> Result<Identity> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = list(tree, "etc/passwd")?;
    let groups = list(tree, "etc/group")?;
    let number = user.parse::<u32>().ok();
    let known = users(&passwd).find(|known| match number {
        Some(uid) => known.uid == uid,
        None => known.name == user,
    });
    let (uid, own_gid, name, home) = match (&known, number) {
        (Some(known), _) => (known.uid, known.gid, Some(known.name), known.home),
        (None, Some(uid)) => (uid, 0, None, ""),
        (None, None) => return Err(unknown("user", user, "/etc/passwd")),
    };
    let gid = match group {
        None | Some("") => own_gid,
        Some(group) => find_group(&groups, group)?,
    };
    let mut further = Vec::new();
    if let (None, Some(name)) = (group, name) {
        let lists = |group: &Group<'_>| group.members.split(',').any(|member| member == name);
        further.extend(groups_of(&groups).filter(lists).map(|group| group.gid).take(GROUPS_MAX));
        further.sort_unstable();
        further.dedup();
    }
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Identity { uid, gid, groups: further, home: home.to_owned() })
}

fn find_group(groups: &str, group: &str) -> Result<u32> {
    if let Ok(gid) = group.parse() {
        return Ok(gid);
    }
    let found = groups_of(groups).find(|known| known.name == group);
    found.map(|known| known.gid).ok_or_else(|| unknown("group", group, "/etc/group"))
}

fn unknown(what: &str, name: &str, file: &str) -> Error {
    Error::new(Kind::Usage, format!("{what} {name:?} is not in the container's {file}"))
        .hint("give the numbers, user = \"UID:GID\", or put a file of your own there with [[container.file]]")
}

/// A list as text; empty if there is none. What is not UTF-8 in it cannot match a name.
fn list(tree: &Tree, path: &str) -> Result<String> {
    let mut path = resolve::follow(tree, &TreePath::new(path)?)?;
    if let Some(NodeKind::HardLink(target)) = tree.get(&path).map(|node| &node.kind) {
        path = target.clone();
    }
    let Some(NodeKind::File(content)) = tree.get(&path).map(|node| &node.kind) else {
        return Ok(String::new());
    };
    if content.len() > LIST_BYTES_MAX {
        let text = format!("the container's {path} is larger than its limit of {LIST_BYTES_MAX} bytes");
        return Err(Error::new(Kind::Hostile, text));
    }
    Ok(String::from_utf8_lossy(&content.read()?).into_owned())
}

/// The well-formed lines: others mean nothing to the C library either.
fn users(list: &str) -> impl Iterator<Item = User<'_>> {
    list.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn groups_of(list: &str) -> impl Iterator<Item = Group<'_>> {
    list.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nx:y:z:0::/:\nredis:x:999:998::/data:/bin/sh\n";
        tree.file("usr/etc/passwd", 0o644, passwd).unwrap();
        tree.symlink("etc/passwd", "/usr/etc/passwd").unwrap();
        tree.file("etc/group", 0o644, "root:x:0:\nredis:x:998:\nssl:x:103:postgres,redis\nlog:x:4:redis\n")
            .unwrap();
        tree
    }

    fn found(text: &str) -> (u32, u32, Vec<u32>, String) {
        let Identity { uid, gid, groups, home } = identify(&tree(), text).unwrap();
        (uid, gid, groups, home)
    }

    #[test]
    fn names_and_numbers_are_looked_up_as_other_runtimes_do() {
        assert_eq!(found(""), (0, 0, vec![], "/root".to_owned()));
        assert_eq!(found("redis"), (999, 998, vec![4, 103], "/data".to_owned()));
        assert_eq!(found("999"), (999, 998, vec![4, 103], "/data".to_owned()));
        assert_eq!(found("redis:ssl"), (999, 103, vec![], "/data".to_owned()));
        assert_eq!(found("1000"), (1000, 0, vec![], "/".to_owned()));
        assert_eq!(found("1000:1001"), (1000, 1001, vec![], "/".to_owned()));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_where_it_was_looked_for() {
        for text in ["nginx", "redis:nogroup", "x", "-1", "4294967296"] {
            let error = identify(&tree(), text).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.to_string().contains("/etc/"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_list_makes_the_lookup_panic(passwd in ".{0,200}", group in ".{0,200}", user in ".{0,20}") {
            let mut tree = Tree::new();
            tree.file("etc/passwd", 0o644, passwd.as_str()).unwrap();
            tree.file("etc/group", 0o644, group.as_str()).unwrap();
            if let Ok(identity) = identify(&tree, &user) {
                proptest::prop_assert!(identity.home.starts_with('/'));
            }
        }
    }
}
