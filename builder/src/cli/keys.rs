//! `coracle keys`.

use super::args;
use crate::{
    context::Context,
    ctl::{OperatorKey, public_line},
    error::{Error, Kind, Result},
    keys::{KeyDir, Plan},
    show::{self, Format, table},
    signer::Signer,
};
use coracle_trust::{Role, document::PublicKey, publish, root::Root};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Digits of a key's id that tables show.
const ID_SHOWN: usize = 16;

pub(super) fn run(ctx: &Context, args: &args::Keys, format: Format) -> Result<()> {
    match &args.action {
        args::KeysAction::New(new) => create(ctx, new, format),
        args::KeysAction::List { dir } => list(dir, format),
        args::KeysAction::SecureBoot { dir, name } => secure_boot(ctx, (dir, name), format),
        args::KeysAction::Operator { file } => operator(file, format),
    }
}

fn create(ctx: &Context, args: &args::NewKeys, format: Format) -> Result<()> {
    let keys = KeyDir::new(&args.dir);
    let plan = Plan {
        root: (args.root_keys, args.root_threshold.unwrap_or(args.threshold)),
        targets: (args.targets_keys, args.threshold),
        days: args.days,
    };
    let signer = args.signer.clone().map(Signer::Command);
    keys.create(ctx, &plan, signer.as_ref())?;
    ctx.report.info(format!(
        "{}: keep the root keys offline; machines trust {}",
        args.dir.display(),
        keys.root_path().display()
    ));
    list(&args.dir, format)
}

/// One line per role and key.
struct Line {
    role: Role,
    id: String,
    threshold: String,
    file: Option<String>,
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
                    [line.role.name(), id, &line.threshold, &expires, file].map(str::to_owned).into()
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

fn lines(root: &Root, files: &[(PathBuf, PublicKey)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for role in Role::ALL {
        let authority = root.authority(role);
        for (id, key) in &authority.keys {
            let file = files.iter().find(|(_, public)| Some(public) == key.as_ref());
            let file = file.and_then(|(path, _)| path.file_name());
            lines.push(Line {
                role,
                id: id.clone(),
                threshold: format!("{} of {}", authority.threshold, authority.keys.len()),
                file: file.map(|name| name.to_string_lossy().into_owned()),
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
        "root_version": root.version(), "file": line.file,
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
