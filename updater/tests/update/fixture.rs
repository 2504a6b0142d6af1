//! A small release, the bundle that carries it, and a disk with two slots.

use coracle_block::meta;
use coracle_block::{Disk, Partition};
use coracle_format::bundle::{Encoding, Frame, Header, Index, Metadata, Part, Whole};
use coracle_format::gpt::{Size, Table};
use coracle_format::guid::Guid;
use coracle_format::layout::Role as PartitionRole;
use coracle_format::slot::{Arch, BLOCK_BYTES, Descriptor, Range, Text};
use coracle_format::verity::{self, BLOCK, Block, Tree};
use coracle_format::version::Version;
use coracle_slots::{Record, Release, Slot};
use coracle_trust::publish::{self, Signers};
use coracle_trust::{Release as Stated, Role};
use coracle_update::engine::{Ask, Job};
use coracle_update::executor::{Executor, Observer, Settings, Supply, Tally, Tools, Vouching};
use coracle_update::source::{Length, Source, SourceError};
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::io::Read;
use std::sync::OnceLock;

pub(crate) const EXPIRES: u64 = 4_000_000_000;
pub(crate) const SLOT_BYTES: u64 = 4 << 20;
pub(crate) const DISK_BYTES: u64 = 16 << 20;
const FRAME: usize = 64 << 10;
const SALT: [u8; 32] = [0x5a; 32];

/// What a release is made of.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    pub(crate) name: &'static str,
    pub(crate) arch: Arch,
    pub(crate) version: String,
    pub(crate) epoch: u32,
    pub(crate) replaces: Option<&'static str>,
    pub(crate) root: Vec<u8>,
    pub(crate) boot: Vec<u8>,
    /// Bytes of a frame, unpacked.
    pub(crate) frame: usize,
}

/// Bytes that compress badly, made without a random number.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 32);
    for counter in 0..u64::try_from(length.div_ceil(32)).unwrap() {
        out.extend_from_slice(&Sha256::digest([seed.to_le_bytes(), counter.to_le_bytes()].concat()));
    }
    out.truncate(length);
    out
}

impl Payload {
    /// A release with zeros, text and noise in its root, so that it has frames of every encoding.
    pub(crate) fn new(version: &str) -> Self {
        let mut this = Self::empty(version);
        let seed = version.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let mut root = vec![0; 2 * FRAME];
        root.extend(noise(seed, FRAME + BLOCK));
        root.extend(version.bytes().cycle().take(2 * FRAME));
        this.root = root;
        this.boot = noise(seed + 1, FRAME + 1234);
        this
    }

    fn empty(version: &str) -> Self {
        Self {
            name: "hello",
            arch: Arch::X86_64,
            version: version.to_owned(),
            epoch: 0,
            replaces: None,
            root: Vec::new(),
            boot: Vec::new(),
            frame: FRAME,
        }
    }

    pub(crate) fn release(&self) -> Release {
        Sha256::digest(&self.boot).into()
    }

    fn tree(&self) -> ([u8; 32], Vec<u8>) {
        let blocks = u64::try_from(self.root.len()).unwrap() / BLOCK_BYTES;
        let mut out = vec![0; usize::try_from(verity::tree_bytes(blocks)).unwrap()];
        out[..BLOCK].copy_from_slice(&verity::superblock(blocks, &SALT, &verity::uuid(&SALT))[..]);
        let mut emit = |offset: u64, block: &Block| -> Result<(), Infallible> {
            let at = usize::try_from(offset).unwrap();
            out[at..at + BLOCK].copy_from_slice(block);
            Ok(())
        };
        let mut tree = Tree::new(blocks, &SALT);
        self.root.chunks(BLOCK).for_each(|block| tree.push(block, &mut emit).unwrap());
        let root_hash = tree.finish(&mut emit).unwrap();
        (root_hash, out)
    }

    fn descriptor(&self) -> (Descriptor, Vec<u8>) {
        let (root_hash, tree) = self.tree();
        let [root, tree_bytes, boot] =
            [self.root.len(), tree.len(), self.boot.len()].map(|length| u64::try_from(length).unwrap());
        let (tree_at, boot_at, _) = Descriptor::plan(root, tree_bytes, boot);
        let descriptor = Descriptor {
            arch: self.arch,
            name: Text::new(self.name).unwrap(),
            version: Text::new(&self.version).unwrap(),
            root: Range { offset: 0, bytes: root },
            tree: Range { offset: tree_at, bytes: tree_bytes },
            root_hash,
            salt: SALT,
            boot: Range { offset: boot_at, bytes: boot },
            boot_digest: self.release(),
        };
        (descriptor, tree)
    }

    /// The pieces of a slot that holds it, with their offsets.
    pub(crate) fn pieces(&self, partition: u64) -> Vec<(u64, Vec<u8>)> {
        let (descriptor, tree) = self.descriptor();
        vec![
            (0, self.root.clone()),
            (descriptor.tree.offset, tree),
            (descriptor.boot.offset, self.boot.clone()),
            (Descriptor::offset_in(partition).unwrap(), descriptor.encode().to_vec()),
        ]
    }

    /// Its frames, and the bytes that are stored of them.
    fn frames(&self) -> (Vec<Frame>, Vec<u8>) {
        let (mut frames, mut stored) = (Vec::new(), Vec::new());
        for (part, bytes) in [(Part::Root, &self.root), (Part::Boot, &self.boot)] {
            for (number, plain) in bytes.chunks(self.frame).enumerate() {
                let packed = zstd::bulk::compress(plain, 3).unwrap();
                let (encoding, body) = if plain == &vec![0; plain.len()][..] {
                    (Encoding::Zeros, &[][..])
                } else if packed.len() < plain.len() {
                    (Encoding::Zstd, &packed[..])
                } else {
                    (Encoding::Raw, plain)
                };
                let sha256 = if encoding == Encoding::Zeros { [0; 32] } else { Sha256::digest(body).into() };
                frames.push(Frame {
                    part,
                    offset: u64::try_from(number * self.frame).unwrap(),
                    plain: u32::try_from(plain.len()).unwrap(),
                    stored: u32::try_from(body.len()).unwrap(),
                    encoding,
                    sha256,
                    plain_sha256: Sha256::digest(plain).into(),
                });
                stored.extend_from_slice(body);
            }
        }
        (frames, stored)
    }

    pub(crate) fn index(&self) -> (Index, Vec<u8>) {
        let (frames, stored) = self.frames();
        let whole = |bytes: &[u8]| Whole {
            bytes: u64::try_from(bytes.len()).unwrap(),
            sha256: Sha256::digest(bytes).into(),
        };
        let index = Index {
            arch: self.arch,
            name: Text::new(self.name).unwrap(),
            version: Text::new(&self.version).unwrap(),
            root: whole(&self.root),
            boot: whole(&self.boot),
            root_hash: self.tree().0,
            salt: SALT,
            frames,
        };
        (index, stored)
    }

    /// The bundle, signed with the key that the machine trusts.
    pub(crate) fn bundle(&self) -> Vec<u8> {
        let (index, stored) = self.index();
        self.pack(&index, &stored, 2)
    }

    /// A bundle of this index and these frames, signed with the key of this seed.
    pub(crate) fn pack(&self, index: &Index, stored: &[u8], seed: u8) -> Vec<u8> {
        let index = index.encode().unwrap();
        let metadata = self.metadata(&index, seed);
        let header = Header::of(&metadata, &index, u64::try_from(stored.len()).unwrap()).unwrap();
        [&header.encode()[..], &metadata, &index, stored].concat()
    }

    /// The metadata that vouches for this index, signed with the key of this seed.
    pub(crate) fn metadata(&self, index: &[u8], seed: u8) -> Vec<u8> {
        let stated = Stated {
            name: self.name.to_owned(),
            arch: self.arch,
            version: Version::parse(&self.version).unwrap(),
            epoch: self.epoch,
            released: 1_790_000_000,
            replaces: self.replaces.map(|version| Version::parse(version).unwrap()),
        };
        let targets = sign(&publish::targets(&stated, index, EXPIRES).unwrap(), &key(seed));
        Metadata { roots: Vec::new(), targets: &targets }.encode().unwrap()
    }
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(crate) fn sign(signed: &[u8], key: &SigningKey) -> Vec<u8> {
    publish::document(signed, &[(key.verifying_key().to_bytes(), key.sign(signed).to_bytes())])
}

/// The root that the machine trusts.
pub(crate) fn trusted_root() -> &'static [u8] {
    static ROOT: OnceLock<Vec<u8>> = OnceLock::new();
    ROOT.get_or_init(make_root)
}

fn make_root() -> Vec<u8> {
    let signers =
        |role, seed| Signers { role, keys: vec![key(seed).verifying_key().to_bytes()], threshold: 1 };
    let roles = [
        signers(Role::Root, 1),
        signers(Role::Targets, 2),
        signers(Role::Snapshot, 3),
        signers(Role::Timestamp, 3),
    ];
    sign(&publish::root(1, EXPIRES, &roles).unwrap(), &key(1))
}

/// Lays out a disk whose slot A holds `payload`, committed.
pub(crate) fn ship(disk: &Disk, slot_bytes: u64, payload: &Payload) {
    let mut table = Table::new(Guid::from_random([1; 16]), disk.geometry()).unwrap();
    table.add(PartitionRole::Meta, Guid::from_random([2; 16]), Size::Bytes(1 << 20)).unwrap();
    for role in [PartitionRole::SlotA, PartitionRole::SlotB] {
        table.add(role, Guid::from_random([3; 16]), Size::Bytes(slot_bytes)).unwrap();
    }
    disk.write_table(&table).unwrap();
    let a = Disk::partition(&table, PartitionRole::SlotA).unwrap();
    for (offset, bytes) in payload.pieces(a.bytes) {
        disk.write_within(&a, offset, &bytes).unwrap();
    }
    let version = Version::parse(&payload.version).unwrap().to_u64();
    let record = Record::shipped(payload.release(), version, 0);
    disk.write_within(&meta::partition(disk, &table).unwrap(), 0, &record.encode()).unwrap();
    disk.sync().unwrap();
}

/// The release in a slot if every byte of it is what its descriptor says, found without the code under test.
pub(crate) fn verified(disk: &Disk, slot: Slot) -> Option<Release> {
    let table = disk.read_table().unwrap();
    let partition = Disk::partition(&table, meta::role(slot)).unwrap();
    let mut block = [0; BLOCK];
    disk.read_within(&partition, Descriptor::offset_in(partition.bytes).unwrap(), &mut block).unwrap();
    let descriptor = Descriptor::parse(&block, partition.bytes).ok()?;
    let read = |range: Range| read_range(disk, &partition, range);
    let payload = Payload { root: read(descriptor.root), boot: read(descriptor.boot), ..Payload::empty("1") };
    let (root_hash, tree) = payload.tree();
    let whole = root_hash == descriptor.root_hash
        && tree == read(descriptor.tree)
        && payload.release() == descriptor.boot_digest;
    whole.then_some(descriptor.boot_digest)
}

pub(crate) fn read_range(disk: &Disk, partition: &Partition, range: Range) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(range.bytes).unwrap()];
    disk.read_within(partition, range.offset, &mut bytes).unwrap();
    bytes
}

/// Every byte of a slot's partition, hashed.
pub(crate) fn digest_of_slot(disk: &Disk, slot: Slot) -> [u8; 32] {
    let table = disk.read_table().unwrap();
    let partition = Disk::partition(&table, meta::role(slot)).unwrap();
    Sha256::digest(read_range(disk, &partition, Range { offset: 0, bytes: partition.bytes })).into()
}

/// Bytes in memory as a source, counting what is taken.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) length: Length,
    pub(crate) taken: u64,
}

impl Memory {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, length: Length::Unknown, taken: 0 }
    }
}

struct Taking<'a>(&'a [u8], &'a mut u64);

impl Read for Taking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // Never more than a little at a time, as a network gives it.
        let length = buffer.len().min(self.0.len()).min(1000);
        buffer[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        *self.1 += u64::try_from(length).unwrap();
        Ok(length)
    }
}

impl Source for Memory {
    fn describe(&self) -> String {
        "u.bundle".to_owned()
    }

    fn length(&mut self) -> Result<Length, SourceError> {
        Ok(self.length)
    }

    fn open(&mut self, offset: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let from = self.bytes.len().min(usize::try_from(offset).unwrap());
        Ok(Box::new(Taking(&self.bytes[from..], &mut self.taken)))
    }
}

/// Remembers what an update says.
#[derive(Debug, Default)]
pub(crate) struct Notes(pub(crate) Vec<String>, pub(crate) Tally);

impl Observer for Notes {
    fn stage(&mut self, _name: &'static str) {}
    fn progress(&mut self, done: u64, total: u64) {
        assert!(done <= total);
    }
    fn note(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }
    fn supplied(&mut self, tally: &Tally) {
        self.1 = *tally;
    }
}

pub(crate) fn settings<'a>() -> Settings<'a> {
    Settings {
        image: "hello",
        arch: Arch::X86_64,
        trusted_root: trusted_root(),
        now: Some(1_800_000_000),
        write_rate: 0,
        leftovers: None,
        survey: None,
        vouching: Vouching::Inline,
        tools: Tools::default(),
    }
}

/// Applies a bundle with the usual settings.
pub(crate) fn apply(executor: &Executor, bundle: Vec<u8>) -> coracle_update::Result<Job> {
    executor.update(Ask::Apply, Supply::of(&mut Memory::new(bundle)), &settings(), &mut Notes::default())
}
