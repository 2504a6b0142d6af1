//! Power buttons.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const KEY_POWER: usize = 116;
const EV_KEY: u16 = 1;
const PRESSED: i32 = 1;
/// Bytes of an input event on a 64-bit kernel: time, type, code, value.
const EVENT_BYTES: usize = 24;

/// An open power button.
#[derive(Debug)]
pub(super) struct Button {
    name: String,
    file: File,
}

/// What a look at a button brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It was pressed.
    Pressed,
    /// Nothing of interest.
    Nothing,
    /// The button is gone.
    Gone,
}

/// Opens all power buttons that are not open yet.
pub(super) fn open_new(buttons: &mut Vec<Button>) {
    let Ok(inputs) = std::fs::read_dir("/sys/class/input") else {
        return;
    };
    for name in inputs.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let known = buttons.iter().any(|button| button.name == name);
        let keys = format!("/sys/class/input/{name}/device/capabilities/key");
        if known
            || !name.starts_with("event")
            || !has_power_key(&std::fs::read_to_string(keys).unwrap_or_default())
        {
            continue;
        }
        let node = Path::new("/dev/input").join(&name);
        let flags = nix::libc::O_NONBLOCK;
        if let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(node) {
            buttons.push(Button { name, file });
        }
    }
}

/// Whether a bitmap of keys, as sysfs shows it (64-bit words, the highest first), has the power key.
fn has_power_key(bitmap: &str) -> bool {
    let word = bitmap.split_ascii_whitespace().rev().nth(KEY_POWER / 64);
    let bits = word.and_then(|word| u64::from_str_radix(word, 16).ok()).unwrap_or(0);
    bits >> (KEY_POWER % 64) & 1 == 1
}

impl Button {
    /// Reads what there is.
    pub(super) fn look(&mut self) -> Seen {
        let mut buffer = [0; EVENT_BYTES * 16];
        match self.file.read(&mut buffer) {
            Ok(length) if buffer[..length].as_chunks().0.iter().any(is_power_press) => Seen::Pressed,
            Ok(_) => Seen::Nothing,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Seen::Nothing,
            Err(_) => Seen::Gone,
        }
    }
}

fn is_power_press(event: &[u8; EVENT_BYTES]) -> bool {
    let kind = u16::from_ne_bytes([event[16], event[17]]);
    let code = u16::from_ne_bytes([event[18], event[19]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    kind == EV_KEY && usize::from(code) == KEY_POWER && value == PRESSED
}

impl AsFd for Button {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_key_is_found_in_the_kernels_bitmap() {
        assert!(has_power_key("10000000000000 0\n"));
        assert!(!has_power_key("10000000000000\n"));
        assert!(has_power_key("402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\n"));
        assert!(!has_power_key(""));
    }

    #[test]
    fn only_a_press_counts() {
        let mut event = [0; EVENT_BYTES];
        event[16] = 1;
        event[18] = 116;
        event[20] = 1;
        assert!(is_power_press(&event));
        event[20] = 0;
        assert!(!is_power_press(&event), "release");
        event[20] = 1;
        event[18] = 30;
        assert!(!is_power_press(&event), "another key");
    }
}
