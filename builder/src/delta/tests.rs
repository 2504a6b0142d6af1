use super::{boot::tests::bzimage, *};
use crate::{
    bundle::fixture::{Contents, noise},
    image::cpio,
    publish::tests::fixture::Yard,
    tree::Tree,
};
use coracle_format::{
    delta::{Encoder, Method, Operation, Side},
    slot::Arch,
};
use proptest::prelude::*;
use std::{fs, path::PathBuf};

/// A kernel's contents: words that count, and some that do not.
fn kernel(seed: u32) -> Vec<u8> {
    let word = |number: u32| if number % 97 == seed { seed } else { number / 5 };
    (0..60_000_u32).flat_map(|number| word(number).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

fn packed(plain: &[u8], level: u8) -> Vec<u8> {
    let mut out = Vec::new();
    encoder::pack(Encoder::Zstd157 { level }, plain, &mut out).unwrap();
    out
}

fn initrd(files: &[Vec<u8>]) -> Vec<u8> {
    let mut tree = Tree::new();
    for (number, file) in files.iter().enumerate() {
        tree.file(&format!("lib/{number}"), 0o644, file.clone()).unwrap();
    }
    let mut out = Vec::new();
    cpio::write(&tree, 0, &mut out).unwrap();
    out
}

fn contents(image: Vec<u8>, linux: Vec<u8>, files: &[Vec<u8>]) -> Contents {
    Contents { image, linux, initrd: initrd(files), uname: "6.12.0".to_owned() }
}

/// A yard with an old and a new bundle.
struct Way {
    yard: Yard,
    old: PathBuf,
    new: PathBuf,
    dir: tempfile::TempDir,
}

impl Way {
    fn between(old: Contents, new: Contents) -> Self {
        let yard = Yard::open();
        let bundle = |version, contents| yard.bundle_of(version, (0, Arch::X86_64), Some(contents));
        let (old, new) = (bundle("1.0.0", old), bundle("2.0.0", new));
        Self { yard, old, new, dir: tempfile::tempdir().unwrap() }
    }

    fn delta(&self) -> PathBuf {
        self.dir.path().join("delta")
    }

    fn make(&self) -> Result<Written> {
        make(&self.yard.ctx, (&self.old, &self.new), &self.delta())
    }

    /// Applies the delta: the bundle is the new one, bit for bit.
    fn check(&self) {
        let out = self.dir.path().join("made");
        apply(&self.yard.ctx, &self.delta(), &self.old, &out).unwrap();
        let made = fs::read(out.join("update.bundle")).unwrap();
        assert!(made == fs::read(&self.new).unwrap(), "another bundle");
    }

    /// Bytes that operations read of the new release.
    fn earlier_bytes(&self) -> u64 {
        let opened = Opened::open(&self.delta()).unwrap();
        let sources = opened.table.operations().iter().flat_map(Operation::sources);
        sources.filter(|extent| extent.side == Side::New).map(|extent| extent.bytes).sum()
    }

    /// What machines are led to is what the differences were made of, and all of it is there before the run.
    fn check_sources(&self) {
        let [old, new] = [&self.old, &self.new].map(|place| Release::open(&self.yard.ctx, place).unwrap());
        let (old_pieces, new_pieces) = (Pieces::of(&old), Pieces::of(&new));
        let pairs = pairs::pair((&old, &old_pieces), (&new, &new_pieces));
        let sides = Sides { old: (&old, &old_pieces), new: (&new, &new_pieces), pairs: &pairs };
        for run in sides.runs() {
            let first = &new.index.frames[usize::try_from(run.first).unwrap()];
            for tile in sides.tiles(run.part, &run.range) {
                let sources = sources::Sources::of(&sides, &run, &tile);
                let mut bytes = Vec::new();
                for extent in sources.extents() {
                    assert!(extent.is_there(&new.index, first), "{extent:?} of {run:?}");
                    let part = if extent.side == Side::Old { &old } else { &new }.part(extent.part);
                    let at = usize::try_from(extent.offset).unwrap();
                    bytes.extend_from_slice(&part[at..at + usize::try_from(extent.bytes).unwrap()]);
                }
                assert!(bytes == *sources.bytes(&sides), "{run:?}");
                assert_eq!(bytes.len(), sources.len());
            }
        }
    }

    fn methods(&self) -> Vec<Method> {
        let opened = Opened::open(&self.delta()).unwrap();
        opened.table.operations().iter().map(|operation| operation.method.clone()).collect()
    }
}

fn plain_kernel() -> Vec<u8> {
    crate::image::uki::tests::stub(0x8664, 1)
}

#[test]
fn a_compressed_kernel_is_compared_unpacked_and_packed_again() {
    let release = |seed| contents(noise(1, 4), bzimage(&packed(&kernel(seed), 22)), &[noise(2, 4)]);
    let way = Way::between(release(1), release(2));
    let written = way.make().unwrap();
    assert_eq!(written.notes, Vec::<String>::new());
    let kernel = written.kernel.unwrap();
    assert!((700..900).contains(&kernel.memory_mib) && kernel.whole_bytes > written.bytes, "{kernel:?}");
    assert_eq!(written.operations, [0, 1, 3]);
    let methods = way.methods();
    let [Method::Copy(_), Method::Files(_), Method::Files(files), Method::Files(_)] = &methods[..] else {
        panic!("{methods:?}")
    };
    let packed: Vec<_> = files.iter().filter_map(coracle_format::delta::File::packed).collect();
    assert_eq!((packed.len(), packed[0].plain, packed[0].old_plain), (1, 240_000, 240_000));
    assert!((700..900).contains(&packed[0].memory_mib));
    way.check();
}

#[test]
fn a_kernel_that_no_known_program_packs_travels_whole_and_is_named() {
    let release = |seed| contents(noise(1, 40), bzimage(&packed(&kernel(seed), 19)), &[noise(2, 4)]);
    let way = Way::between(release(1), release(2));
    let written = way.make().unwrap();
    assert_eq!(written.operations, [1, 1, 2]);
    assert_eq!(written.kernel, None);
    assert!(written.notes[0].contains("no known encoder makes it again"), "{:?}", written.notes);
    way.check();
}

#[test]
fn frames_that_are_zeros_or_as_they_were_cost_nothing() {
    let frame = usize::try_from(coracle_format::bundle::FRAME_BYTES_MAX).unwrap();
    let image = |last: u8| {
        let mut image = noise(1, 1024);
        image.resize(3 * frame, 0);
        image.extend(noise(last, 4));
        image
    };
    let release = |seed| contents(image(seed), plain_kernel(), &[noise(3, 8), vec![seed; 5000]]);
    let way = Way::between(release(4), release(5));
    let written = way.make().unwrap();
    let methods = way.methods();
    let [Method::Copy(extents), Method::Frames, Method::Frames, rest @ ..] = &methods[..] else {
        panic!("{methods:?}")
    };
    assert_eq!(extents.iter().map(|extent| extent.bytes).sum::<u64>(), u64::try_from(frame).unwrap());
    for method in rest {
        let Method::Files(files) = method else { continue };
        assert!(files.iter().all(|file| !file.old.is_empty()), "{method:?}");
    }
    // The noise at the end of the root is new.
    assert!((4 * 4096..4 * 4096 + 4000).contains(&written.bytes), "{written:?}");
    way.check();
}

#[test]
fn the_same_releases_give_the_same_bytes_and_the_explanation_adds_up() {
    let release = |seed| contents(noise(1, 8), plain_kernel(), &[noise(2, 40), noise(seed, 4)]);
    let way = Way::between(release(4), release(5));
    let written = way.make().unwrap();
    let bytes = fs::read(way.delta()).unwrap();
    way.make().unwrap();
    assert!(bytes == fs::read(way.delta()).unwrap());
    let sum: u64 = written.explanation.rows.iter().map(|row| row.cost).sum();
    let total = sum + written.explanation.overhead;
    // What settles the last bits of a stream belongs to no file.
    assert!((written.bytes - 64..=written.bytes).contains(&total), "{total} of {}", written.bytes);
    assert_eq!(written.explanation.rows[0].name, "initramfs/lib/1");
}

#[test]
fn what_saves_too_little_is_refused_and_nothing_is_written() {
    let release = |seed| contents(noise(seed, 8), plain_kernel(), &[noise(seed + 1, 40)]);
    let way = Way::between(release(4), release(7));
    let error = way.make().unwrap_err();
    assert_eq!(error.kind(), Kind::Policy);
    assert!(error.to_string().contains("not worth its place"), "{error}");
    assert!(!way.delta().exists());
}

#[test]
fn another_base_the_same_release_and_another_architecture_are_refused() {
    let release = |seed| contents(noise(1, 8), plain_kernel(), &[noise(2, 40), noise(seed, 4)]);
    let way = Way::between(release(4), release(5));
    way.make().unwrap();
    let ctx = &way.yard.ctx;
    let out = way.dir.path().join("made");
    assert_eq!(apply(ctx, &way.delta(), &way.new, &out).unwrap_err().kind(), Kind::Policy);
    assert!(!out.exists());
    let same = make(ctx, (&way.new, &way.new), &way.delta()).unwrap_err();
    assert_eq!(same.kind(), Kind::Usage);
    let arm = way.yard.bundle_for("2.0.0", 0, Arch::Aarch64);
    assert_eq!(make(ctx, (&way.old, &arm), &way.delta()).unwrap_err().kind(), Kind::Usage);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(make(ctx, (&way.old, empty.path()), &way.delta()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_damaged_delta_is_refused_wherever_the_damage_is_and_leaves_nothing() {
    let release = |seed| contents(noise(1, 8), plain_kernel(), &[noise(2, 40), noise(seed, 4)]);
    let way = Way::between(release(4), release(5));
    way.make().unwrap();
    let bytes = fs::read(way.delta()).unwrap();
    let out = way.dir.path().join("made");
    for at in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        crate::files::replace(&way.delta(), &damaged).unwrap();
        let error = apply(&way.yard.ctx, &way.delta(), &way.old, &out).unwrap_err();
        assert!(matches!(error.kind(), Kind::Hostile | Kind::Digest | Kind::Policy), "byte {at}: {error}");
        assert!(!out.exists(), "byte {at}");
    }
    for length in [0, 131, 500, bytes.len() - 1] {
        crate::files::replace(&way.delta(), &bytes[..length]).unwrap();
        let error = apply(&way.yard.ctx, &way.delta(), &way.old, &out).unwrap_err();
        assert_eq!(error.kind(), Kind::Hostile, "{length} bytes");
    }
}

/// What happens to a file from one release to the next.
#[derive(Clone, Copy, Debug)]
enum Change {
    Keep,
    Edit(usize),
    Insert(usize),
    Remove(usize),
    Gone,
    Twice,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => Just(Change::Keep),
        2 => (0_usize..6000).prop_map(Change::Edit),
        2 => (0_usize..6000).prop_map(Change::Insert),
        1 => (1_usize..6000).prop_map(Change::Remove),
        1 => Just(Change::Gone),
        1 => Just(Change::Twice),
    ]
}

/// What leaves most of a file as it is.
fn small_change() -> impl Strategy<Value = Change> {
    prop_oneof![
        Just(Change::Keep),
        (0_usize..6000).prop_map(Change::Edit),
        (0_usize..6000).prop_map(Change::Insert),
        (1_usize..1000).prop_map(Change::Remove),
    ]
}

fn changed(files: &[Vec<u8>], changes: &[Change]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for (file, change) in files.iter().zip(changes) {
        let mut file = file.clone();
        match *change {
            Change::Keep => {}
            Change::Edit(at) => {
                let at = at % file.len();
                file[at] ^= 0x55;
            }
            Change::Insert(at) => {
                let at = at % file.len();
                file.splice(at..at, b"inserted".iter().copied());
            }
            Change::Remove(count) => file.truncate(file.len() - count % file.len()),
            Change::Gone => continue,
            Change::Twice => out.push(file.clone()),
        }
        out.push(file);
    }
    out
}

/// More than two frames.
fn zeros() -> Vec<u8> {
    vec![0; 9 << 20]
}

/// Files with frames of zeros behind each group: what is in one group is there before the next one is made.
fn apart(groups: &[Vec<Vec<u8>>]) -> Vec<Vec<u8>> {
    groups.iter().flat_map(|group| group.iter().cloned().chain([zeros()])).collect()
}

/// The way from a release that has nothing but zeros in common with the other one, whose initramfs has these files.
fn from_another(files: &[Vec<u8>]) -> Way {
    let old = contents(noise(1, 4), plain_kernel(), &[zeros(), noise(2, 2)]);
    Way::between(old, contents(noise(1, 4), plain_kernel(), files))
}

#[test]
fn a_new_file_is_made_of_a_new_one_before_it() {
    let one = noise(10, 30);
    let mut like_it = one.clone();
    like_it[50_000..50_100].fill(7);
    like_it.splice(9000..9000, noise(11, 1)[..2000].iter().copied());
    let way =
        from_another(&apart(&[vec![one.clone()], vec![like_it.clone(), noise(12, 5)], vec![one.clone()]]));
    let written = way.make().unwrap();
    way.check();
    // The third is the first as it is; the two of the second group are no use to each other.
    assert_eq!(way.earlier_bytes(), 2 * 30 * 4096);
    let cost = |name: &str| {
        let row =
            written.explanation.rows.iter().find(|row| row.name == format!("initramfs/lib/{name}")).unwrap();
        (row.cost, row.how)
    };
    assert!((2000..2500).contains(&cost("2").0) && cost("2").1 == "new", "{:?}", cost("2"));
    assert_eq!(cost("5"), (0, "new"));
}

#[test]
fn the_beginning_of_a_large_file_serves_its_end() {
    let large = noise(10, 400);
    let itself = [&large[..], &zeros(), &large[..]].concat();
    let way = from_another(&[itself]);
    let written = way.make().unwrap();
    way.check();
    assert!(way.earlier_bytes() >= 400 * 4096, "{}", way.earlier_bytes());
    assert!(written.bytes < 420 * 4096, "{written:?}");
    way.check_sources();
}

/// Files on whole blocks, as a file system has them.
fn image(files: &[Vec<u8>]) -> Vec<u8> {
    let mut out = noise(200, 1);
    for file in files {
        out.extend_from_slice(file);
        out.resize(out.len().next_multiple_of(4096), 0);
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn whatever_changes_the_new_release_is_made_bit_for_bit(
        sizes in prop::collection::vec(1_usize..12_000, 1..9),
        changes in prop::collection::vec(change(), 9),
        rest in prop::collection::vec(change(), 9),
    ) {
        let files: Vec<Vec<u8>> = (10_u8..).zip(&sizes).map(|(seed, size)| noise(seed, 3)[..*size].to_vec()).collect();
        let old = contents(image(&files), plain_kernel(), &files);
        let mut new = contents(image(&changed(&files, &changes)), plain_kernel(), &changed(&files, &rest));
        new.uname = "6.12.1".to_owned();
        let way = Way::between(old, new);
        // That it saves nothing is an answer as well.
        match way.make() {
            Ok(_) => way.check(),
            Err(error) => prop_assert_eq!(error.kind(), Kind::Policy),
        }
    }

    #[test]
    fn whatever_new_files_have_of_new_ones_they_are_made_bit_for_bit(
        sizes in prop::collection::vec(6000_usize..12_000, 1..5),
        second in prop::collection::vec(small_change(), 5),
        third in prop::collection::vec(small_change(), 5),
    ) {
        let files: Vec<Vec<u8>> = (10_u8..).zip(&sizes).map(|(seed, size)| noise(seed, 3)[..*size].to_vec()).collect();
        let groups = [files.clone(), changed(&files, &second), changed(&files, &third)];
        let way = from_another(&apart(&groups));
        let written = way.make().unwrap();
        way.check();
        way.check_sources();
        let once: usize = sizes.iter().sum();
        let used = way.earlier_bytes();
        prop_assert!(used >= u64::try_from(once).unwrap(), "{used} of {once} bytes were used again");
        let most = u64::try_from(once + 200 * sizes.len()).unwrap() + written.explanation.overhead + 2000;
        prop_assert!(written.bytes < most, "{} of at most {most}", written.bytes);
    }
}
