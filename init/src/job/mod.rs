//! Short-lived children of PID 1 for what may block.

pub(crate) mod code;
mod fsck;
mod identity;
mod journal;
mod plan;
mod release;
mod review;
mod signature;
mod state;
mod trial;
mod verdict;

use crate::fault::Fault;
use crate::kmsg::{self, Level};
use crate::modules::{Kernel, Loader, load_for_devices};
use coracle_slots::Verdict;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Runs `job NAME`. Exit status 0: done; 1: it failed and said so in the kernel log; 2: no such job; more in [`code`].
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.filter_map(|argument| argument.into_string().ok()).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["job", "system"] => return crate::system::run(),
        ["job", "state"] => return state::run(),
        ["job", "drivers"] => load_drivers(),
        ["job", "release"] => release::run(),
        ["job", "journal"] => journal::run(),
        ["job", "trial"] => return finish(trial::run()),
        ["job", "review"] => return finish(review::run()),
        ["job", "damaged"] => return finish(verdict::run_damaged()),
        ["job", "verdict", "deadline"] => return finish(verdict::run(Verdict::Deadline)),
        ["job", "verdict", "gate"] => return finish(verdict::run(Verdict::Gate)),
        ["job", "verdict", "unhealthy"] => return finish(verdict::run(Verdict::Unhealthy)),
        ["job", "sync"] => {
            nix::unistd::sync();
            Ok(())
        }
        _ => {
            kmsg::log(Level::Error, "coracle-init is PID 1, or a job of PID 1");
            return ExitCode::from(2);
        }
    };
    finish(result.map(|()| code::DONE))
}

fn finish(result: Result<u8, Fault>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            kmsg::log(Level::Error, &fault.line());
            ExitCode::FAILURE
        }
    }
}

/// Loads the drivers of the devices there are. A driver that fails is reported; it does not keep others from loading.
fn load_drivers() -> Result<(), Fault> {
    let mut loader = Loader::new(crate::root::load_config()?.modules);
    let mut faults = loader.load_first(&mut Kernel).faults;
    faults.extend(loader.load_always(&mut Kernel).faults);
    faults.extend(load_for_devices(&mut loader, &mut Kernel, Path::new("/sys")));
    let last = faults.pop();
    for fault in &faults {
        kmsg::log(Level::Warning, &fault.line());
    }
    last.map_or(Ok(()), Err)
}
