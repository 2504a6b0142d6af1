use super::*;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

fn frame(part: Part, offset: u64, plain: u32, encoding: Encoding) -> Frame {
    let (stored, sha256) = match encoding {
        Encoding::Zeros => (0, [0; 32]),
        Encoding::Raw => (plain, [5; 32]),
        Encoding::Zstd => (plain / 2, [6; 32]),
    };
    let plain_sha256 = if encoding == Encoding::Raw { sha256 } else { [7; 32] };
    Frame { part, offset, plain, stored, encoding, sha256, plain_sha256 }
}

fn sample() -> Index {
    Index {
        arch: Arch::X86_64,
        name: Text::new("hello").unwrap(),
        version: Text::new("1.2.3").unwrap(),
        root: Whole { bytes: 10 << 20, sha256: [1; 32] },
        boot: Whole { bytes: (5 << 20) + 100, sha256: [2; 32] },
        root_hash: [3; 32],
        salt: [4; 32],
        frames: vec![
            frame(Part::Root, 0, 4 << 20, Encoding::Zstd),
            frame(Part::Root, 4 << 20, 4 << 20, Encoding::Zeros),
            frame(Part::Root, 8 << 20, 2 << 20, Encoding::Zstd),
            frame(Part::Boot, 0, 4 << 20, Encoding::Raw),
            frame(Part::Boot, 4 << 20, (1 << 20) + 100, Encoding::Raw),
        ],
    }
}

fn changed(change: impl FnOnce(&mut Index)) -> Result<Vec<u8>, NotABundle> {
    let mut index = sample();
    change(&mut index);
    index.encode()
}

#[test]
fn an_index_survives_the_round_trip() {
    let bytes = sample().encode().unwrap();
    assert_eq!(bytes.len(), INDEX_HEAD_BYTES + 5 * FRAME_ENTRY_BYTES);
    assert_eq!(Index::parse(&bytes), Ok(sample()));
}

#[test]
fn the_bytes_of_an_index_are_these() {
    let bytes = sample().encode().unwrap();
    assert_eq!(bytes[..16], *b"CORAINDX\x01\0\0\0\x01\0\0\0");
    assert_eq!(bytes[16..22], *b"hello\0");
    assert_eq!(bytes[80..86], *b"1.2.3\0");
    assert_eq!(bytes[144..152], (10_u64 << 20).to_le_bytes());
    assert_eq!(bytes[152..184], [1; 32]);
    assert_eq!(bytes[184..192], ((5_u64 << 20) + 100).to_le_bytes());
    assert_eq!(bytes[192..224], [2; 32]);
    assert_eq!(bytes[224..256], [3; 32]);
    assert_eq!(bytes[256..288], [4; 32]);
    assert_eq!(bytes[288..296], [5, 0, 0, 0, 0, 0, 0, 0]);
    let last = &bytes[296 + 4 * 84..];
    assert_eq!(last[..20], [0, 0, 0x40, 0, 0, 0, 0, 0, 100, 0, 0x10, 0, 100, 0, 0x10, 0, 2, 1, 0, 0]);
    assert_eq!(last[20..], [5; 64]);
}

#[test]
fn frames_know_their_place_among_the_stored_bytes() {
    let index = sample();
    let places: Vec<u64> = index.placed().map(|(at, _)| at).collect();
    assert_eq!(places, [0, 2 << 20, 2 << 20, 3 << 20, 7 << 20]);
    assert_eq!(index.stored_bytes(), (8 << 20) + 100);
}

#[test]
fn gaps_overlaps_and_a_wrong_order_are_refused() {
    let coverage = |number| Err(NotABundle::Coverage(number));
    // An overlap, a gap.
    assert_eq!(changed(|index| index.frames[1].offset -= 4096), coverage(1));
    assert_eq!(changed(|index| index.frames[1].offset += 4096), coverage(1));
    assert_eq!(changed(|index| index.frames.swap(0, 1)), coverage(0));
    assert_eq!(changed(|index| index.frames.rotate_left(3)), coverage(0));
    assert_eq!(changed(|index| index.frames.truncate(4)), coverage(4));
    assert_eq!(
        changed(|index| index.frames = [&sample().frames[..2], &sample().frames[3..]].concat()),
        coverage(2)
    );
    assert_eq!(changed(|index| index.frames.clear()), coverage(0));
    assert_eq!(changed(|index| index.frames.push(sample().frames[4])), coverage(5));
}

#[test]
fn a_part_larger_or_smaller_than_its_frames_is_refused() {
    assert_eq!(changed(|index| index.root.bytes += 4096), Err(NotABundle::Coverage(3)));
    assert_eq!(changed(|index| index.root.bytes -= 4096), Err(NotABundle::Coverage(2)));
    assert_eq!(changed(|index| index.boot.bytes += 1), Err(NotABundle::Coverage(5)));
    assert_eq!(changed(|index| index.boot.bytes -= 1), Err(NotABundle::Coverage(4)));
    assert_eq!(changed(|index| index.root.bytes += 1), Err(NotABundle::Part));
    assert_eq!(changed(|index| index.root.bytes = 0), Err(NotABundle::Part));
    assert_eq!(changed(|index| index.boot.bytes = 0), Err(NotABundle::Part));
    assert_eq!(changed(|index| index.boot.bytes = u64::MAX), Err(NotABundle::Coverage(5)));
}

#[test]
fn frames_that_contradict_their_encoding_are_refused() {
    let refused = Err(NotABundle::Frame(0));
    assert_eq!(changed(|index| index.frames[0].stored = 0), refused);
    assert_eq!(changed(|index| index.frames[0].stored = 4 << 20), refused);
    assert_eq!(changed(|index| index.frames[0].plain = 0), refused);
    assert_eq!(changed(|index| index.frames[0].plain = (4 << 20) + 4096), refused);
    assert_eq!(changed(|index| index.frames[0].encoding = Encoding::Raw), refused);
    assert_eq!(changed(|index| index.frames[0].encoding = Encoding::Zeros), refused);
    assert_eq!(changed(|index| index.frames[1].sha256 = [1; 32]), Err(NotABundle::Frame(1)));
    // What is stored as it is has one digest.
    assert_eq!(changed(|index| index.frames[3].plain_sha256 = [1; 32]), Err(NotABundle::Frame(3)));
    assert_eq!(changed(|index| index.frames[1].stored = 1), Err(NotABundle::Frame(1)));
    // A frame in the middle must end where one may begin.
    let odd = changed(|index| {
        index.frames[3].plain -= 1;
        index.frames[3].stored -= 1;
        index.frames[4].offset -= 1;
    });
    assert_eq!(odd, Err(NotABundle::Frame(4)));
}

#[test]
fn names_and_versions_that_cannot_be_shown_or_compared_are_refused() {
    let refused = Err(NotABundle::Text);
    for name in ["", "a b", "a/b", "a\n", "ä"] {
        assert_eq!(changed(|index| index.name = Text::new(name).unwrap()), refused, "{name:?}");
    }
    for version in ["", "1.2-rc1", "1.2.3.4.5"] {
        assert_eq!(changed(|index| index.version = Text::new(version).unwrap()), refused, "{version:?}");
    }
    let mut hidden = sample().encode().unwrap();
    hidden[16 + 20] = b'x';
    assert_eq!(Index::parse(&hidden), Err(NotABundle::Text));
}

#[test]
fn cuts_and_trailing_bytes_are_refused() {
    let bytes = sample().encode().unwrap();
    for end in 0..bytes.len() {
        assert_eq!(Index::parse(&bytes[..end]), Err(NotABundle::Length), "cut at {end}");
    }
    for more in [1, FRAME_ENTRY_BYTES] {
        assert_eq!(Index::parse(&[&bytes[..], &vec![0; more]].concat()), Err(NotABundle::Length));
    }
    assert_eq!(Index::parse(&vec![0; INDEX_BYTES_MAX + 1]), Err(NotABundle::Limit));
    assert_eq!(Index::parse(b"not an index at all"), Err(NotABundle::Magic));
}

#[test]
fn a_count_of_frames_beyond_the_bytes_is_refused() {
    let mut bytes = sample().encode().unwrap();
    for count in [4, 6, u32::MAX] {
        bytes[288..292].copy_from_slice(&count.to_le_bytes());
        assert_eq!(Index::parse(&bytes), Err(NotABundle::Length), "{count}");
    }
}

#[test]
fn every_flipped_bit_is_refused_or_means_something_else() {
    let bytes = sample().encode().unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // There is one encoding of every index: none is read as the same.
        if let Ok(index) = Index::parse(&damaged) {
            assert_eq!(index.encode(), Ok(damaged), "bit {bit}");
        }
    }
}

fn indexes() -> impl Strategy<Value = Index> {
    let piece = (1_u32..=1024, 0_u8..3, any::<[u8; 32]>());
    let pieces = prop::collection::vec(piece, 1..12);
    (pieces.clone(), pieces, 1_u32..4096, any::<[u8; 32]>()).prop_map(|(root, boot, rest, digest)| {
        let mut frames = Vec::new();
        let mut cover = |part, pieces: Vec<(u32, u8, [u8; 32])>, less: u32| {
            let (mut at, last) = (0, pieces.len() - 1);
            for (number, (blocks, encoding, sha256)) in pieces.into_iter().enumerate() {
                let encoding = [Encoding::Zeros, Encoding::Raw, Encoding::Zstd][usize::from(encoding)];
                let plain = blocks * 4096 - if number == last { less } else { 0 };
                let mut made = frame(part, at, plain, encoding);
                made.plain_sha256 = sha256;
                if encoding != Encoding::Zeros {
                    made.sha256 = sha256;
                }
                // One byte has no half.
                if made.stored == 0 && encoding == Encoding::Zstd {
                    made = frame(part, at, plain, Encoding::Zeros);
                }
                frames.push(made);
                at += u64::from(plain);
            }
            Whole { bytes: at, sha256: digest }
        };
        let (root, boot) = (cover(Part::Root, root, 0), cover(Part::Boot, boot, rest));
        Index { root, boot, frames, ..sample() }
    })
}

proptest! {
    #[test]
    fn every_sound_index_survives_the_round_trip(index in indexes()) {
        prop_assert_eq!(Index::parse(&index.encode().unwrap()), Ok(index));
    }

    #[test]
    fn frames_always_cover_their_parts_whatever_the_bytes(index in indexes(), at: prop::sample::Index, byte: u8) {
        let mut bytes = index.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = Index::parse(&bytes) {
            for part in Part::ALL {
                let frames = parsed.frames.iter().filter(|frame| frame.part == part);
                let covered: u64 = frames.map(|frame| u64::from(frame.plain)).sum();
                prop_assert_eq!(covered, parsed.whole(part).bytes);
            }
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        drop(Index::parse(&bytes));
    }
}
