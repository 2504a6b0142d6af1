//! The root file system: ext4 without a journal, as small as its contents, made by `mke2fs` from a tar stream.
//!
//! It is only ever mounted read-only under dm-verity, so there is nothing in it that serves writing or repair: no
//! journal, no reserved blocks, no backup superblocks, no room to grow, no checksums beside verity's.

use super::{
    entries::{Body, Entry, entries},
    id, tar,
};
use crate::{
    context::Context,
    error::{Doing, Error, Kind, Result},
    tool::{Stdin, Tool},
    toolroot::ToolRoot,
    tree::Tree,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufWriter, Read, Write},
    path::Path,
    time::Duration,
};

const BLOCK: u64 = 4096;
const INODE_BYTES: u64 = 256;
const BLOCKS_PER_GROUP: u64 = 32768;
const GROUP_DESCRIPTOR_BYTES: u64 = 32;
/// Inodes 1 to 10 are reserved, 11 is lost+found.
const INODES_RESERVED: u64 = 11;
/// `mke2fs` makes lost+found this large.
const LOST_AND_FOUND_BLOCKS: u64 = 4;
/// The longest symbolic link target that is kept in the inode.
const SYMLINK_INLINE_MAX: usize = 59;
/// Bytes of a directory entry before its name.
const DIR_ENTRY_BYTES: u64 = 8;
/// The fewest blocks that are tried.
const BLOCKS_MIN: u64 = 64;
/// How often the size is corrected before giving up.
const ATTEMPTS_MAX: u32 = 12;
const DEADLINE: Duration = Duration::from_mins(10);
const FEATURES: &str =
    "none,dir_index,ext_attr,extent,extra_isize,filetype,flex_bg,huge_file,large_file,sparse_super2";
/// The whole configuration: nothing of the host's `mke2fs.conf` is read. A type without a setting would not count.
const CONFIG: &str = "[defaults]
\tbase_features = none
\tenable_periodic_fsck = 0
[fs_types]
\text4 = {
\t\tinode_size = 256
\t}
\tsmall = {
\t\tinode_size = 256
\t}
\tfloppy = {
\t\tinode_size = 256
\t}
";

/// Writes the file system to `out`, a new file, every time `epoch`. Returns its length, a multiple of 4096 bytes.
///
/// Of the extended attributes only `security.capability` can be kept; any other is an error.
pub fn build(ctx: &Context, tools: &ToolRoot, tree: &Tree, epoch: u64, out: &Path) -> Result<u64> {
    let all = entries(tree)?;
    refuse_attributes(&all)?;
    let wanted = Measure::of(&all);
    let make = |blocks| make(ctx, tools, tree, (epoch, blocks, wanted.inodes), out);
    let blocks = fit(wanted.blocks(), out, make)?;
    Ok(blocks.saturating_mul(BLOCK))
}

fn refuse_attributes(all: &[Entry<'_>]) -> Result<()> {
    for entry in all {
        let other = |name: &&String| *name != "security.capability";
        if let Some(name) = entry.meta.xattrs.keys().find(other) {
            let message = format!(
                "cannot put {} into the root file system with its extended attribute {name}",
                entry.path
            );
            return Err(Error::new(Kind::Hostile, message)
                .hint("only security.capability is kept: remove the attribute from the source"));
        }
    }
    Ok(())
}

/// Whether a size was enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All of the tree is in.
    Made,
    /// There were too few blocks.
    Full,
}

/// Makes the file system with as few blocks as it needs, give or take one in 256. The steps depend on the tree alone.
fn fit(estimate: u64, out: &Path, mut make: impl FnMut(u64) -> Result<Outcome>) -> Result<u64> {
    let mut blocks = estimate;
    let mut known_good = None;
    for _ in 0..ATTEMPTS_MAX {
        match make(blocks)? {
            Outcome::Full => match known_good {
                Some(good) => {
                    // What was free is needed for something: the size before it is the answer.
                    make(good)?;
                    return Ok(good);
                }
                None => blocks = blocks.saturating_add(blocks / 32 + 16),
            },
            Outcome::Made => {
                let usage = Usage::read(out)?;
                if known_good.is_some() || usage.free <= usage.blocks / 256 + 4 {
                    return Ok(usage.blocks);
                }
                known_good = Some(usage.blocks);
                blocks = usage.blocks.saturating_sub(usage.free);
            }
        }
    }
    let message = format!("cannot find a size for the root file system: {blocks} blocks are too few");
    Err(Error::new(Kind::Internal, message))
}

fn make(
    ctx: &Context,
    tools: &ToolRoot,
    tree: &Tree,
    (epoch, blocks, inodes): (u64, u64, u64),
    out: &Path,
) -> Result<Outcome> {
    if out.exists() {
        fs::remove_file(out).doing("remove", out)?;
    }
    let mut config = ctx.cache.temp_file()?;
    config.write_all(CONFIG.as_bytes()).doing("write", config.path())?;
    let seed = tree.identity();
    let uuid = id::uuid_text(&id::uuid(&seed, "ext4"));
    let hash_seed = id::uuid_text(&id::uuid(&seed, "ext4-hash-seed"));
    let extended =
        format!("hash_seed={hash_seed},lazy_itable_init=0,nodiscard,num_backup_sb=0,packed_meta_blocks=1");
    let feed = move |pipe: &mut dyn Write| {
        let mut buffered = BufWriter::with_capacity(1 << 20, pipe);
        tar::write(tree, epoch, &mut buffered)?;
        buffered.flush().doing("write to", Path::new("mke2fs"))
    };
    let result = Tool::new(tools, "mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0"])
        .args(["-O", FEATURES, "-E", &extended, "-U", &uuid])
        .args(["-N", &inodes.to_string(), "-d", "-"])
        .arg(out)
        .arg(blocks.to_string())
        .env("MKE2FS_CONFIG", config.path())
        .epoch(epoch)
        .stdin(Stdin::Writer(Box::new(feed)))
        .within(DEADLINE)
        .run(ctx);
    match result {
        Ok(_) => Ok(Outcome::Made),
        Err(error) if is_full(&error) => Ok(Outcome::Full),
        Err(error) => Err(error),
    }
}

/// Whether `mke2fs` said that there are too few blocks: libext2fs' words for it.
fn is_full(error: &Error) -> bool {
    let text = error.render();
    error.kind() == Kind::Tool
        && ["Could not allocate block", "No free space", "Not enough space"]
            .iter()
            .any(|words| text.contains(words))
}

/// What a tree needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measure {
    /// Blocks of files, directories and long links.
    data: u64,
    /// Inodes, the reserved ones included.
    inodes: u64,
}

impl Measure {
    fn of(all: &[Entry<'_>]) -> Self {
        let mut data = LOST_AND_FOUND_BLOCKS;
        let mut inodes = INODES_RESERVED - 1;
        let mut directories: BTreeMap<&str, Directory> = BTreeMap::new();
        directories.entry("").or_default().add("lost+found".len());
        for entry in all {
            let path = entry.path.as_str();
            if !entry.path.is_root() {
                let parent = path.rfind('/').map_or("", |end| &path[..end]);
                let parent = directories.entry(parent).or_default();
                parent.add(entry.path.name().len());
            }
            inodes += 1;
            match &entry.body {
                Body::File(content) => data += file_blocks(content.len()),
                Body::Dir => {
                    directories.entry(path).or_default();
                }
                Body::Symlink(target) => data += u64::from(target.len() > SYMLINK_INLINE_MAX),
                Body::Again(_) => inodes -= 1,
                Body::CharDevice { .. } => {}
            }
        }
        data += directories.values().map(|one| one.blocks).sum::<u64>();
        Self { data, inodes }
    }

    /// Blocks of the whole file system.
    fn blocks(self) -> u64 {
        let mut total = self.data.max(BLOCKS_MIN);
        loop {
            let needed = self.data + self.overhead(total.div_ceil(BLOCKS_PER_GROUP));
            if needed <= total {
                return total;
            }
            total = needed;
        }
    }

    /// Superblock, group descriptors, bitmaps and inode tables of so many groups.
    fn overhead(self, groups: u64) -> u64 {
        let inodes_per_block = BLOCK / INODE_BYTES;
        let tables = self.inodes.div_ceil(groups).div_ceil(inodes_per_block);
        let descriptors = (groups * GROUP_DESCRIPTOR_BYTES).div_ceil(BLOCK);
        1 + descriptors + groups * (2 + tables)
    }
}

/// Blocks of a file: its bytes, and where it is so large that its extents leave the inode, some for those.
fn file_blocks(bytes: u64) -> u64 {
    let blocks = bytes.div_ceil(BLOCK);
    blocks + blocks / (2 * BLOCKS_PER_GROUP)
}

/// How full a directory is.
#[derive(Clone, Copy, Debug)]
struct Directory {
    blocks: u64,
    used: u64,
}

impl Default for Directory {
    /// With `.` and `..` in it.
    fn default() -> Self {
        Self { blocks: 1, used: 24 }
    }
}

impl Directory {
    fn add(&mut self, name: usize) {
        let bytes = (DIR_ENTRY_BYTES + u64::try_from(name).unwrap_or(255)).next_multiple_of(4);
        if self.used + bytes > BLOCK {
            self.blocks += 1;
            self.used = 0;
        }
        self.used += bytes;
    }
}

/// Blocks in all, and free ones, of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    blocks: u64,
    free: u64,
}

impl Usage {
    fn read(path: &Path) -> Result<Self> {
        let mut file = fs::File::open(path).doing("open", path)?;
        let mut head = [0; 2048];
        file.read_exact(&mut head).doing("read", path)?;
        let word =
            |at: usize| u64::from(u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        if head[1024 + 56..1024 + 58] != [0x53, 0xef] {
            let message = format!("mke2fs left no ext4 file system in {}", path.display());
            return Err(Error::new(Kind::Tool, message));
        }
        Ok(Self { blocks: word(1024 + 4), free: word(1024 + 12) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Meta, Node, NodeKind, TreePath};

    #[test]
    fn a_tree_is_measured_block_by_block() {
        let mut tree = Tree::new();
        for number in 0..300 {
            let name = format!("many/file-with-a-long-name-{number:04}");
            tree.file(&name, 0o644, vec![b'y'; 5000]).unwrap();
        }
        tree.file("empty", 0o644, "").unwrap();
        tree.symlink("short", &"x".repeat(59)).unwrap();
        tree.symlink("long", &"x".repeat(60)).unwrap();
        let target = TreePath::new("empty").unwrap();
        let link = Node { meta: Meta::root(0o644), kind: NodeKind::HardLink(target) };
        tree.insert(TreePath::new("other").unwrap(), link).unwrap();
        let measure = Measure::of(&entries(&tree).unwrap());
        // lost+found 4, root 1, many 3, files 600, the long link 1.
        assert_eq!(measure.data, 609);
        // 300 files, many, empty, two links, the reserved ones.
        assert_eq!(measure.inodes, 304 + 11);
        assert_eq!(measure.blocks(), 609 + 1 + 1 + 2 + 20);
    }

    #[test]
    fn the_size_is_corrected_both_ways_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("fs");
        let needs = |needed: u64| {
            let out = out.clone();
            move |blocks: u64| {
                let mut head = vec![0; 2048];
                let free = blocks.saturating_sub(needed);
                head[1028..1032].copy_from_slice(&u32::try_from(blocks).unwrap().to_le_bytes());
                head[1036..1040].copy_from_slice(&u32::try_from(free).unwrap().to_le_bytes());
                head[1080..1082].copy_from_slice(&[0x53, 0xef]);
                let mut file = fs::File::create(&out).unwrap();
                file.write_all(&head).unwrap();
                Ok(if blocks < needed { Outcome::Full } else { Outcome::Made })
            }
        };
        assert_eq!(fit(1000, &out, needs(1000)).unwrap(), 1000);
        assert_eq!(fit(1000, &out, needs(800)).unwrap(), 800);
        assert_eq!(fit(1000, &out, needs(1100)).unwrap(), 1100);
        assert_eq!(fit(10, &out, needs(1_000_000)).unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn attributes_that_would_be_lost_are_refused() {
        let mut tree = Tree::new();
        let mut meta = Meta::root(0o755);
        meta.xattrs.insert("security.capability".into(), vec![1]);
        let node = |meta| Node { meta, kind: NodeKind::File("x".into()) };
        let path = TreePath::new("bin/ping").unwrap();
        tree.insert(path.clone(), node(meta.clone())).unwrap();
        refuse_attributes(&entries(&tree).unwrap()).unwrap();
        meta.xattrs.insert("user.note".into(), vec![1]);
        tree.insert(path, node(meta)).unwrap();
        let error = refuse_attributes(&entries(&tree).unwrap()).unwrap_err();
        assert!(error.to_string().contains("/bin/ping"), "{error}");
    }
}
