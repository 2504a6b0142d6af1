//! `coracle keys`.

use super::args;
use crate::{
    context::Context,
    ctl::{OperatorKey, public_line},
    error::{Error, Kind, Result},
    keys::{
        Change, KeyDir, KeyFile, Loss, Missing, Plan, Progress, Rotation, drill, public_key, rotate,
        sign_staged,
    },
    show::{self, Format, table},
    signer::Signer,
};
use coracle_trust::{Key, Role, publish, root::Root};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Digits of a key's id that tables show.
const ID_SHOWN: usize = 16;

pub(super) fn run(ctx: &Context, args: &args::Keys, format: Format) -> Result<()> {
    match &args.action {
        args::KeysAction::New(new) => create(ctx, new, format),
        args::KeysAction::List { dir } => list(dir, format),
        args::KeysAction::Encrypt(opening) => changed(&opening.keys().encrypt(ctx)?, "encrypted", format),
        args::KeysAction::Decrypt(opening) => changed(&opening.keys().decrypt(ctx)?, "decrypted", format),
        args::KeysAction::Rotate(rotate) => turn(ctx, rotate, format),
        args::KeysAction::Sign(sign) => add_signatures(ctx, sign, format),
        args::KeysAction::Drill { dir, lose } => rehearse(dir, lose, format),
        args::KeysAction::SecureBoot { dir, name } => secure_boot(ctx, (dir, name), format),
        args::KeysAction::Operator { file } => operator(file, format),
    }
}

fn create(ctx: &Context, args: &args::NewKeys, format: Format) -> Result<()> {
    let keys = args.opening.keys();
    let keys = if args.encrypt { keys.encrypting() } else { keys };
    let plan = Plan {
        root: (args.root_keys, args.root_threshold.unwrap_or(args.threshold)),
        targets: (args.targets_keys, args.threshold),
        days: args.days,
    };
    let signer = args.signer.clone().map(Signer::Command);
    keys.create(ctx, &plan, signer.as_ref())?;
    ctx.report.info(format!(
        "{}: keep the root keys offline; machines trust {}",
        keys.dir().display(),
        keys.root_path().display()
    ));
    list(keys.dir(), format)
}

fn changed(files: &[PathBuf], event: &str, format: Format) -> Result<()> {
    files.iter().try_for_each(|file| super::say(format, event, &format!("{}\n", file.display())))
}

fn turn(ctx: &Context, args: &args::Rotate, format: Format) -> Result<()> {
    let roles = match args.role {
        None => Vec::new(),
        Some(args::Role::Root) => vec![Role::Root],
        Some(args::Role::Targets) => vec![Role::Targets],
        Some(args::Role::Snapshot) => vec![Role::Snapshot],
        Some(args::Role::Timestamp) => vec![Role::Timestamp],
        Some(args::Role::Online) => vec![Role::Snapshot, Role::Timestamp],
    };
    let change = Change {
        roles,
        add: args.add.iter().map(|path| public_key(path)).collect::<Result<_>>()?,
        new: u32::from(args.new),
        revoke: args.revoke.clone(),
        threshold: args.threshold,
    };
    let signers = args.signer.iter().cloned().map(Signer::Command).collect();
    let keys = args.opening.keys();
    let progress = rotate(ctx, &keys, &Rotation { change, days: args.days, signers })?;
    tell(ctx, &progress, format)?;
    match progress {
        Progress::Done { .. } => list(keys.dir(), format),
        Progress::Staged { .. } => Ok(()),
    }
}

fn add_signatures(ctx: &Context, args: &args::SignRoot, format: Format) -> Result<()> {
    let passphrase = args.offline.passphrase();
    let mut signers = Vec::new();
    for path in &args.key {
        signers.push(Signer::Key(KeyFile::load(path)?.open(ctx, &passphrase)?));
    }
    signers.extend(args.signer.iter().cloned().map(Signer::Command));
    tell(ctx, &sign_staged(ctx, &args.file, &signers)?, format)
}

/// Says how far the next root is.
fn tell(ctx: &Context, progress: &Progress, format: Format) -> Result<()> {
    let (version, path, missing) = match progress {
        Progress::Done { version, path } => (version, path, None),
        Progress::Staged { version, path, missing } => (version, path, Some(missing)),
    };
    let mut out = String::new();
    match (format, missing) {
        (Format::Json, _) => {
            let missing = missing.map(|missing| {
                let one = |one: &Missing| json!({"by_root": one.by, "have": one.have, "need": one.need});
                missing.iter().map(one).collect::<Vec<_>>()
            });
            let value = json!({
                "v": show::SCHEMA, "event": "root", "version": version, "file": path, "missing": missing,
            });
            out.extend([&value.to_string(), "\n"]);
        }
        (Format::Human, None) => {
            out.extend([&path.display().to_string(), "\n"]);
            ctx.report.info(format!(
                "version {version} is the newest root; coracle channel refresh --resign brings it to \
                                     a repository"
            ));
        }
        (Format::Human, Some(missing)) => {
            out.extend([&path.display().to_string(), "\n"]);
            for one in missing {
                ctx.report.info(format!(
                    "signatures that version {} of the root demands: {} of {}",
                    one.by, one.have, one.need
                ));
            }
            ctx.report.info(format!(
                "next: coracle keys sign {} --key FILE, where other root keys are",
                path.display()
            ));
        }
    }
    super::print(&out)
}

fn rehearse(dir: &Path, lose: &[String], format: Format) -> Result<()> {
    let losses = drill(&KeyDir::new(dir), lose)?;
    let text = match format {
        Format::Json => losses.iter().map(loss_event).collect(),
        Format::Human => drill_text(&losses),
    };
    super::print(&text)
}

fn loss_event(loss: &Loss) -> String {
    let value = json!({
        "v": show::SCHEMA, "event": "drill", "role": loss.role.name(), "keys": loss.keys,
        "threshold": loss.threshold, "lost": loss.lost, "works": loss.works(), "exposed": loss.is_exposed(),
        "next": loss.remedy(),
    });
    format!("{value}\n")
}

fn drill_text(losses: &[Loss]) -> String {
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let row = |loss: &Loss| {
        let left = format!("{} of {}", loss.keys.saturating_sub(loss.lost), loss.keys);
        vec![
            loss.role.name().to_owned(),
            left,
            loss.threshold.to_string(),
            word(loss.works()),
            word(loss.is_exposed()),
        ]
    };
    let rows: Vec<Vec<String>> = losses.iter().map(row).collect();
    let mut out = table(&["role", "keys left", "needed", "still signs", "a thief could sign"], &rows);
    for loss in losses.iter().filter(|loss| loss.lost > 0) {
        out.extend(["\n", loss.role.name(), "\n"]);
        if loss.is_exposed() {
            out.extend(["  a thief could: ", loss.danger(), "\n"]);
        } else {
            out.push_str("  a thief could: nothing with these alone\n");
        }
        out.extend(["  next:          ", &loss.remedy(), "\n"]);
    }
    out
}

fn list(dir: &Path, format: Format) -> Result<()> {
    let keys = KeyDir::new(dir);
    let root = keys.root()?;
    let lines = lines(&root, &keys.files()?);
    let expires = publish::date(root.expires()).unwrap_or_default();
    let text = match format {
        Format::Json => lines.iter().map(|line| as_json(line, &root, &expires)).collect(),
        Format::Human => {
            let rows: Vec<Vec<String>> = lines
                .iter()
                .map(|line| {
                    let id = line.id.get(..ID_SHOWN).unwrap_or(&line.id);
                    let file = line.file.as_deref().unwrap_or("not here");
                    let file = if line.sealed { format!("{file} (encrypted)") } else { file.to_owned() };
                    [line.role.name(), id, &line.threshold, &expires, &file].map(str::to_owned).into()
                })
                .collect();
            let mut out = table(&["role", "key", "threshold", "expires", "file"], &rows);
            let path = keys.root_path();
            out.extend(["\nroot metadata: version ", &root.version().to_string(), ", "]);
            out.extend([&path.display().to_string(), "\n"]);
            out
        }
    };
    super::print(&text)
}

/// One line per role and key.
struct Line {
    role: Role,
    id: String,
    threshold: String,
    file: Option<String>,
    sealed: bool,
}

fn lines(root: &Root, files: &[KeyFile]) -> Vec<Line> {
    let mut lines = Vec::new();
    for role in Role::ALL {
        let authority = root.authority(role);
        for (id, key) in &authority.keys {
            let own = key.as_ref().and_then(Key::ed25519);
            let file = files.iter().find(|file| own.is_some() && file.public().as_ref() == own);
            lines.push(Line {
                role,
                id: id.clone(),
                threshold: format!("{} of {}", authority.threshold, authority.keys.len()),
                file: file
                    .and_then(|file| file.path().file_name())
                    .map(|name| name.to_string_lossy().into_owned()),
                sealed: file.is_some_and(KeyFile::is_sealed),
            });
        }
    }
    lines
}

fn as_json(line: &Line, root: &Root, expires: &str) -> String {
    let authority = root.authority(line.role);
    let value = json!({
        "v": show::SCHEMA, "event": "key", "role": line.role.name(), "key_id": line.id,
        "threshold": authority.threshold, "keys": authority.keys.len(), "expires": expires,
        "root_version": root.version(), "file": line.file, "encrypted": line.sealed,
    });
    format!("{value}\n")
}

fn secure_boot(ctx: &Context, (dir, name): (&Path, &str), format: Format) -> Result<()> {
    let (key, certificate) = crate::secure_boot::create(dir, name)?;
    ctx.report.info(format!(
        "keep {} secret; enrol {} in the machine's firmware",
        key.display(),
        certificate.display()
    ));
    super::say(format, "secure-boot-key", &format!("{}\n", key.display()))?;
    super::say(format, "secure-boot-certificate", &format!("{}\n", certificate.display()))
}

fn operator(file: &Path, format: Format) -> Result<()> {
    if file.is_dir() {
        let message = format!("{} is a directory", file.display());
        return Err(Error::new(Kind::Usage, message).hint("name the file of the new key"));
    }
    let key = OperatorKey::generate()?;
    key.save(file)?;
    super::say(format, "operator", &format!("{}\n", public_line(&key.public())))
}
