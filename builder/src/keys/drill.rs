//! A dry run of a bad day: keys are lost or stolen; which roles still work, what could a thief do, what is to be done.

use super::KeyDir;
use crate::error::{Error, Kind, Result};
use coracle_trust::{Key, Role};

/// Digits of a key's id that name it at least.
const ID_DIGITS_MIN: usize = 4;

/// What losing keys would mean for one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The role.
    pub role: Role,
    /// How many keys it has.
    pub keys: usize,
    /// How many must sign.
    pub threshold: u32,
    /// How many of them are gone.
    pub lost: usize,
}

impl Loss {
    /// Whether what is left can sign.
    pub fn works(&self) -> bool {
        at_least(self.keys.saturating_sub(self.lost), self.threshold)
    }

    /// Whether what was lost can sign, in the hands of a thief.
    pub fn is_exposed(&self) -> bool {
        at_least(self.lost, self.threshold)
    }

    /// What a thief could do.
    pub const fn danger(&self) -> &'static str {
        match self.role {
            Role::Root => "name other keys for every role: sign releases of their own and lock you out",
            Role::Targets => {
                "sign releases of their own; machines take them from a file, and from the repository if its server \
                 and the online key are theirs too"
            }
            Role::Snapshot => {
                "with the timestamp's key, show machines an old state of the repository as the new one"
            }
            Role::Timestamp => {
                "if the server is theirs too, hold back releases and open waves early; never add a release"
            }
        }
    }

    /// What is to be done.
    pub fn remedy(&self) -> String {
        let role = match self.role {
            Role::Root | Role::Targets => self.role.name(),
            // One key as a rule.
            Role::Snapshot | Role::Timestamp => "online",
        };
        let root = self.role == Role::Root;
        match (self.works(), self.is_exposed()) {
            _ if self.lost == 0 => "nothing".to_owned(),
            (false, _) if root => {
                "no new root can be made: machines keep what they trust until it expires, and need an image with a new \
                 root.json from hand to hand"
                    .to_owned()
            }
            (true, true) if root => {
                format!("at once, before the thief: coracle keys rotate DIR --role root --revoke {ID} --new")
            }
            (_, true) if self.role == Role::Targets => {
                format!(
                    "coracle keys rotate DIR --role targets --revoke {ID} --new, look at every release in the \
                     repository, then coracle channel refresh --resign"
                )
            }
            (_, _) if root => format!("coracle keys rotate DIR --role root --revoke {ID} --new"),
            (_, _) => {
                format!(
                    "coracle keys rotate DIR --role {role} --revoke {ID} --new, then coracle channel refresh --resign"
                )
            }
        }
    }
}

/// How a remedy names the key that is gone.
const ID: &str = "ID";

fn at_least(keys: usize, threshold: u32) -> bool {
    u32::try_from(keys).is_ok_and(|keys| keys >= threshold)
}

/// What it would mean for each role if these keys (beginnings of their ids, or file names) were gone.
pub fn drill(keys: &KeyDir, named: &[String]) -> Result<Vec<Loss>> {
    let root = keys.root()?;
    let mut gone = Vec::new();
    for name in named {
        gone.push(find(keys, name)?);
    }
    let loss = |role: Role| {
        let authority = root.authority(role);
        let lost = authority.keys.iter().filter(|(id, _)| gone.contains(id)).count();
        Loss { role, keys: authority.keys.len(), threshold: authority.threshold, lost }
    };
    Ok(Role::ALL.into_iter().map(loss).collect())
}

/// The id of the one key of the newest root that a name means: the beginning of its id, or a file of the directory.
pub(super) fn find(keys: &KeyDir, name: &str) -> Result<String> {
    let root = keys.root()?;
    let all = || Role::ALL.into_iter().flat_map(|role| &root.authority(role).keys);
    let file = keys.files()?.into_iter().find(|file| {
        file.path().file_name().is_some_and(|own| own == name || own == format!("{name}.pem").as_str())
    });
    if let Some(public) = file.and_then(|file| file.public()) {
        let known = all().find(|(_, key)| key.as_ref().and_then(Key::ed25519) == Some(&public));
        return known.map(|(id, _)| id.clone()).ok_or_else(|| {
            Error::new(Kind::Usage, format!("the newest root does not name the key in {name}"))
        });
    }
    let mut found: Vec<&str> = all().map(|(id, _)| id.as_str()).filter(|id| id.starts_with(name)).collect();
    found.sort_unstable();
    found.dedup();
    match found[..] {
        [id] if name.len() >= ID_DIGITS_MIN => Ok(id.to_owned()),
        _ => Err(Error::new(Kind::Usage, format!("{name:?} does not name one key of the newest root"))
            .hint("coracle keys list DIR shows ids and files; the first digits of an id are enough")),
    }
}
