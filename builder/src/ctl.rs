//! Control of a machine: the operator's side of the control channel (`docs/formats/control.md`).
//!
//! ```no_run
//! # use coracle::ctl::{Address, Client, OperatorKey};
//! # use coracle_format::control::Request;
//! # use std::time::Duration;
//! # fn main() -> coracle::error::Result<()> {
//! let key = OperatorKey::load("operator.key".as_ref())?;
//! let mut client = Client::connect(&"unix:control.sock".parse()?, &key)?;
//! let reply = client.request(&Request::Status { json: true }, Duration::from_secs(30))?;
//! assert_eq!(reply.code, 0);
//! # Ok(()) }
//! ```

mod address;
mod client;
mod key;
mod payload;
mod stream;

pub use address::Address;
pub use client::{CONNECT_WITHIN, Client, Heard, Reply};
pub use key::{OperatorKey, public_line};
pub use payload::Payload;
