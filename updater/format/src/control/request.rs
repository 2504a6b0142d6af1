//! What an operator asks for.

use alloc::{borrow::ToOwned as _, string::String, vec::Vec};

/// Most bytes of a text in a request or a challenge.
pub const TEXT_BYTES_MAX: usize = 2048;
/// Most bytes of a container's name.
pub const NAME_BYTES_MAX: usize = 40;
/// Most lines of a log that are given from before the request.
pub const TAIL_LINES_MAX: u32 = 10_000;
/// Most bytes of a path on the machine.
pub const PATH_BYTES_MAX: usize = 255;
/// Most bytes of a stream.
pub const APPLY_BYTES_MAX: u64 = 16 << 30;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What runs and how it is.
    Status {
        /// Objects instead of text.
        json: bool,
    },
    /// A log.
    Logs {
        /// Which.
        from: LogFrom,
        /// How many of its last lines.
        tail: u32,
        /// Whether what is added later is given too, until the client goes.
        follow: bool,
    },
    /// Whether an update would be applied.
    Check {
        /// Where it is.
        from: ApplyFrom,
        /// Objects instead of text.
        json: bool,
    },
    /// An update is written and its trial armed.
    Apply {
        /// Where it is.
        from: ApplyFrom,
        /// Whether the machine reboots into it.
        reboot: bool,
        /// Objects instead of text.
        json: bool,
    },
    /// The release on trial is committed by hand.
    Confirm {
        /// Objects instead of text.
        json: bool,
    },
    /// The other good slot boots next.
    Rollback {
        /// Whether the machine reboots into it.
        reboot: bool,
        /// Objects instead of text.
        json: bool,
    },
    /// A release that failed may be applied again.
    Retry {
        /// The beginning of its digest; empty: the one that failed last.
        release: String,
        /// Objects instead of text.
        json: bool,
    },
    /// What happened to the slots.
    History {
        /// Objects instead of text.
        json: bool,
    },
    /// The machine starts again.
    Reboot,
    /// The machine stops for good.
    PowerOff,
}

/// Which log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogFrom {
    /// The kernel's.
    Kernel,
    /// A container's.
    Container(String),
}

/// Where an update is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApplyFrom {
    /// In the frames that follow, this many bytes.
    Stream(u64),
    /// At an `http:` or `https:` address that the machine fetches itself.
    Address(String),
    /// On the machine: a block device below `/dev`, or a file below `/state`.
    Path(String),
}

impl Request {
    /// The word for logs and messages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Logs { .. } => "logs",
            Self::Check { .. } => "check",
            Self::Apply { .. } => "apply",
            Self::Confirm { .. } => "confirm",
            Self::Rollback { .. } => "rollback",
            Self::Retry { .. } => "retry",
            Self::History { .. } => "history",
            Self::Reboot => "reboot",
            Self::PowerOff => "poweroff",
        }
    }

    /// How many bytes follow in frames.
    pub const fn stream_bytes(&self) -> Option<u64> {
        match self {
            Self::Check { from: ApplyFrom::Stream(bytes), .. }
            | Self::Apply { from: ApplyFrom::Stream(bytes), .. } => Some(*bytes),
            Self::Check { .. }
            | Self::Apply { .. }
            | Self::Status { .. }
            | Self::Logs { .. }
            | Self::Confirm { .. }
            | Self::Rollback { .. }
            | Self::Retry { .. }
            | Self::History { .. }
            | Self::Reboot
            | Self::PowerOff => None,
        }
    }

    /// The request's bytes. A text longer than [`TEXT_BYTES_MAX`] is cut, and refused by what it then says.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Status { json } => out.extend_from_slice(&[1, flag(*json)]),
            Self::Logs { from, tail, follow } => {
                out.extend_from_slice(&[2, flag(*follow)]);
                out.extend_from_slice(&tail.to_le_bytes());
                match from {
                    LogFrom::Kernel => out.push(0),
                    LogFrom::Container(name) => {
                        out.push(1);
                        put_text(&mut out, name);
                    }
                }
            }
            Self::Check { from, json } => {
                out.extend_from_slice(&[3, flag(*json)]);
                from.put(&mut out);
            }
            Self::Apply { from, reboot, json } => {
                out.extend_from_slice(&[4, flag(*json), flag(*reboot)]);
                from.put(&mut out);
            }
            Self::Confirm { json } => out.extend_from_slice(&[5, flag(*json)]),
            Self::Rollback { reboot, json } => out.extend_from_slice(&[6, flag(*json), flag(*reboot)]),
            Self::Retry { release, json } => {
                out.extend_from_slice(&[7, flag(*json)]);
                put_text(&mut out, release);
            }
            Self::History { json } => out.extend_from_slice(&[8, flag(*json)]),
            Self::Reboot => out.push(9),
            Self::PowerOff => out.push(10),
        }
        out
    }

    /// The request in these bytes; `None` if they are not exactly one.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(bytes);
        let request = match cursor.byte()? {
            1 => Self::Status { json: cursor.flag()? },
            2 => {
                let follow = cursor.flag()?;
                let tail = u32::from_le_bytes(cursor.array()?);
                let from = match cursor.byte()? {
                    0 => LogFrom::Kernel,
                    1 => LogFrom::Container(cursor.name()?),
                    _ => return None,
                };
                (tail <= TAIL_LINES_MAX).then_some(Self::Logs { from, tail, follow })?
            }
            3 => Self::Check { json: cursor.flag()?, from: ApplyFrom::take(&mut cursor)? },
            4 => Self::Apply {
                json: cursor.flag()?,
                reboot: cursor.flag()?,
                from: ApplyFrom::take(&mut cursor)?,
            },
            5 => Self::Confirm { json: cursor.flag()? },
            6 => Self::Rollback { json: cursor.flag()?, reboot: cursor.flag()? },
            7 => Self::Retry { json: cursor.flag()?, release: cursor.digest_prefix()? },
            8 => Self::History { json: cursor.flag()? },
            9 => Self::Reboot,
            10 => Self::PowerOff,
            _ => return None,
        };
        cursor.is_at_end().then_some(request)
    }
}

impl ApplyFrom {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Stream(bytes) => {
                out.push(0);
                out.extend_from_slice(&bytes.to_le_bytes());
            }
            Self::Address(address) => {
                out.push(1);
                put_text(out, address);
            }
            Self::Path(path) => {
                out.push(2);
                put_text(out, path);
            }
        }
    }

    fn take(cursor: &mut Cursor<'_>) -> Option<Self> {
        match cursor.byte()? {
            0 => {
                let bytes = u64::from_le_bytes(cursor.array()?);
                (bytes <= APPLY_BYTES_MAX).then_some(Self::Stream(bytes))
            }
            1 => {
                let address = cursor.text(TEXT_BYTES_MAX)?;
                is_address(&address).then_some(Self::Address(address))
            }
            2 => {
                let path = cursor.text(PATH_BYTES_MAX)?;
                is_path(&path).then_some(Self::Path(path))
            }
            _ => None,
        }
    }
}

/// Nothing that a program takes for an option or for a path.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

/// The plain name of something below `/dev` or `/state`: no step up, no empty step, and nothing that a log or a terminal
/// takes for anything but letters. What is there is looked at on the machine.
fn is_path(text: &str) -> bool {
    let below = text.strip_prefix("/dev/").or_else(|| text.strip_prefix("/state/"));
    let plain =
        |step: &str| !matches!(step, "" | "." | "..") && step.bytes().all(|byte| byte.is_ascii_graphic());
    below.is_some_and(|below| below.split('/').all(plain))
}

const fn flag(value: bool) -> u8 {
    if value { 1 } else { 0 }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    let length = u16::try_from(text.len()).unwrap_or(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that are taken from the front.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl Cursor<'_> {
    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn text(&mut self, limit: usize) -> Option<String> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        if length > limit {
            return None;
        }
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(core::str::from_utf8(bytes).ok()?.to_owned())
    }

    fn name(&mut self) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let name = self.text(NAME_BYTES_MAX)?;
        (!name.is_empty() && name.bytes().all(plain)).then_some(name)
    }

    fn digest_prefix(&mut self) -> Option<String> {
        let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let text = self.text(64)?;
        text.bytes().all(digits).then_some(text)
    }
}
