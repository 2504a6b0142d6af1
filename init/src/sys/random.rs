//! Random bytes.

use crate::fault::{Attempt, Fault};
use std::fs::File;
use std::io::Read;

/// Random bytes fit for identities: waits until the kernel has gathered enough. Not for PID 1 itself.
pub fn bytes<const N: usize>() -> Result<[u8; N], Fault> {
    const SOURCE: &str = "/dev/random";
    let mut out = [0; N];
    let mut source = File::open(SOURCE).attempt("open", SOURCE)?;
    source.read_exact(&mut out).attempt("read", SOURCE)?;
    Ok(out)
}
