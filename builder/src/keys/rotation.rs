//! The next root: other keys, other thresholds, a later date.

use super::{
    DAY, KEYS_MAX, KeyDir, SecretKey, drill,
    staged::{Progress, STAGED, Staged},
};
use crate::{
    context::Context,
    error::{Error, Kind, Result},
    signer::Signer,
};
use coracle_trust::{
    Key, Role,
    document::PublicKey,
    publish::{self, Signers},
    root::Root,
};

/// What becomes of some roles.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The roles; empty to change dates only.
    pub roles: Vec<Role>,
    /// Keys that join them.
    pub add: Vec<PublicKey>,
    /// How many keys to make for them.
    pub new: u32,
    /// Keys that leave them: beginnings of their ids, or file names.
    pub revoke: Vec<String>,
    /// How many must sign from now on.
    pub threshold: Option<u32>,
}

/// The next root.
#[derive(Clone, Debug, Default)]
pub struct Rotation {
    /// What is different about it.
    pub change: Change,
    /// Days until it expires.
    pub days: u64,
    /// What signs beside the keys in the directory.
    pub signers: Vec<Signer>,
}

/// Makes the next root and signs it with what is here. If that is not enough, it is left for
/// [`sign_staged`](super::sign_staged).
pub fn rotate(ctx: &Context, keys: &KeyDir, rotation: &Rotation) -> Result<Progress> {
    let before = keys.root()?;
    let version = before.version().checked_add(1);
    let version = version.ok_or_else(|| Error::new(Kind::TooLarge, "the root has no next version"))?;
    let under_way = keys.dir.join(format!("{version}.root.json{STAGED}"));
    if under_way.exists() {
        return Err(Error::new(Kind::Usage, format!("{} is under way already", under_way.display()))
            .hint("sign it with coracle keys sign, or remove it"));
    }
    let change = &rotation.change;
    if change.roles.is_empty()
        && (change.new > 0
            || !change.add.is_empty()
            || !change.revoke.is_empty()
            || change.threshold.is_some())
    {
        return Err(Error::new(Kind::Usage, "it is not said which role changes").hint("name it with --role"));
    }
    let revoked = change.revoke.iter().map(|name| drill::find(keys, name)).collect::<Result<Vec<_>>>()?;
    let made = (0..change.new).map(|_| SecretKey::generate()).collect::<Result<Vec<_>>>()?;
    let joining: Vec<PublicKey> =
        change.add.iter().copied().chain(made.iter().map(SecretKey::public)).collect();
    let roles = Role::ALL.map(|role| {
        let changes = change.roles.contains(&role);
        next(&before, role, changes.then_some((change, &revoked[..], &joining[..])))
    });
    let roles = roles.into_iter().collect::<Result<Vec<_>>>()?;
    for name in &revoked {
        let had = |role: &Role| before.authority(*role).keys.iter().any(|(id, _)| id == name);
        if !change.roles.iter().any(had) {
            return Err(Error::new(Kind::Usage, format!("key {name} has no part in the role")));
        }
    }
    let expires = super::now().saturating_add(rotation.days.saturating_mul(DAY));
    let body = publish::root(version, expires, &roles)
        .ok_or_else(|| Error::new(Kind::Usage, "the root would expire after the year 9999"))?;
    let mut staged = Staged::of(&body)?;
    save(ctx, keys, change, &made)?;
    let old = keys.signers_of(ctx, before.authority(Role::Root))?;
    let new = made.iter().filter(|_| change.roles.contains(&Role::Root)).cloned().map(Signer::Key);
    let signers: Vec<Signer> = old.into_iter().chain(new).chain(rotation.signers.iter().cloned()).collect();
    staged.sign(ctx, Some(&before), &signers)?;
    staged.keep(keys)
}

/// Who signs for a role from now on.
fn next(before: &Root, role: Role, change: Option<(&Change, &[String], &[PublicKey])>) -> Result<Signers> {
    let authority = before.authority(role);
    let mut keys = Vec::new();
    for (id, key) in &authority.keys {
        if change.is_some_and(|(_, revoked, _)| revoked.contains(id)) {
            continue;
        }
        let key = key.as_ref().and_then(Key::ed25519).copied();
        keys.push(key.ok_or_else(|| {
            Error::new(Kind::Usage, format!("key {id} of {role} is no Ed25519 key, and cannot be kept"))
                .hint("revoke it")
        })?);
    }
    let mut threshold = authority.threshold;
    if let Some((change, _, joining)) = change {
        keys.extend(joining.iter().filter(|key| !authority.has(key)));
        threshold = change.threshold.unwrap_or(threshold);
    }
    let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    if threshold == 0 || threshold > count || count > KEYS_MAX {
        let message = format!(
            "{threshold} of {count} {role} keys cannot sign: at most {KEYS_MAX} keys, 1 to all of them"
        );
        return Err(Error::new(Kind::Usage, message).hint("add keys with --new or --add, or set --threshold"));
    }
    Ok(Signers { role, keys, threshold })
}

/// New keys go to the first free names.
fn save(ctx: &Context, keys: &KeyDir, change: &Change, made: &[SecretKey]) -> Result<()> {
    if made.is_empty() {
        return Ok(());
    }
    let name = match change.roles[..] {
        [Role::Root] => "root",
        [Role::Targets] => "targets",
        _ => "online",
    };
    let passphrase = keys.new_passphrase(ctx)?;
    let mut free =
        (1..).map(|number: u32| keys.dir.join(format!("{name}-{number}.pem"))).filter(|path| !path.exists());
    for key in made {
        let path = free.next().ok_or_else(|| Error::new(Kind::Internal, "there is no free name"))?;
        key.store(&path, passphrase.as_deref())?;
    }
    Ok(())
}
