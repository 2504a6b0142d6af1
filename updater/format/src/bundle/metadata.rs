//! The signed documents that travel with an update.

use super::{METADATA_BYTES_MAX, NotABundle, Reader};
use alloc::vec::Vec;

/// Root documents in one bundle at most.
pub const ROOTS_MAX: usize = 64;

/// The documents: each with its length in front, the roots in the order of their versions, the targets last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata<'a> {
    /// Root documents, oldest first; may be none.
    pub roots: Vec<&'a [u8]>,
    /// The targets document.
    pub targets: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// The documents as bytes; `None` if there are too many or they are too large.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for document in self.roots.iter().copied().chain([self.targets]) {
            out.extend_from_slice(&u32::try_from(document.len()).ok()?.to_le_bytes());
            out.extend_from_slice(document);
        }
        Metadata::parse(&out).ok()?;
        Some(out)
    }

    /// Takes the documents apart. What is in them is not looked at.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotABundle> {
        if bytes.len() > METADATA_BYTES_MAX {
            return Err(NotABundle::Limit);
        }
        let mut documents = Vec::new();
        let mut reader = Reader(bytes);
        while !reader.0.is_empty() {
            let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
            let (document, rest) = reader.0.split_at_checked(length).ok_or(NotABundle::Length)?;
            if document.is_empty() || documents.len() > ROOTS_MAX {
                return Err(NotABundle::Metadata);
            }
            documents.push(document);
            reader.0 = rest;
        }
        let targets = documents.pop().ok_or(NotABundle::Metadata)?;
        Ok(Self { roots: documents, targets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn documents_survive_the_round_trip() {
        for roots in [vec![], vec![&b"one"[..], b"two"]] {
            let metadata = Metadata { roots, targets: b"targets" };
            let bytes = metadata.encode().unwrap();
            assert_eq!(Metadata::parse(&bytes), Ok(metadata));
        }
    }

    #[test]
    fn the_bytes_are_lengths_and_documents() {
        let metadata = Metadata { roots: vec![b"r"], targets: b"tt" };
        assert_eq!(metadata.encode().unwrap(), b"\x01\0\0\0r\x02\0\0\0tt");
    }

    #[test]
    fn cuts_and_trailing_bytes_never_give_the_same_documents() {
        let bytes = Metadata { roots: vec![b"one"], targets: b"targets" }.encode().unwrap();
        for end in 0..bytes.len() {
            // A cut between documents leaves fewer of them.
            assert!(
                Metadata::parse(&bytes[..end]).is_ok_and(|cut| cut.targets == b"one") == (end == 7),
                "{end}"
            );
        }
        for byte in [0, 1, 0xff] {
            assert_eq!(Metadata::parse(&[&bytes[..], &[byte]].concat()), Err(NotABundle::Length));
        }
        assert_eq!(Metadata::parse(&[&bytes[..], &[0; 4]].concat()), Err(NotABundle::Metadata));
    }

    #[test]
    fn too_many_and_too_large_documents_are_refused() {
        let one = b"\x01\0\0\0r";
        Metadata::parse(&one.repeat(ROOTS_MAX + 1)).unwrap();
        assert_eq!(Metadata::parse(&one.repeat(ROOTS_MAX + 2)), Err(NotABundle::Metadata));
        assert_eq!(Metadata::parse(&vec![0; METADATA_BYTES_MAX + 1]), Err(NotABundle::Limit));
        assert_eq!(Metadata::parse(b"\xff\xff\xff\xffr"), Err(NotABundle::Length));
        assert_eq!(Metadata::parse(b""), Err(NotABundle::Metadata));
    }
}
