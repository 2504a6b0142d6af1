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
pub use recording::Name;
pub use report::{Outcome, Part, Summary};

use crate::{Guest, Release, Server, releases, releases::Order};
use anyhow::{Context as _, Result};
use recording::Recording;
use std::{collections::BTreeMap, fs, path::PathBuf, time::Instant};

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

impl Campaign {
    /// The order to update a machine that runs one of the releases to another, by the numbers of both. With `--delta`
    /// it gets the delta and nothing else.
    fn order(&self, guest: &Guest, from: usize, to: usize) -> Order {
        let (old, new) = (&self.releases[from], &self.releases[to]);
        if self.options.delta {
            self.server.order_file(guest, &new.delta_name(old))
        } else {
            self.server.order(guest, new)
        }
    }
}

/// Bundles, or the deltas between releases.
fn served(releases: &[Release; 3], delta: bool) -> Result<BTreeMap<String, PathBuf>> {
    if !delta {
        return Ok(releases.iter().map(Release::served).collect());
    }
    [(0, 1), (0, 2), (1, 2)].map(|(old, new)| releases[new].delta_from(&releases[old])).into_iter().collect()
}

/// Records, cuts, boots, and says what came of it. An error means that the campaign could not be carried out.
pub fn run(options: Options) -> Result<Summary> {
    let begun = Instant::now();
    let dir = options.dir()?;
    let progress = progress::Progress::new(&options);
    progress.say("building three releases");
    let releases = releases::good(options.arch)?;
    let server = Server::start(served(&releases, options.delta)?)?;
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
