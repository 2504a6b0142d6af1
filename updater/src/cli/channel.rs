//! `check` and `apply` without a place, and `poll`: what comes from the channel.

use super::Image;
use super::progress::Shown;
use super::transfer::{self, LOCK};
use crate::baseline::Surveyor;
use crate::channel::archive::Archive;
use crate::channel::follow::draw;
use crate::channel::look::{Records, Seen, Viewer};
use crate::channel::poll::{self, Heed, Outcome, Poll};
use crate::channel::repository::{Remote, Repository};
use crate::channel::status::{self, Status};
use crate::channel::sticks;
use crate::channel::store::{self, Store};
use crate::error::{Error, Exit, Kind, Result};
use crate::executor::{Executor, LEFTOVERS_PATH, Settings, Tools, Vouching, trusted_time};
use crate::gate::now_ms;
use crate::isolation;
use crate::report::{Object, Report, Style};
use coracle_block::Access;
use coracle_format::device::Channel;
use coracle_rollout::schedule::next_in_window;
use coracle_rollout::windows::Windows;
use coracle_slots::Release;
use std::io::Write as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The kernel log: a look that nobody watches is told there.
const KMSG: &str = "/dev/kmsg";

/// What is opened before the network is left, beside the repository.
struct Open {
    executor: Executor,
    trusted_root: Vec<u8>,
    surveyor: Option<Surveyor>,
}

impl Open {
    /// Leaves the network. The process that speaks to the repository must run already.
    fn new(image: &Image, access: Access) -> Result<Self> {
        let executor = image.open(access)?;
        let trusted_root = transfer::trusted_root()?;
        let surveyor = match access {
            Access::Read => None,
            Access::Write => Some(Surveyor::start()?),
        };
        isolation::leave_network()?;
        Ok(Self { executor, trusted_root, surveyor })
    }

    fn viewer<'a>(&'a self, image: &'a Image, channel: &'a Channel, heed: Heed) -> Result<Viewer<'a>> {
        let floors = self.executor.record()?.floors();
        let build = image.config.clock.floor;
        Ok(Viewer {
            executor: &self.executor,
            channel: &channel.name,
            image: &image.config.image_name,
            version: &image.config.image_version,
            arch: Image::arch(),
            trusted_root: &self.trusted_root,
            floor: build,
            clock: trusted_time(&[build, floors.released, floors.issued]),
            waves: poll::waves(heed),
            records: Records::Raised,
        })
    }
}

/// What the channel offers this machine now.
pub(super) fn check(image: &Image, report: &mut Report<'_>) -> Result<()> {
    let channel = channel(image)?;
    let mut repository = Remote::new(&channel.url, image.update.download_rate)?;
    let open = Open::new(image, Access::Read)?;
    let viewer = Viewer { records: Records::Untouched, ..open.viewer(image, channel, Heed::Windows)? };
    let seen = viewer.look(&mut repository, &mut Store::new(Path::new(store::PATH)))?;
    let mut status = begin(channel, &repository.describe(), &Status::default());
    poll::tell(&seen.decision, &mut status);
    match report.style() {
        Style::Human => report.data(&format!("channel {}: {}\n", status.channel, status.why)),
        Style::Json => report.data(&object(&status, &seen).line()),
    }
}

fn object(status: &Status, seen: &Seen) -> Object {
    Object::event("checked")
        .text("channel", &status.channel)
        .text("state", &status.state)
        .text("version", &status.version)
        .text("why", &status.why)
        .number("opens", status.opens)
        .number("issued", seen.issued)
        .number("expires", seen.expires)
}

/// Takes what the channel offers, whatever its waves and this machine's windows say.
pub(super) fn apply(image: &Image, report: &mut Report<'_>) -> Result<()> {
    let _lock = transfer::lock(Path::new(LOCK))?;
    let channel = channel(image)?;
    let remote = Box::new(Remote::new(&channel.url, image.update.download_rate)?);
    let (status, outcome) = run(image, channel, (remote, Heed::Nothing), report);
    if outcome? != Outcome::Armed {
        return Err(poll::not_taken(&status));
    }
    let text =
        format!("{} {} is armed: the next boot is its trial\n", image.config.image_name, status.version);
    let object = Object::event("applied")
        .text("image", &image.config.image_name)
        .text("version", &status.version)
        .text("channel", &status.channel);
    match report.style() {
        Style::Human => report.data(&text),
        Style::Json => report.data(&object.line()),
    }
}

/// Looks because it is time to, or at a stick. Whether the machine is to be restarted.
pub(super) fn poll(image: &Image, archive: Option<&Path>, report: &mut Report<'_>) -> Result<(Exit, bool)> {
    let channel = channel(image)?;
    let start = match archive.map(sticks::find) {
        Some(Ok(None)) => return Ok((Exit::Done, false)),
        Some(found) => found?,
        None => None,
    };
    let _lock = match transfer::lock(Path::new(LOCK)) {
        // Somebody else is at it.
        Err(error) if error.kind() == Kind::Busy => return Ok((Exit::Done, false)),
        lock => lock?,
    };
    let (repository, heed): (Box<dyn Repository>, Heed) = match (archive, start) {
        (Some(path), Some(start)) => (Box::new(Archive::open(path, start)?), Heed::Nothing),
        _ => (Box::new(Remote::new(&channel.url, image.update.download_rate)?), Heed::Windows),
    };
    let before = Status::load(Path::new(status::PATH)).unwrap_or_default();
    let (status, outcome) = run(image, channel, (repository, heed), report);
    if (&status.state, &status.version, &status.why) != (&before.state, &before.version, &before.why) {
        log(&status);
    }
    Ok(match outcome {
        Ok(outcome) => (Exit::Done, outcome == Outcome::Armed),
        Err(error) => {
            report.error(&error);
            (error.kind().exit(), false)
        }
    })
}

/// One poll, and its status in the file.
fn run(
    image: &Image,
    channel: &Channel,
    (repository, heed): (Box<dyn Repository>, Heed),
    report: &mut Report<'_>,
) -> (Status, Result<Outcome>) {
    let path = Path::new(status::PATH);
    let before = Status::load(path).unwrap_or_default();
    let mut status = begin(channel, &repository.describe(), &before);
    let outcome = try_run(image, channel, (repository, heed), (report, &mut status));
    match &outcome {
        Ok(Outcome::Staged { opens, lasts }) => {
            status.again_ms =
                now_ms().saturating_add(next_in_window(*opens, *lasts, draw()).saturating_mul(1000));
        }
        Ok(Outcome::Nothing | Outcome::Armed) => {}
        Err(error) => {
            "failed".clone_into(&mut status.state);
            status.why = error.sentence();
        }
    }
    // Where there is no place for it (tried by hand, off a machine), there is nobody to read it.
    drop(status.save(path));
    (status, outcome)
}

fn try_run(
    image: &Image,
    channel: &Channel,
    (mut repository, heed): (Box<dyn Repository>, Heed),
    (report, status): (&mut Report<'_>, &mut Status),
) -> Result<Outcome> {
    let windows = Windows::parse(&channel.windows).map_err(|why| {
        Error::new(Kind::Internal, "cannot read the windows of this machine's configuration").because(why)
    })?;
    let open = Open::new(image, Access::Write)?;
    let survey = |release: &Release| open.surveyor.as_ref().map_or(Ok(()), |surveyor| surveyor.take(release));
    let viewer = open.viewer(image, channel, heed)?;
    let settings = Settings {
        image: viewer.image,
        arch: viewer.arch,
        trusted_root: viewer.trusted_root,
        now: viewer.clock,
        write_rate: image.update.write_rate,
        leftovers: Some(Path::new(LEFTOVERS_PATH)),
        survey: Some(&survey),
        vouching: Vouching::Inline,
        tools: Tools::default(),
    };
    let mut store = Store::new(Path::new(store::PATH));
    let poll = Poll { viewer, settings, windows: &windows, heed };
    poll.run(&mut *repository, &mut store, &mut Shown::new(report), status)
}

fn begin(channel: &Channel, place: &str, before: &Status) -> Status {
    Status {
        place: place.to_owned(),
        channel: channel.name.clone(),
        looked: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        issued: before.issued,
        issued_ms: before.issued_ms,
        ..Status::default()
    }
}

fn channel(image: &Image) -> Result<&Channel> {
    image.update.channel.as_ref().ok_or_else(|| {
        let name = &image.config.image_name;
        Error::new(Kind::Usage, format!("the image {name:?} follows no channel"))
            .hint("name a SOURCE: a file, a block device, or an http(s) address; or add url to [update] in its manifest")
    })
}

fn log(status: &Status) {
    let number = if status.state == "failed" { 4 } else { 5 };
    let text = format!("channel {}: {}: {}", status.channel, status.state, status.why);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(800).collect();
    let kmsg = std::fs::OpenOptions::new().append(true).open(KMSG);
    // Without a kernel log the status file still says it.
    drop(kmsg.and_then(|mut kmsg| kmsg.write_all(format!("<{number}>coracle-update: {line}\n").as_bytes())));
}
