use super::*;
use crate::{
    bundle::{
        cut::places,
        pack::{pack, whole},
    },
    cache::Cache,
    files,
    image::uki,
    report::Report,
};
use coracle_format::{
    bundle::Metadata,
    slot::{Arch, Range, Text},
    verity,
    version::Version,
};
use coracle_trust::{
    Release, Role,
    publish::{self, Signers},
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{fs::File, io, path::PathBuf};

/// A bundle of a small release, and the root that its machines trust.
struct Made {
    dir: tempfile::TempDir,
    ctx: Context,
    root: Vec<u8>,
    bundle: Vec<u8>,
}

fn public(seed: u8) -> [u8; 32] {
    SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes()
}

fn sign(signed: &[u8], seed: u8) -> Vec<u8> {
    let signature = SigningKey::from_bytes(&[seed; 32]).sign(signed).to_bytes();
    publish::document(signed, &[(public(seed), signature)])
}

/// Three frames of root: noise, zeros, text.
fn root_image() -> Vec<u8> {
    let frame = usize::try_from(FRAME_BYTES_MAX).unwrap();
    let noise = (0_u32..131_072).flat_map(|number| Digest::of(&number.to_le_bytes()).0);
    let mut out: Vec<u8> = noise.collect();
    out.resize(2 * frame, 0);
    out.extend(b"once upon a time ".iter().cycle().take(8192));
    out
}

fn made(boots: Option<[u8; 32]>) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let ctx = Context::new(Cache::open(dir.path().join("cache")).unwrap(), Report::silent());
    let (image, salt) = (root_image(), [4; 32]);
    let blocks = u64::try_from(image.len()).unwrap() / BLOCK_BYTES;
    let mut tree = verity::Tree::new(blocks, &salt);
    for block in image.chunks(BLOCK) {
        let Ok(()) = tree.push::<Infallible>(block, &mut |_, _| Ok(()));
    }
    let Ok(root_hash) = tree.finish::<Infallible>(&mut |_, _| Ok(()));
    let [hash, salted] = [boots.unwrap_or(root_hash), salt].map(Digest);
    let stub = uki::tests::stub(0x8664, 8);
    let parts = uki::Parts {
        linux: &uki::tests::stub(0x8664, 1),
        initrd: &[9; 5000],
        command_line: &format!("quiet {VERITY_ARG}={hash}:{salted}:{blocks}"),
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    };
    let boot = uki::build(&stub, &parts).unwrap();
    let path = dir.path().join("parts");
    files::replace(&path, &[&image[..], &boot].concat()).unwrap();
    let file = File::open(&path).unwrap();
    let length = |bytes: &[u8]| u64::try_from(bytes.len()).unwrap();
    let root = Range { offset: 0, bytes: length(&image) };
    let places = places(&file, &path, (root, Range { offset: root.bytes, bytes: length(&boot) })).unwrap();
    let mut stored = Vec::new();
    let frames = pack(&ctx, (&file, &path), &places, &mut stored, &ctx.report.step("pack")).unwrap();
    let index = Index {
        arch: Arch::X86_64,
        name: Text::new("hello").unwrap(),
        version: Text::new("1.2").unwrap(),
        root: whole(&file, &path, places[0].range).unwrap(),
        boot: whole(&file, &path, places[1].range).unwrap(),
        root_hash,
        salt,
        frames,
    };
    let index = index.encode().unwrap();
    let (root, metadata) = signed(&index);
    let header = Header::of(&metadata, &index, length(&stored)).unwrap().encode();
    Made { dir, ctx, root, bundle: [&header[..], &metadata, &index, &stored].concat() }
}

fn signed(index: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let signers = |role, seed| Signers { role, keys: vec![public(seed)], threshold: 1 };
    let roles = [
        signers(Role::Root, 1),
        signers(Role::Targets, 2),
        signers(Role::Snapshot, 3),
        signers(Role::Timestamp, 3),
    ];
    let root = sign(&publish::root(1, 2_000_000_000, &roles).unwrap(), 1);
    let targets = sign(&publish::targets(&release(), index, 2_000_000_000).unwrap(), 2);
    let metadata = Metadata { roots: vec![&root], targets: &targets }.encode().unwrap();
    (root, metadata)
}

fn release() -> Release {
    Release {
        name: "hello".to_owned(),
        arch: Arch::X86_64,
        version: Version::parse("1.2").unwrap(),
        epoch: 0,
        released: 1_795_305_600,
        replaces: None,
    }
}

impl Made {
    fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join("update.bundle");
        files::replace(&path, bytes).unwrap();
        path
    }

    fn check(&self, bytes: &[u8]) -> Result<Vec<Encoding>> {
        let opened = Opened::open(&self.file(bytes))?;
        let (_, index) = opened.verify(&self.root, Some(1_800_000_000))?;
        opened.check_parts(&self.ctx, &index)?;
        Ok(index.frames.iter().map(|frame| frame.encoding).collect())
    }
}

#[test]
fn a_bundle_is_what_was_packed() {
    let made = made(None);
    let encodings = made.check(&made.bundle).unwrap();
    let [root, boot] = [
        [Encoding::Raw, Encoding::Zeros, Encoding::Zstd],
        // What is before the kernel, the kernel, what is behind it.
        [Encoding::Zstd; 3],
    ];
    assert_eq!(encodings, [root, boot].concat());
}

#[test]
fn two_packings_of_the_same_parts_are_the_same_bytes() {
    assert!(made(None).bundle == made(None).bundle);
}

#[test]
fn damage_anywhere_is_refused_with_exit_code_3() {
    let made = made(None);
    let tail = made.bundle.len();
    // All of header, metadata and index, and a sample of the frames.
    let begin = (0..5000).chain((5000..tail).step_by(400_003)).chain(tail - 600..tail);
    for at in begin.step_by(19) {
        let mut damaged = made.bundle.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = made.check(&damaged).unwrap_err();
        assert_eq!(error.kind().exit().code(), 3, "byte {at}: {error}");
    }
}

#[test]
fn cuts_and_trailing_bytes_are_refused() {
    let made = made(None);
    for end in [0, 1, 63, 64, 65, 2000, made.bundle.len() - 1] {
        assert_eq!(made.check(&made.bundle[..end]).unwrap_err().kind(), Kind::Hostile, "cut at {end}");
    }
    assert_eq!(made.check(&[&made.bundle[..], &[0]].concat()).unwrap_err().kind(), Kind::Hostile);
}

#[test]
fn a_boot_artefact_that_boots_another_root_is_refused() {
    let made = made(Some([8; 32]));
    let error = made.check(&made.bundle).unwrap_err();
    assert!(error.to_string().ends_with("the boot artefact does not boot the root beside it"), "{error}");
}

#[test]
fn another_root_than_the_machines_refuses_it() {
    let mut made = made(None);
    let signers = |role| Signers { role, keys: vec![public(9)], threshold: 1 };
    made.root = sign(&publish::root(1, 2_000_000_000, &Role::ALL.map(signers)).unwrap(), 9);
    assert_eq!(made.check(&made.bundle).unwrap_err().kind(), Kind::Signature);
}

#[test]
fn frames_unpack_within_a_window_of_their_own_size() {
    let made = made(None);
    let opened = Opened::open(&made.file(&made.bundle)).unwrap();
    let index = Index::parse(&opened.index).unwrap();
    let frames = usize::try_from(opened.header.frames_offset()).unwrap();
    for (at, frame) in index.placed().filter(|(_, frame)| frame.encoding == Encoding::Zstd) {
        let at = frames + usize::try_from(at).unwrap();
        let stored = &made.bundle[at..at + usize::try_from(frame.stored).unwrap()];
        let mut decoder = zstd::stream::Decoder::new(stored).unwrap();
        decoder.window_log_max(FRAME_BYTES_MAX.ilog2()).unwrap();
        let plain = io::copy(&mut decoder, &mut io::sink()).unwrap();
        assert_eq!(plain, u64::from(frame.plain));
    }
}

#[test]
fn only_a_bundle_that_would_be_written_again_is_up_to_date() {
    use crate::bundle::{Packed, Trust, current};
    let made = made(None);
    let path = made.file(&made.bundle);
    let opened = Opened::open(&path).unwrap();
    let frames = made.dir.path().join("frames");
    let begin = usize::try_from(opened.header.frames_offset()).unwrap();
    files::replace(&frames, &made.bundle[begin..]).unwrap();
    let packed = Packed { index: opened.index, frames, count: 4, stored: opened.header.frames };
    let trust = |chain: Vec<Vec<u8>>| Trust { shipped: made.root.clone(), chain, signers: Vec::new() };
    let same = trust(vec![made.root.clone()]);
    let found = current(&path, &packed, &release(), &same).unwrap().unwrap();
    assert_eq!(found.sha256, Digest::of(&made.bundle).to_string());
    let asked = |release: &Release, trust: &Trust| current(&path, &packed, release, trust).unwrap();
    assert_eq!(asked(&Release { epoch: 1, ..release() }, &same), None);
    assert_eq!(asked(&release(), &trust(vec![made.root.clone(); 2])), None);
    let mut damaged = made.bundle.clone();
    damaged[begin + 5] ^= 1;
    made.file(&damaged);
    assert_eq!(asked(&release(), &same), None);
}
