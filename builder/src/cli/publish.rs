//! `coracle publish`.

use super::args;
use crate::{
    context::Context,
    error::Result,
    keys,
    publish::{Changed, Repository, Request, publish, waves},
    show::{self, Format},
};
use serde_json::json;

pub(super) fn run(ctx: &Context, args: &args::Publish, format: Format) -> Result<()> {
    let now = keys::now();
    let repository = Repository::new(&args.place.repo);
    let request = Request {
        bundles: args.dirs.clone(),
        channel: args.channel.clone(),
        waves: waves(&args.waves, now)?,
        minimum: args.minimum,
        replaces: args.replaces,
        channel_key: args.channel_key.as_deref().map(keys::public_key).transpose()?,
        deltas: args.deltas,
        usb: args.usb.clone(),
    };
    let changed = publish(ctx, (&repository, &args.place.online.signing()), &request, now)?;
    if !args.dirs.is_empty() {
        tell(ctx, &repository, &changed, format)?;
    }
    match &args.usb {
        Some(image) => super::say(format, "stick", &format!("{}\n", image.display())),
        None => Ok(()),
    }
}

/// What was written, for people on stderr, for programs as an event.
pub(super) fn tell(ctx: &Context, repository: &Repository, changed: &Changed, format: Format) -> Result<()> {
    changed.warnings.iter().for_each(|warning| ctx.report.warn(warning));
    let dir = repository.dir().display();
    if changed.written.is_empty() {
        ctx.report.info(format!("{dir} is up to date (timestamp {})", changed.timestamp));
    } else {
        ctx.report.info(format!("{dir}: {}", changed.written.join(", ")));
    }
    match format {
        Format::Human => Ok(()),
        Format::Json => {
            let value = json!({
                "v": show::SCHEMA, "event": "repository", "timestamp": changed.timestamp,
                "written": changed.written,
            });
            super::print(&format!("{value}\n"))
        }
    }
}
