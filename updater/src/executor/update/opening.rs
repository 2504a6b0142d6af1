//! What the update is: header, metadata, index, and the table of a delta.

use super::Vouching;
use super::run::{Run, out_of_order};
use crate::engine::{Content, Digests, Offer};
use crate::error::{Error, Kind, Result};
use crate::executor::delta::Delta;
use crate::executor::stream::{Feed, Halt, Place, Reach, Stream};
use crate::source::Length;
use coracle_format::bundle::{self, NotABundle};
use coracle_format::delta::{self, NotADelta, TABLE_BYTES_MAX, Table};
use coracle_trust::TrustError;
use ruzstd::decoding::StreamingDecoder;
use std::io::{self, Read as _};

/// The header of what leads an update.
#[derive(Clone, Copy, Debug)]
pub(super) enum Head {
    Bundle(bundle::Header),
    Delta(delta::Header),
}

impl Head {
    /// Bytes of the whole file.
    pub(super) fn total(&self) -> u64 {
        match self {
            Self::Bundle(header) => header.total(),
            Self::Delta(header) => header.total(),
        }
    }

    fn index_offset(&self) -> u64 {
        match self {
            Self::Bundle(header) => header.index_offset(),
            Self::Delta(header) => header.index_offset(),
        }
    }

    /// Bytes of the metadata, and of the index.
    const fn lengths(&self) -> (u32, u32) {
        match self {
            Self::Bundle(header) => (header.metadata, header.index),
            Self::Delta(header) => (header.metadata, header.index),
        }
    }
}

impl Run<'_> {
    /// Who made the update, and what it says it is.
    pub(super) fn verify(&mut self, stream: &mut Stream<'_>) -> Reach<Offer> {
        self.observer.stage("verify");
        match self.try_verify(stream) {
            Err(Halt::Failed(error)) => {
                self.fall_back(error)?;
                self.try_verify(stream)
            }
            other => other,
        }
    }

    fn try_verify(&mut self, stream: &mut Stream<'_>) -> Reach<Offer> {
        let head = self.read_head(stream)?;
        // The header's own check has bounded it.
        let mut metadata = vec![0; usize::try_from(head.lengths().0).unwrap_or(0)];
        stream.fill(&mut metadata)?;
        let verified = match self.settings.vouching {
            Vouching::Inline => {
                match head {
                    Head::Bundle(header) => {
                        header.check_metadata(&metadata).map_err(|why| self.malformed(why))?;
                    }
                    Head::Delta(header) => {
                        header.check_metadata(&metadata).map_err(|why| self.malformed(why))?;
                    }
                }
                let floor = self.executor.record()?.floors().root_version;
                let (root, now) = (self.settings.trusted_root, self.settings.now);
                coracle_trust::verify_bundle(root, &metadata, now, floor)
                    .map_err(|why| self.untrusted(why))?
            }
            Vouching::Channel(verified, _) => verified.clone(),
        };
        let offer = Offer::of(&verified.release, verified.root_version);
        self.verified = Some(verified);
        Ok(offer)
    }

    /// The header of what leads the update. The stream stands behind it when it is read for the first time.
    fn read_head(&mut self, stream: &mut Stream<'_>) -> Reach<Head> {
        stream.go_to(Place { feed: self.lead, offset: 0 })?;
        let mut bytes = [0; delta::HEADER_BYTES];
        let (first, rest) = bytes.split_at_mut(bundle::HEADER_BYTES);
        stream.fill(first)?;
        let head = if self.lead == Feed::Main && delta::Header::is_delta(first) {
            stream.fill(rest)?;
            delta::Header::parse(&bytes).map(Head::Delta).map_err(|why| self.malformed(why))?
        } else {
            bundle::Header::parse(first).map(Head::Bundle).map_err(|why| self.malformed(why))?
        };
        self.check_length(self.lead, head.total())?;
        self.head = Some(head);
        Ok(head)
    }

    /// Goes on with the bundle beside it when what was named is damaged or is not there; any other error is the end.
    fn fall_back(&mut self, error: Error) -> Result<()> {
        if self.lead == Feed::Full || self.feeds.full.is_none() || !is_of_the_file(&error) {
            return Err(error);
        }
        self.observer.note(&format!("{}: the bundle is taken instead", error.sentence()));
        (self.lead, self.head, self.delta) = (Feed::Full, None, None);
        Ok(())
    }

    /// A file that is longer or shorter than its header says is refused before anything is touched.
    pub(super) fn check_length(&self, feed: Feed, total: u64) -> Result<()> {
        let feed = self.feeds.get(feed);
        let why = match feed.length {
            Length::Exactly(bytes) if bytes < total => format!("it has {bytes} bytes of {total}"),
            Length::Exactly(bytes) if bytes > total => {
                format!("{} bytes follow its end at byte {total}", bytes - total)
            }
            Length::AtMost(bytes) if bytes < total => {
                format!("it would have {total} bytes, the device has {bytes}")
            }
            Length::Exactly(_) | Length::AtMost(_) | Length::Unknown | Length::ToTheEnd => return Ok(()),
        };
        Err(Error::new(Kind::Hostile, format!("cannot read {}: {why}", feed.place))
            .hint("it is damaged: copy or download it again"))
    }

    /// What the update consists of, and how a delta makes it.
    pub(super) fn read_index(&mut self, stream: &mut Stream<'_>) -> Reach<Content> {
        match self.try_read_index(stream) {
            Err(Halt::Failed(error)) => {
                self.fall_back(error)?;
                self.try_read_index(stream)
            }
            other => other,
        }
    }

    fn try_read_index(&mut self, stream: &mut Stream<'_>) -> Reach<Content> {
        let head = match self.head {
            Some(head) => head,
            None => self.read_head(stream)?,
        };
        let verified = self.verified.as_ref().ok_or_else(out_of_order)?;
        let length = head.lengths().1;
        if u64::from(length) != verified.index_length {
            return Err(self.untrusted(TrustError::Index).into());
        }
        stream.go_to(Place { feed: self.lead, offset: head.index_offset() })?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        stream.fill(&mut bytes)?;
        let index = verified.index(&bytes).map_err(|why| self.untrusted(why))?;
        let mut starts_from = None;
        match head {
            Head::Bundle(header) if header.frames != index.stored_bytes() => {
                return Err(self.malformed(NotABundle::Length).into());
            }
            Head::Bundle(header) => self.bundle = Some((self.lead, header)),
            Head::Delta(header) => {
                starts_from = Some(header.base).filter(|_| self.feeds.full.is_none());
                if self.is_base(&header)? {
                    let table = self.read_table(&header, &index, stream)?;
                    self.delta = Some(Delta::new(&header, table));
                }
            }
        }
        let content = Content {
            digests: Digests { root_hash: index.root_hash, is_tree_right: true, boot: index.boot.sha256 },
            root_bytes: index.root.bytes,
            boot_bytes: index.boot.bytes,
            frames: u32::try_from(index.frames.len()).unwrap_or(u32::MAX),
            starts_from,
        };
        self.stored_at = index.placed().map(|(at, _)| at).collect();
        self.index = Some(index);
        Ok(content)
    }

    /// Whether a delta starts from the release that runs. If not, it is of no use.
    fn is_base(&mut self, header: &delta::Header) -> Result<bool> {
        let runs = self.executor.record()?.release(self.executor.running());
        if header.base == runs {
            return Ok(true);
        }
        if self.feeds.full.is_some() {
            let (starts, runs) = (crate::report::short(&header.base), crate::report::short(&runs));
            self.observer.note(&format!(
                "{} starts from release {starts}, this machine runs {runs}: the bundle is taken instead",
                self.feeds.main.place
            ));
        }
        Ok(false)
    }

    fn read_table(
        &self,
        header: &delta::Header,
        index: &bundle::Index,
        stream: &mut Stream<'_>,
    ) -> Reach<Table> {
        stream.go_to(Place { feed: Feed::Main, offset: header.table_offset() })?;
        let mut stored = vec![0; usize::try_from(header.table).unwrap_or(0)];
        stream.fill(&mut stored)?;
        header.check_table(&stored).map_err(|why| self.malformed(why))?;
        let limit = u64::try_from(TABLE_BYTES_MAX).unwrap_or(u64::MAX);
        let unpacked = unpack(&stored, limit)
            .map_err(|error| self.malformed("the table of the delta cannot be unpacked").because(error))?;
        drop(stored);
        let table = Table::parse(&unpacked, index).map_err(|why| self.malformed(why))?;
        if table.streams() != header.streams {
            return Err(self.malformed(NotADelta::Length).into());
        }
        Ok(table)
    }

    /// The error for bytes that are no update.
    pub(super) fn malformed(&self, why: impl std::fmt::Display) -> Error {
        Error::new(Kind::Hostile, format!("cannot read {}: {why}", self.feeds.get(self.lead).place))
            .hint("it is damaged, or no update of this system: copy or download it again")
    }

    fn untrusted(&self, why: TrustError) -> Error {
        let (kind, hint) = match &why {
            TrustError::Expired { .. } => {
                (Kind::Stale, "take a newer update; if there is none, its maker must sign it again")
            }
            TrustError::Form(_) | TrustError::Document { .. } | TrustError::NotARelease(_) => {
                (Kind::Hostile, "it is damaged or was put together wrongly: copy or download it again")
            }
            TrustError::Index | TrustError::Disagree(_) => {
                (Kind::Digest, "it was damaged or changed on its way: copy or download it again")
            }
            TrustError::Signatures { .. } | TrustError::Chain { .. } | TrustError::RootTooOld { .. } => (
                Kind::Signature,
                "this machine trusts the keys in its own image: take the update that they have signed",
            ),
        };
        Error::new(kind, format!("cannot trust {}", self.feeds.get(self.lead).place)).because(why).hint(hint)
    }
}

/// Whether an error says that a file is damaged or not there, which another file need not be.
pub(super) fn is_of_the_file(error: &Error) -> bool {
    matches!(error.kind(), Kind::NotFound | Kind::Hostile | Kind::Digest)
}

fn unpack(stored: &[u8], limit: u64) -> io::Result<Vec<u8>> {
    let decoder = StreamingDecoder::new_with_max_window_size(stored, limit);
    let mut bytes = Vec::new();
    let decoder = decoder.map_err(|error| io::Error::other(error.to_string()))?;
    decoder.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
