//! What makes this machine itself: its id, its name, its randomness.

use crate::fault::{Attempt, Fault};
use crate::hex;
use crate::kmsg::{self, Level};
use crate::sys::random;
use coracle_block::{read_limited, replace_file};
use coracle_format::device::DeviceConfig;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

const ID: &str = "/state/lib/machine-id";
const SHOWN_ID: &str = "/run/coracle/machine-id";
const SEED: &str = "/state/lib/random-seed";
const SEED_BYTES: usize = 512;
const POOL: &str = "/dev/urandom";

/// Whether what is found here outlives a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// The state file system is mounted.
    OnState,
    /// It is not: the machine is another one at every boot.
    InMemory,
}

/// Sets the machine id, and the host name if the configuration leaves it to the id.
pub(super) fn set(config: &DeviceConfig, keep: Keep) -> Result<(), Fault> {
    let id = match keep {
        Keep::OnState => kept_id()?,
        Keep::InMemory => new_id()?,
    };
    replace_file(Path::new(SHOWN_ID), format!("{id}\n").as_bytes(), 0o444)?;
    if config.hostname.is_empty() {
        let name = host_name(&config.image_name, &id);
        nix::unistd::sethostname(&name).attempt("set the host name to", &name)?;
    }
    Ok(())
}

fn kept_id() -> Result<String, Fault> {
    let path = Path::new(ID);
    if let Ok(bytes) = read_limited(path, 64)
        && let Some(id) = parse_id(&bytes)
    {
        return Ok(id);
    }
    let id = new_id()?;
    replace_file(path, format!("{id}\n").as_bytes(), 0o444)?;
    Ok(id)
}

fn new_id() -> Result<String, Fault> {
    let mut bytes: [u8; 16] = random::bytes()?;
    // As machine-id(5) has it: also a valid random UUID.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(hex::encode(&bytes))
}

fn parse_id(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?.trim_end();
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let fine = text.len() == 32 && text.bytes().all(plain) && text.bytes().any(|byte| byte != b'0');
    fine.then(|| text.to_owned())
}

/// `<image>-<first six digits of the id>`
fn host_name(image: &str, id: &str) -> String {
    format!("{image}-{}", &id[..id.floor_char_boundary(6)])
}

/// Stirs the saved seed into the kernel's pool and saves another one. It is never credited: an image that was copied
/// after its first boot would have credit for a secret that it shares.
pub(super) fn stir_seed() -> Result<(), Fault> {
    if let Ok(seed) = read_limited(Path::new(SEED), SEED_BYTES) {
        let mut pool = OpenOptions::new().write(true).open(POOL).attempt("open", POOL)?;
        pool.write_all(&seed).attempt("write", POOL)?;
    }
    save_seed()
}

/// Saves a seed for the next boot.
pub(super) fn save_seed() -> Result<(), Fault> {
    let seed: [u8; SEED_BYTES] = random::bytes()?;
    replace_file(Path::new(SEED), &seed, 0o600)?;
    Ok(())
}

/// Tells status readers how the state file system stands.
pub(super) fn publish(keep: Keep, device: &str) {
    let mounted = match keep {
        Keep::OnState => "yes",
        Keep::InMemory => "no",
    };
    let text = format!("mounted={mounted}\ndevice={device}\n");
    if let Err(error) = replace_file(Path::new("/run/coracle/status/state"), text.as_bytes(), 0o444) {
        kmsg::log(Level::Warning, &Fault::from(error).line());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_id_is_kept() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(parse_id(format!("{id}\n").as_bytes()).as_deref(), Some(id));
        assert_eq!(parse_id(&id.as_bytes()[1..]), None);
        assert_eq!(parse_id(&[b'0'; 32]), None);
        assert_eq!(parse_id("0123456789ABCDEF0123456789ABCDEF".as_bytes()), None);
    }

    #[test]
    fn a_host_name_is_made_of_image_and_id() {
        assert_eq!(host_name("hello", "3f9a0c6789abcdef0123456789abcdef"), "hello-3f9a0c");
    }
}
