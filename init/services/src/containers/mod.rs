//! The `containers` service: runs the declared containers with crun, without a daemon and without a shim.
//!
//! crun starts a container and ends; the container's first process becomes our child, since the service is a subreaper.
//! One loop ([`supervisor`]) waits for everything: orders of PID 1, dead children, output, deadlines. What happens to a
//! container is decided in [`machine`], which touches nothing.
//!
//! The way to the first container's first instruction is short on purpose: configuration, one directory in `/run`, one
//! control group, one pipe, crun. Everything else comes after that.

mod board;
mod budget;
mod cgroup;
mod console;
mod crun;
mod lines;
mod logfile;
mod machine;
mod news;
mod output;
mod prepare;
mod reaper;
mod supervised;
mod supervisor;

use crate::ServiceError;
use crate::config;
use crate::link::Link;
use crate::status::Log;
use std::io;

/// Runs the declared containers until PID 1 says to stop; then stops them and returns.
pub fn run() -> Result<(), ServiceError> {
    let failed = |action| move |source: io::Error| ServiceError::System { action, source };
    let link = Link::inherit().map_err(failed("take over the line to PID 1"))?;
    let children = reaper::watch_children().map_err(failed("watch children"))?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .map_err(|error| failed("become a subreaper")(error.into()))?;
    let config = config::load()?;
    prepare::prepare_all()?;
    let life = cgroup::prepare()?;
    supervisor::Supervisor::new(config.containers, life, (link, children), Log::open("containers")).run()
}
