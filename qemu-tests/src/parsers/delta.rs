//! Deltas: header and table, and streams that nobody has vouched for.

use super::{ignore, seal, update::index};
use coracle::{
    image::{cpio, uki},
    tree::Tree,
};
use coracle_delta::{File, Old};
use coracle_format::{
    bundle::Part,
    delta::{
        Encoder, Extent, File as Made, HEADER_BYTES, Header, How, Method, Operation, Packed, Pieces, Side,
        Table,
    },
};

/// A header, and the table behind it or alone.
pub(super) fn delta(data: &[u8]) {
    let mut sealed = data.to_vec();
    seal::crc32(&mut sealed, 0, HEADER_BYTES - 4, HEADER_BYTES - 4);
    let Some(index) = index() else { return };
    for bytes in [data, &sealed] {
        if let Ok(header) = Header::parse(bytes) {
            assert_eq!(header.encode()[..], bytes[..HEADER_BYTES], "a header has one form");
            ignore((header.total(), header.check_metadata(bytes), header.check_table(bytes)));
        }
        for bytes in [bytes, bytes.get(HEADER_BYTES..).unwrap_or_default()] {
            if let Ok(table) = Table::parse(bytes, &index) {
                assert_eq!(table.encode(), bytes, "a table has one form");
                ignore((table.streams(), table.placed().count()));
            }
        }
    }
}

pub(super) fn delta_seeds() -> Vec<Vec<u8>> {
    let extent = |part, offset, bytes| Extent { side: Side::Old, part, offset, bytes };
    let made = Extent { side: Side::New, ..extent(Part::Root, 0, 4096) };
    let operation = |first, frames, method, stream, digests: [[u8; 32]; 2]| Operation {
        first,
        frames,
        method,
        source_sha256: digests[0],
        stream,
        stream_sha256: digests[1],
    };
    let packed =
        Packed { encoder: Encoder::Zstd157 { level: 22 }, plain: 9000, old_plain: 8000, memory_mib: 800 };
    let files = vec![
        Made { bytes: 100, old: vec![made], how: How::Differs },
        Made { bytes: 4000, old: vec![extent(Part::Boot, 0, 4001)], how: How::Contents(packed) },
    ];
    let copy = Method::Copy(vec![extent(Part::Root, 4096, 8000), extent(Part::Boot, 7, 192)]);
    let operations = vec![
        operation(0, 1, copy, 0, [[6; 32], [0; 32]]),
        operation(1, 1, Method::Frames, 0, [[0; 32]; 2]),
        operation(2, 1, Method::Files(files), 300, [[6; 32], [7; 32]]),
    ];
    let table = index().and_then(|index| Table::new(operations, &index).ok()).map(|table| table.encode());
    let table = table.unwrap_or_default();
    let pieces = Pieces { metadata: b"metadata", index: b"index", table: &table };
    let header = Header::of([9; 32], &pieces, 300).map(|header| header.encode());
    vec![[&header.unwrap_or([0; HEADER_BYTES])[..], &table].concat(), table]
}

/// A release taken apart: whatever it is, every byte of it is in one piece.
pub(super) fn pieces(data: &[u8]) {
    for (root, boot) in [(data, &[][..]), (&[][..], data)] {
        let pieces = coracle::delta::outline(root, boot);
        let sum: usize = pieces.iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, data.len(), "every byte is in one piece");
    }
}

pub(super) fn pieces_seeds() -> Vec<Vec<u8>> {
    let mut tree = Tree::new();
    let mut archive = Vec::new();
    ignore(tree.file("lib/module.ko", 0o644, vec![7; 5000]));
    ignore(cpio::write(&tree, 0, &mut archive));
    // A kernel whose setup header leads to a payload.
    let mut linux = super::stub();
    linux.resize(0x800, 0);
    for (at, bytes) in [
        (0x1f1, &[1][..]),
        (0x202, b"HdrS"),
        (0x248, &0x400_u32.to_le_bytes()),
        (0x24c, &104_u32.to_le_bytes()),
    ] {
        linux[at..at + bytes.len()].copy_from_slice(bytes);
    }
    linux.extend([0x28, 0xb5, 0x2f, 0xfd]);
    linux.resize(0x800 + 200, 1);
    let parts = uki::Parts {
        linux: &linux,
        initrd: &archive,
        command_line: "quiet",
        os_release: "ID=coracle\n",
        uname: "6.12.0",
    };
    uki::build(&super::stub(), &parts).into_iter().collect()
}

/// Two files of one stream: the first bytes say how long the new ones are.
pub(super) fn delta_stream(data: &[u8]) {
    let Some((&[one, two], stream)) = data.split_first_chunk() else { return };
    let lengths = [u64::from(one) * 16, u64::from(two)];
    let mut olds = [OLD, &OLD[64..]];
    let mut made = [0_u64; 2];
    let mut sinks = made.each_mut().map(|made| {
        move |bytes: &[u8]| {
            *made += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            Ok(())
        }
    });
    let mut files: Vec<File<'_>> = olds
        .iter_mut()
        .zip(&mut sinks)
        .zip(lengths)
        .map(|((old, sink), bytes)| {
            let old: &mut dyn Old = old;
            File { old, bytes, sink }
        })
        .collect();
    let is_applied = coracle_delta::apply(stream, &mut files).is_ok();
    drop(files);
    let is_within = made.iter().zip(lengths).all(|(made, length)| *made <= length);
    assert!(is_within && (!is_applied || made == lengths), "{made:?} of {lengths:?}");
}

/// The old file: the beginning of a program, and some text.
const OLD: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0\x01\0\0\0\0\x10\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\xe8\x01\
\x02\0\0\x48\x8d\x05\x10\0\0\0\xe9\xfb\xff\xff\xff\x0f\x84\x20\0\0\0 what follows is text, and text again, and the same text \
once more: what follows is text, and text again, and the same text once more";

pub(super) fn delta_stream_seeds() -> Vec<Vec<u8>> {
    let mut new = OLD.to_vec();
    new.extend_from_slice(b"more");
    new.truncate(new.len() / 16 * 16);
    let second = &OLD[70..170];
    let pair = |old, new| coracle_delta::Pair::of(old, new);
    let code = program(OLD);
    let several = coracle_delta::Pair::of_several(OLD, &[64, OLD.len()], &code);
    let seed = |pairs: &[coracle_delta::Pair<'_>; 2]| {
        let stream = coracle_delta::make(pairs).unwrap_or_default();
        let bytes = [pairs[0].new.len() / 16, pairs[1].new.len()];
        let lengths = bytes.map(|length| u8::try_from(length).unwrap_or(0));
        [&lengths[..], &stream].concat()
    };
    vec![seed(&[pair(OLD, &new), pair(&OLD[64..], second)]), seed(&[several, pair(&OLD[64..], second)])]
}

/// A program of 16 times some bytes, with a section that holds this code.
fn program(code: &[u8]) -> Vec<u8> {
    const BEFORE: usize = 64 + 56;
    let mut code = code.to_vec();
    code.resize((BEFORE + code.len()).next_multiple_of(16) - BEFORE, 0);
    let wide = |number: usize| u64::try_from(number).unwrap_or(0);
    let (at, bytes) = (BEFORE + code.len(), code.len());
    let mut out = vec![0; 64];
    out[..6].copy_from_slice(b"\x7fELF\x02\x01");
    (out[16], out[18], out[32], out[54], out[56], out[58], out[60]) = (2, 62, 64, 56, 1, 64, 2);
    out[40..48].copy_from_slice(&wide(at).to_le_bytes());
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    out.extend(words(&[1, 0, 0x40_0000, 0x40_0000, wide(at), wide(at), 4096]));
    out.extend(code);
    out.extend([0; 64]);
    out.extend(words(&[1 << 32, 6, 0x40_0000 + wide(BEFORE), wide(BEFORE), wide(bytes), 0, 0, 0]));
    out
}
