//! A channel on a USB stick: the files of the repository that one channel needs, in an archive on a partition of its own
//! type. No file system: nothing on it is parsed before it is verified, but the archive.

use super::{
    METADATA, Repository, TARGETS,
    files::TIMESTAMP,
    state::{Chain, Found},
    target_file,
};
use crate::{
    context::Context,
    digest::{Digest, Hasher},
    error::{Doing as _, Error, Kind, Result},
    files,
    image::{
        cpio::{FILE, Header, write_header},
        id,
    },
};
use coracle_format::{
    gpt::{Geometry, Partition, Table},
    layout::{ALIGNMENT, STICK_TYPE},
    version::Version,
};
use coracle_rollout::{Rollout, State, document};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Logical blocks of the image: those of USB sticks.
const BLOCK_BYTES: u32 = 512;
/// The contents of a file begin on multiples of this in the partition, if they are as long.
const DATA_ALIGNMENT: u64 = 4096;
/// The name of what fills the gaps.
const PADDING: &str = ".padding";
const TRAILER: &str = "TRAILER!!!";
const LABEL: &str = "coracle-channel";

/// A file on the stick.
struct Member {
    /// Its place below the repository's directory.
    place: String,
    source: PathBuf,
    bytes: u64,
    /// What it must be, where something vouches for it.
    sha256: Option<[u8; 32]>,
}

/// Writes the image of a stick with everything that machines need of a channel.
pub fn write_stick(ctx: &Context, repository: &Repository, channel: &str, image: &Path) -> Result<()> {
    let step = ctx.report.step("write stick");
    let members = members(repository, channel)?;
    let mut temporary = files::beside(image)?;
    let start = ALIGNMENT;
    temporary.as_file_mut().seek(SeekFrom::Start(start)).doing("write", image)?;
    let bytes = {
        let mut archive =
            Archive { out: BufWriter::with_capacity(1 << 20, temporary.as_file_mut()), at: 0, image };
        for member in &members {
            ctx.check()?;
            archive.add(member)?;
        }
        archive.finish()?
    };
    let partition = bytes.div_ceil(ALIGNMENT).saturating_mul(ALIGNMENT);
    // Room for the two copies of the table before and behind it.
    let disk = partition.saturating_add(2 * ALIGNMENT);
    let file = temporary.as_file_mut();
    file.set_len(disk).doing("write", image)?;
    let table = table(disk, (start, partition), &seed(&members))?;
    let encoded =
        table.encode().map_err(|why| Error::new(Kind::TooLarge, "cannot lay out the stick").because(why))?;
    for write in [&encoded.protective_mbr].into_iter().chain(&encoded.primary).chain(&encoded.backup) {
        file.seek(SeekFrom::Start(write.lba.saturating_mul(BLOCK_BYTES.into())))
            .and_then(|_| file.write_all(&write.bytes))
            .doing("write", image)?;
    }
    files::commit(temporary, image)?;
    step.done(format!("{} files, {}", members.len(), crate::show::bytes(disk)));
    Ok(())
}

/// The files that a channel needs: metadata first, then what it offers, then the bundles.
fn members(repository: &Repository, channel: &str) -> Result<Vec<Member>> {
    let chain = Chain::in_repository(repository)?;
    let missing = |what: String| Error::new(Kind::NotFound, what);
    let found = Found::read(repository, &chain)?
        .ok_or_else(|| missing(format!("{} has no timestamp", repository.dir().display())))?;
    let rollouts =
        found.state.channels.get(channel).ok_or_else(|| missing(format!("there is no channel {channel}")))?;
    let mut out = Vec::new();
    let mut names: Vec<String> =
        (1..=chain.documents.len()).map(|version| format!("{version}.root.json")).collect();
    names.push(TIMESTAMP.to_owned());
    names.push(format!("{}.snapshot.json", found.snapshot.version));
    names.extend(found.listed.iter().map(|(role, listed)| format!("{}.{role}.json", listed.version)));
    for name in names {
        out.push(member(repository, format!("{METADATA}/{name}"), None)?);
    }
    for rollout in rollouts {
        let bytes = rollout.encode().map_err(|why| {
            Error::new(Kind::Internal, format!("cannot write down what channel {channel} offers"))
                .because(why)
        })?;
        let path = document::path(channel, &rollout.image, rollout.arch);
        let sha256 = Digest::of(&bytes).0;
        out.push(member(repository, format!("{TARGETS}/{}", target_file(&path, &sha256)), Some(sha256))?);
    }
    for rollout in rollouts {
        for version in needed(rollout) {
            let target = rollout.release(version).map(|release| release.target.clone()).unwrap_or_default();
            let vouched = found.state.releases.iter().find(|vouched| vouched.path() == target);
            let vouched = vouched.ok_or_else(|| missing(format!("nothing vouches for {target:?}")))?;
            let place = format!("{TARGETS}/{}", vouched.file());
            out.push(member(repository, place, Some(vouched.sha256))?);
        }
    }
    Ok(out)
}

fn member(repository: &Repository, place: String, sha256: Option<[u8; 32]>) -> Result<Member> {
    let source = repository.dir().join(&place);
    let bytes = fs::metadata(&source).doing("read", &source)?.len();
    Ok(Member { place, source, bytes, sha256 })
}

/// The releases that machines may take: the newest, the steps on the way to it, and where they go from withdrawn ones.
fn needed(rollout: &Rollout) -> BTreeSet<Version> {
    let mut out = BTreeSet::new();
    let mut below = None;
    loop {
        let next = rollout.releases.iter().rev().find(|release| {
            release.state == State::Active && below.is_none_or(|below: Version| release.version < below)
        });
        let Some(next) = next else { break };
        out.insert(next.version);
        if next.minimum.is_none() {
            break;
        }
        below = Some(next.version);
    }
    out.extend(rollout.releases.iter().filter_map(|release| match release.state {
        State::Withdrawn { instead } => instead,
        State::Active | State::Paused => None,
    }));
    out
}

struct Archive<'a, W: Write> {
    out: W,
    at: u64,
    image: &'a Path,
}

impl<W: Write> Archive<'_, W> {
    fn add(&mut self, member: &Member) -> Result<()> {
        let begins = self.at.saturating_add(header_bytes(&member.place));
        if member.bytes >= DATA_ALIGNMENT && !begins.is_multiple_of(DATA_ALIGNMENT) {
            let shifted = begins.saturating_add(header_bytes(PADDING));
            let gap = shifted.next_multiple_of(DATA_ALIGNMENT).saturating_sub(shifted);
            self.header(PADDING, gap)?;
            self.zeros(gap)?;
        }
        self.header(&member.place, member.bytes)?;
        self.copy(member)?;
        self.zeros(self.at.next_multiple_of(4).saturating_sub(self.at))
    }

    fn finish(mut self) -> Result<u64> {
        self.header(TRAILER, 0)?;
        self.out.flush().doing("write", self.image)?;
        Ok(self.at)
    }

    fn header(&mut self, name: &str, bytes: u64) -> Result<()> {
        let large = |_| Error::new(Kind::TooLarge, format!("{name} has 4 GiB or more, which no stick holds"));
        let mode = if name == TRAILER { 0 } else { FILE | 0o444 };
        let header =
            Header { mode, names: 1, bytes: u32::try_from(bytes).map_err(large)?, ..Header::default() };
        write_header(&header, name, &mut self.out)?;
        self.at = self.at.saturating_add(header_bytes(name));
        Ok(())
    }

    fn copy(&mut self, member: &Member) -> Result<()> {
        let mut source = File::open(&member.source).doing("open", &member.source)?;
        let (mut buffer, mut hasher) = (vec![0; 1 << 20], Hasher::default());
        loop {
            let count = source.read(&mut buffer).doing("read", &member.source)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            self.out.write_all(&buffer[..count]).doing("write", self.image)?;
        }
        self.at = self.at.saturating_add(hasher.bytes());
        let vouched = member.sha256.is_none_or(|sha256| sha256 == hasher.digest().0);
        if hasher.bytes() == member.bytes && vouched {
            return Ok(());
        }
        let message = format!("{} is not the file that the repository vouches for", member.source.display());
        Err(Error::new(Kind::Digest, message).hint("coracle channel check says what else is wrong"))
    }

    fn zeros(&mut self, count: u64) -> Result<()> {
        let zeros = vec![0; usize::try_from(count).unwrap_or(0)];
        self.out.write_all(&zeros).doing("write", self.image)?;
        self.at = self.at.saturating_add(count);
        Ok(())
    }
}

/// A header with its name and what pads it.
fn header_bytes(name: &str) -> u64 {
    u64::try_from(110 + name.len() + 1).unwrap_or(u64::MAX).next_multiple_of(4)
}

/// The same files give the same identifiers.
fn seed(members: &[Member]) -> Digest {
    let mut hasher = Hasher::default();
    for member in members {
        hasher.field(member.place.as_bytes());
    }
    hasher.digest()
}

fn table(disk: u64, (start, bytes): (u64, u64), seed: &Digest) -> Result<Table> {
    let wrong = |why| Error::new(Kind::TooLarge, "cannot lay out the stick").because(why);
    let mut table =
        Table::new(id::guid(seed, "stick"), Geometry::of_bytes(BLOCK_BYTES, disk)).map_err(wrong)?;
    let block = u64::from(BLOCK_BYTES);
    let mut name = [0; 36];
    for (unit, letter) in name.iter_mut().zip(LABEL.encode_utf16()) {
        *unit = letter;
    }
    table.partitions.push(Partition {
        number: 1,
        kind: STICK_TYPE,
        id: id::guid(seed, "stick-archive"),
        first: start / block,
        last: (start.saturating_add(bytes) / block).saturating_sub(1),
        attributes: 0,
        name,
    });
    Ok(table)
}
