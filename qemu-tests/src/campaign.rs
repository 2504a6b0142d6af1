//! `power-cut`: records what a machine writes during its first boot and a whole update, cuts the power there, and boots
//! what is left.
//!
//! After every cut three things must hold: a complete slot boots, every record that a container was told to be durable
//! before the cut is there, and the next update goes through.

mod ledger;
mod options;
mod progress;
mod recording;
mod report;
mod trial;
mod work;

pub use options::{Backend, Options};
pub use report::{Outcome, Part, Summary};

use crate::{Release, Server, releases};
use anyhow::{Context as _, Result};
use recording::Recording;
use std::{fs, time::Instant};

/// The most stretches between flushes in which an update may write outside `state`.
pub const EPOCHS_MAX: u64 = 60;

/// What a campaign works with.
#[derive(Debug)]
struct Campaign {
    options: Options,
    /// The release that is shipped, the one it is updated to, and the one that everything is updated to afterwards.
    releases: [Release; 3],
    server: Server,
}

/// Records, cuts, boots, and says what came of it. An error means that the campaign could not be carried out.
pub fn run(options: Options) -> Result<Summary> {
    let begun = Instant::now();
    let dir = options.dir()?;
    let progress = progress::Progress::new(&options);
    progress.say("building three releases");
    let releases = releases::good(options.arch)?;
    let server = Server::start(releases.iter().map(Release::served).collect())?;
    let campaign = Campaign { options, releases, server };
    let mut summary = Summary::new(&campaign.options);
    for name in campaign.options.recordings() {
        let dir = dir.join(name.word());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        progress.say(&format!("recording: {name}"));
        let recording = Recording::make(&campaign, name, &dir)?;
        summary.parts.push(work::carry_out(&campaign, &recording, &progress)?);
    }
    summary.seconds = begun.elapsed().as_secs();
    Ok(summary)
}
