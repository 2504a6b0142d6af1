//! The part that speaks to the network: a process of its own, without rights, that hands bytes through a pipe.

use crate::error::{Error, Exit, Kind, Result};

/// Runs as the helper process of a network source.
pub fn run(_arguments: &[String]) -> Result<Exit> {
    Err(Error::new(Kind::Usage, "fetch is started by apply and check"))
}
