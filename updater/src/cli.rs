//! The command line: words to a command, a command to its result.

mod args;
mod channel;
mod hand;
mod history;
mod progress;
mod status;
mod text;
mod transfer;

use crate::error::{Error, Exit, Kind, Result};
use crate::executor::Executor;
use crate::report::{Report, Style};
use args::{Afterwards, Command, HELP, Parsed};
use coracle_block::{Access, Doing, read_limited};
use coracle_format::device::{self, DEVICE_PATH, DeviceConfig, Update};
use coracle_format::slot::Arch;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// Does what the arguments (without the program's name) ask for, and says so on `report`.
pub fn run(arguments: &[String], report: &mut Report<'_>) -> Exit {
    let parsed = match args::parse(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Whoever asks for objects gets this one too.
            if arguments.iter().any(|argument| argument == "--json") {
                report.set_style(Style::Json);
            }
            return fail(report, &error);
        }
    };
    report.set_style(parsed.style);
    dispatch(parsed, report).unwrap_or_else(|error| fail(report, &error))
}

fn fail(report: &mut Report<'_>, error: &Error) -> Exit {
    report.error(error);
    error.kind().exit()
}

fn dispatch(parsed: Parsed, report: &mut Report<'_>) -> Result<Exit> {
    match parsed.command {
        Command::Help => report.data(HELP)?,
        Command::Gate => return crate::gate::run(),
        Command::Survey => return crate::baseline::run(&Image::load()?.config),
        Command::Fetch(arguments) => return crate::fetch::run(&arguments),
        Command::Status => {
            let image = Image::load()?;
            let state = status::StatePartition::look();
            status::show(&image.open(Access::Read)?, &image, state, report)?;
        }
        Command::Follow => return crate::channel::follow::run(),
        Command::Poll { archive } => {
            let (exit, armed) = channel::poll(&Image::load()?, archive.as_deref().map(Path::new), report)?;
            follow(if armed { Afterwards::Reboot } else { Afterwards::Stay })?;
            return Ok(exit);
        }
        Command::Check { places: Some(places) } => transfer::check(&Image::load()?, &places, report)?,
        Command::Check { places: None } => channel::check(&Image::load()?, report)?,
        Command::Apply { places, afterwards } => {
            match places {
                Some(places) => transfer::apply(&Image::load()?, &places, report)?,
                None => channel::apply(&Image::load()?, report)?,
            }
            follow(afterwards)?;
        }
        Command::Confirm => hand::confirm(&to_write()?, report)?,
        Command::Rollback { afterwards } => {
            hand::roll_back(&to_write()?, report)?;
            follow(afterwards)?;
        }
        Command::Retry { release } => hand::retry(&to_write()?, release.as_deref(), report)?,
        Command::History => {
            Image::load()?;
            history::show(&Executor::open_running(Access::Read)?, report)?;
        }
    }
    Ok(Exit::Done)
}

/// The running disk, for a command that changes the record.
fn to_write() -> Result<Executor> {
    Image::load()?.open(Access::Write)
}

fn follow(afterwards: Afterwards) -> Result<()> {
    match afterwards {
        Afterwards::Stay => Ok(()),
        Afterwards::Reboot => kill_process(Pid::INIT, Signal::INT).map_err(|error| {
            Error::new(Kind::Io, "cannot ask PID 1 for a reboot")
                .because(error)
                .hint("everything else is done: restart the machine by hand")
        }),
    }
}

/// What the running image says about itself.
#[derive(Debug)]
struct Image {
    config: DeviceConfig,
    update: Update,
}

impl Image {
    fn load() -> Result<Self> {
        Self::read(Path::new(DEVICE_PATH))
    }

    fn read(path: &Path) -> Result<Self> {
        let bytes = read_limited(path, device::LIMIT_BYTES).map_err(|error| {
            Error::from(error).hint("coracle-update works on a machine that runs a Coracle image")
        })?;
        let config: DeviceConfig =
            device::decode(&bytes).map_err(std::io::Error::other).doing("read", path)?;
        let update = config.update.clone().ok_or_else(|| {
            let name = &config.image_name;
            Error::new(
                Kind::Usage,
                format!("the image {name:?} takes no updates: its manifest has no [update]"),
            )
            .hint("build it with an [update] table, and write that image to the disk once")
        })?;
        Ok(Self { config, update })
    }

    /// The running disk.
    fn open(&self, access: Access) -> Result<Executor> {
        Ok(Executor::open_running(access)?.of_epoch(self.update.epoch))
    }

    const fn arch() -> Arch {
        if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 }
    }
}
