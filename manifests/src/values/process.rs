//! What a container's process is given: user, capabilities, signals, system call filter, environment.

use super::{Bad, HostPath, form, made_of, quoted, text_newtype};
use std::{fmt, str::FromStr};

/// Longest user or group name.
const USER_MAX: usize = 32;
/// Longest name of an environment variable or kernel setting.
const KEY_MAX: usize = 256;

/// The user a container runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By number; without a group, the one that the container's `/etc/passwd` gives this user, else 0.
    Ids {
        /// User id.
        uid: u32,
        /// Group id.
        gid: Option<u32>,
    },
    /// By name, looked up in the container's `/etc/passwd` and `/etc/group` when the image is built.
    Names {
        /// User name.
        user: String,
        /// Group name.
        group: Option<String>,
    },
}

form!(
    User,
    "user",
    ["1000:1000", "1000", "nobody", "www-data:www-data"],
    "`uid`, `uid:gid`, or names that the container's own `/etc/passwd` and `/etc/group` know."
);

impl FromStr for User {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let bad = || {
            Bad::new(format!("{} is not a user", quoted(text)))
                .hint("write \"uid:gid\" such as \"1000:1000\", or a name such as \"www-data\"")
        };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.starts_with(|c: char| c.is_ascii_digit()) {
            let uid = parse_id(user).ok_or_else(bad)?;
            let gid = group.map(|group| parse_id(group).ok_or_else(bad));
            return Ok(Self::Ids { uid, gid: gid.transpose()? });
        }
        if ![Some(user), group].into_iter().flatten().all(is_user_name) {
            return Err(bad());
        }
        Ok(Self::Names { user: user.to_owned(), group: group.map(str::to_owned) })
    }
}

/// An id; the largest number means "none" to the kernel.
fn parse_id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let id = digits.then(|| text.parse().ok()).flatten()?;
    (id != u32::MAX).then_some(id)
}

fn is_user_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    made_of(text, USER_MAX, allowed) && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ids { uid, gid: None } => write!(f, "{uid}"),
            Self::Ids { uid, gid: Some(gid) } => write!(f, "{uid}:{gid}"),
            Self::Names { user, group: None } => f.write_str(user),
            Self::Names { user, group: Some(group) } => write!(f, "{user}:{group}"),
        }
    }
}

/// A Linux capability, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Capability(&'static str);

const ALL: &str = "ALL";
/// Capabilities by number, without `CAP_`.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// What a container gets by default, the set that images in the wild expect.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

form!(Capability, "capability", ["NET_ADMIN", "ALL"], "A Linux capability without `CAP_`, or `ALL`.");

impl Capability {
    /// The name as runtimes want it: `CAP_NET_ADMIN`.
    pub fn name(self) -> String {
        format!("CAP_{}", self.0)
    }

    /// The default set without `drop` and with `add`, sorted; `ALL` in either means every capability.
    pub(crate) fn resolve(add: &[Self], drop: &[Self]) -> Vec<Self> {
        let named = |list: &[Self], name: &str| list.iter().any(|entry| entry.0 == name || entry.0 == ALL);
        let mut out: Vec<_> = CAPABILITIES
            .into_iter()
            .filter(|name| {
                let default = DEFAULT_CAPABILITIES.contains(name) && !named(drop, name);
                default || named(add, name)
            })
            .map(Self)
            .collect();
        out.sort();
        out
    }
}

impl FromStr for Capability {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let name = text.strip_prefix("CAP_").unwrap_or(text);
        CAPABILITIES.into_iter().chain([ALL]).find(|known| *known == name).map(Self).ok_or_else(|| {
            let bad = Bad::new(format!("{} is not a capability", quoted(text)));
            let upper = name.to_ascii_uppercase();
            match crate::suggest::nearest(&upper, CAPABILITIES.into_iter().chain([ALL])) {
                Some(near) => bad.hint(format!("did you mean \"{near}\"?")),
                None => bad.hint("see capabilities(7) for the names, for example \"NET_ADMIN\""),
            }
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A signal that asks a container to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u8);

/// Signals that can ask a program to stop, with their numbers (the same on both architectures).
const SIGNALS: [(&str, u8); 11] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGABRT", 6),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGWINCH", 28),
    ("SIGPWR", 30),
];
/// The first and last real-time signal, as C libraries number them.
const REALTIME: std::ops::RangeInclusive<u8> = 34..=64;

form!(Signal, "signal", ["SIGTERM", "SIGQUIT", "SIGRTMIN+3"], "A signal by name.");

impl FromStr for Signal {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let name = text.strip_prefix("SIG").unwrap_or(text);
        if let Some((_, number)) = SIGNALS.into_iter().find(|(known, _)| known[3..] == *name) {
            return Ok(Self(number));
        }
        let above = name.strip_prefix("RTMIN").and_then(|rest| match rest {
            "" => Some(0),
            rest => rest.strip_prefix('+')?.parse::<u8>().ok(),
        });
        above
            .and_then(|above| REALTIME.start().checked_add(above))
            .filter(|number| REALTIME.contains(number))
            .map(Self)
            .ok_or_else(|| {
                Bad::new(format!("{} is not a signal that stops a container", quoted(text)))
                    .hint("write its name, for example \"SIGTERM\", \"SIGQUIT\" or \"SIGRTMIN+3\"")
            })
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.into_iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "SIGRTMIN+{}", self.0.saturating_sub(*REALTIME.start())),
        }
    }
}

/// Which system calls a container may make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seccomp {
    /// The built-in profile.
    Default,
    /// All of them.
    Unconfined,
    /// A profile of the manifest's author: JSON as in the OCI runtime specification's `linux.seccomp`.
    File(HostPath),
}

form!(
    Seccomp,
    "seccomp",
    ["default", "unconfined", "profiles/web.json"],
    "`default`, `unconfined`, or the path of a profile (JSON, `linux.seccomp` of the OCI runtime specification)."
);

impl FromStr for Seccomp {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        match text {
            "default" => Ok(Self::Default),
            "unconfined" => Ok(Self::Unconfined),
            path if path.contains(['/', '.']) => path.parse().map(Self::File),
            _ => Err(Bad::new(format!("{} is not a seccomp profile", quoted(text)))
                .hint("write \"default\", \"unconfined\", or the path of a JSON file")),
        }
    }
}

impl fmt::Display for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Unconfined => f.write_str("unconfined"),
            Self::File(path) => path.fmt(f),
        }
    }
}

text_newtype!(
    /// The name of an environment variable.
    EnvName
);

form!(EnvName, "env-name", ["LOG_LEVEL"], "The name of an environment variable: no `=`, no space.");

impl FromStr for EnvName {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        if made_of(text, KEY_MAX, |c| c.is_ascii_graphic() && c != '=') {
            return Ok(Self(text.to_owned()));
        }
        Err(Bad::new(format!("{} is not the name of an environment variable", quoted(text)))
            .hint("use letters, digits and \"_\""))
    }
}

text_newtype!(
    /// A setting below `/proc/sys`, as a path with slashes: `net/ipv4/ip_forward`.
    SysctlName
);

form!(
    SysctlName,
    "sysctl-name",
    ["net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/rp_filter"],
    "A setting below `/proc/sys`, written with dots; or with slashes where a name itself has a dot."
);

impl FromStr for SysctlName {
    type Err = Bad;

    fn from_str(text: &str) -> Result<Self, Bad> {
        let path = if text.contains('/') { text.to_owned() } else { text.replace('.', "/") };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let part = |part: &str| made_of(part, KEY_MAX, allowed) && part != "." && part != "..";
        if path.contains('/') && path.len() <= KEY_MAX && path.split('/').all(part) {
            return Ok(Self(path));
        }
        Err(Bad::new(format!("{} is not a kernel setting", quoted(text)))
            .hint("write the path below /proc/sys with dots, for example \"net.ipv4.ip_forward\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_or_names_never_both() {
        assert_eq!("999:998".parse(), Ok(User::Ids { uid: 999, gid: Some(998) }));
        for bad in ["", ":", "1:", "1:x", "x:1", "4294967295", "-1", "a b", "1x"] {
            assert!(bad.parse::<User>().is_err(), "{bad}");
        }
    }

    #[test]
    fn dropping_all_leaves_what_is_added() {
        let all = ["ALL".parse().unwrap()];
        let one = ["CAP_CHOWN".parse().unwrap()];
        assert_eq!(Capability::resolve(&[], &[]).len(), 14);
        assert_eq!(Capability::resolve(&one, &all), one);
        assert_eq!(Capability::resolve(&all, &[]).len(), 41);
        assert_eq!(one[0].name(), "CAP_CHOWN");
    }

    #[test]
    fn signals_have_their_linux_numbers() {
        assert_eq!("SIGQUIT".parse(), Ok(Signal(3)));
        assert_eq!("RTMIN+3".parse(), Ok(Signal(37)));
        for bad in ["", "SIG", "SIGRTMIN+31", "SIGRTMIN+300", "9", "sigterm"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_cannot_climb_out_of_proc_sys() {
        for bad in ["", "kernel", "../etc/passwd", "net/../x", "/net/ipv4", "net..ipv4", "net//x"] {
            assert!(bad.parse::<SysctlName>().is_err(), "{bad}");
        }
        assert_eq!("vm.swappiness".parse::<SysctlName>().unwrap().as_str(), "vm/swappiness");
    }
}
