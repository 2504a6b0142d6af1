//! `coracle sign`.

use super::args;
use crate::{
    context::Context,
    error::{Error, Kind, Result},
    secure_boot::{Origin, Parts, Signer, disk_in, sign_built},
    show::Format,
};
use std::path::{Path, PathBuf};

pub(super) fn run(ctx: &Context, args: &args::Sign, format: Format) -> Result<()> {
    let signer = signer(args.key.as_deref().zip(args.cert.as_deref()))?;
    let disk = disk_in(&args.dir)?;
    if let Some(dir) = &args.export {
        return written(&Parts::read(&disk)?.export(dir)?, "program", format);
    }
    let origin = match (&args.import, &signer, &args.detached) {
        (None, Some(signer), Some(dir)) => {
            return written(&Parts::read(&disk)?.detach(signer, dir)?, "signature", format);
        }
        (Some(dir), _, _) => Origin::Directory(dir),
        (None, Some(signer), None) => Origin::Key(signer),
        (None, None, _) => {
            return Err(Error::new(Kind::Usage, "nothing is named that could sign")
                .hint("name --key and --cert, or --export and --import where the key is elsewhere"));
        }
    };
    sign_built(ctx, &args.dir, origin)?;
    super::say(format, "disk", &format!("{}\n", disk.display()))
}

/// The signer that the flags name, if they name one.
pub(super) fn signer(files: Option<(&Path, &Path)>) -> Result<Option<Signer>> {
    files.map(|(key, certificate)| Signer::read(key, certificate)).transpose()
}

fn written(paths: &[PathBuf], event: &str, format: Format) -> Result<()> {
    paths.iter().try_for_each(|path| super::say(format, event, &format!("{}\n", path.display())))
}
