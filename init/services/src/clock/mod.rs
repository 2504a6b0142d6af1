//! Keeps the clock right by SNTP (RFC 4330), and never below the floor of the image.
//!
//! Nothing here is authenticated: time can be delayed by whoever owns the network, and no other part of the system may
//! take it for more than a hint. What comes in is judged by pure functions in a process that can do nothing else but set
//! the clock.

mod discipline;
mod packet;
mod round;
mod sample;
mod servers;
mod service;
mod steering;

use crate::link::Link;
use crate::status::{Log, Status};
use crate::{ServiceError, config, privilege};
use rustix::thread::CapabilitySet;
use service::{Network, floor_nanos};
use std::fmt::Debug;
use std::io;

/// Runs the service until it is told to stop.
pub fn run() -> Result<(), ServiceError> {
    let failed = |action: &'static str| move |source: io::Error| ServiceError::System { action, source };
    let link = Link::inherit().map_err(failed("take over the line to PID 1"))?;
    let config = config::load()?.clock;
    let mut log = Log::open("clock");
    let status = Status::owned("clock", privilege::CLOCK_ID)?;
    privilege::drop_to(privilege::CLOCK_ID, CapabilitySet::SYS_TIME)?;

    match steering::raise_to(floor_nanos(&config)) {
        Ok(true) => log.notice("the clock was before the making of this image: raised to that"),
        Ok(false) => {}
        Err(error) => log.error(&format!("cannot set the clock: {error}")),
    }
    if let Err(error) = steering::take_over() {
        log.error(&format!("cannot take over the clock: {error}"));
    }
    let network = if link.is_connected() { Network::Awaited } else { Network::Assumed };
    service::Service::new(config, status, log, network).run(link)
}

/// What an SNTP answer says about a clock that asked with `nonce` and shows `now` seconds since 1970, shown.
pub fn sntp_sample(answer: &[u8], nonce: u64, now: u32) -> Option<impl Debug + use<>> {
    let sent = i64::from(now) * 1_000_000_000;
    let exchange = packet::Exchange { nonce, sent, received: sent + 20_000_000 };
    packet::judge(answer, exchange, i64::from(now)).ok()
}
