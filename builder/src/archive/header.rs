//! One 512-byte tar header, and the extensions before it (POSIX.1-2001 pax, GNU long names).

use std::collections::BTreeMap;

/// Bytes of a tar block.
pub(super) const BLOCK: usize = 512;
/// Most extended attributes of one member.
const XATTRS_MAX: usize = 64;
const XATTR_PREFIX: &str = "SCHILY.xattr.";
const DAMAGED: &str = "extended header is damaged";

/// The fields of a header that matter.
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) major: u32,
    pub(super) minor: u32,
}

impl Header {
    /// Parses a block that is not all zeros. The checksum is verified first.
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, &'static str> {
        if number(&block[148..156]) != Some(checksum(block)) {
            return Err("is not a tar header (wrong checksum)");
        }
        let small = |range: std::ops::Range<usize>, what| {
            let value = number(&block[range]).ok_or(what)?;
            u32::try_from(value).or(Err(what))
        };
        let kind = block[156];
        let mut path = field(&block[..100]);
        // POSIX archives split long paths; GNU keeps times where POSIX keeps the first half.
        if block[257..263] == *b"ustar\0" && block[345] != 0 {
            let mut whole = field(&block[345..500]);
            whole.push(b'/');
            whole.append(&mut path);
            path = whole;
        }
        let device = matches!(kind, b'3' | b'4');
        let mode = small(100..108, "has a bad mode")? & 0o7777;
        Ok(Self {
            kind,
            path,
            link: field(&block[157..257]),
            mode: u16::try_from(mode).or(Err("has a bad mode"))?,
            uid: small(108..116, "has a bad owner")?,
            gid: small(116..124, "has a bad group")?,
            size: number(&block[124..136]).ok_or("has a bad size")?,
            major: if device { small(329..337, "has a bad device number")? } else { 0 },
            minor: if device { small(337..345, "has a bad device number")? } else { 0 },
        })
    }
}

/// What the extensions before a header say about its member.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    /// GNU's long name, for which a pax record's stands in.
    pub(super) long_path: Option<String>,
    /// GNU's long link target, likewise.
    pub(super) long_link: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) xattrs: BTreeMap<String, Vec<u8>>,
}

impl Extended {
    /// Takes a pax extended header: records of `<length> <key>=<value>\n`.
    pub(super) fn pax(&mut self, mut body: &[u8]) -> Result<(), &'static str> {
        while !body.is_empty() {
            let space = body.iter().take(8).position(|byte| *byte == b' ');
            let space = space.ok_or(DAMAGED)?;
            let length = decimal(&body[..space]).ok_or(DAMAGED)?;
            let length = usize::try_from(length).or(Err(DAMAGED))?;
            if length <= space + 1 || length > body.len() || body[length - 1] != b'\n' {
                return Err(DAMAGED);
            }
            let record = &body[space + 1..length - 1];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(DAMAGED)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            body = &body[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "has a bad number in an extended header";
        let key = str::from_utf8(key).or(Err(DAMAGED))?;
        let id = || decimal(value).and_then(|value| u32::try_from(value).ok());
        match key {
            "path" => self.path = Some(value.to_vec()),
            "linkpath" => self.link = Some(value.to_vec()),
            "size" => self.size = Some(decimal(value).ok_or(BAD)?),
            "uid" => self.uid = Some(id().ok_or(BAD)?),
            "gid" => self.gid = Some(id().ok_or(BAD)?),
            _ if key.starts_with("GNU.sparse.") => {
                return Err("has a sparse member, which is not supported");
            }
            _ => {
                let Some(name) = key.strip_prefix(XATTR_PREFIX) else {
                    return Ok(());
                };
                if self.xattrs.len() >= XATTRS_MAX {
                    return Err("has too many extended attributes on one member");
                }
                self.xattrs.insert(name.to_owned(), value.to_vec());
            }
        }
        Ok(())
    }
}

/// The sum of all bytes, the checksum's own taken as spaces.
fn checksum(block: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    sum(&block[..148]) + 8 * u64::from(b' ') + sum(&block[156..])
}

/// A field up to its first NUL.
fn field(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes[..end.unwrap_or(bytes.len())].to_vec()
}

/// An octal number between spaces and NULs, or GNU's base 256; an empty field is 0.
fn number(bytes: &[u8]) -> Option<u64> {
    if let Some((0x80, rest)) = bytes.split_first() {
        return rest.iter().try_fold(0_u64, |value, byte| Some(value.checked_mul(256)? + u64::from(*byte)));
    }
    let begin = bytes.iter().position(|byte| *byte != b' ');
    let trimmed = &bytes[begin.unwrap_or(bytes.len())..];
    let end = trimmed.iter().position(|byte| matches!(byte, 0 | b' '));
    let (digits, rest) = trimmed.split_at(end.unwrap_or(trimmed.len()));
    if rest.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = char::from(*byte).to_digit(8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

fn decimal(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(bytes).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_the_writers_write_them() {
        for (bytes, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"644\0junk", None),
            (b"0000648\0", None),
            (b"-000644\0", None),
            (b"\t000644\0", None),
            (b"        ", Some(0)),
            (b"\x80\0\0\0\0\0\x01\x02", Some(258)),
            (b"\x80\x01\0\0\0\0\0\0\0\0\0\0", None),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", None),
        ] {
            assert_eq!(number(bytes), value, "{bytes:?}");
        }
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for bad in [
            &b"11 path=abc"[..],
            b"3 a=b\n",
            b"99 path=abc\n",
            b"0 path=abc\n",
            b"x path=abc\n",
            b"9999999999999999999 path=abc\n",
            b"8 patha\n",
            b"11 size=-1x\n",
            b"22 GNU.sparse.major=1\n",
            b"6 \xff=a\n",
        ] {
            assert!(Extended::default().pax(bad).is_err(), "{bad:?}");
        }
        let mut good = Extended::default();
        assert_eq!(good.pax(b"12 path=abc\n"), Ok(()));
        assert_eq!(good.path.as_deref(), Some(&b"abc"[..]));
    }
}
