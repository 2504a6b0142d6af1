use super::*;
use crate::{
    bundle::{Encoding, Whole},
    slot::{Arch, Text},
};
use alloc::vec;
use proptest::prelude::*;

fn index() -> Index {
    let frame = |part, offset, plain, encoding| {
        let (stored, sha256) = if encoding == Encoding::Zeros { (0, [0; 32]) } else { (plain, [5; 32]) };
        Frame { part, offset, plain, stored, encoding, sha256, plain_sha256: [5; 32] }
    };
    Index {
        arch: Arch::X86_64,
        name: Text::new("hello").unwrap(),
        version: Text::new("1.2.3").unwrap(),
        root: Whole { bytes: 3 * 4096, sha256: [1; 32] },
        boot: Whole { bytes: 4096 + 100, sha256: [2; 32] },
        root_hash: [3; 32],
        salt: [4; 32],
        frames: vec![
            frame(Part::Root, 0, 4096, Encoding::Raw),
            frame(Part::Root, 4096, 8192, Encoding::Zeros),
            frame(Part::Boot, 0, 4096, Encoding::Raw),
            frame(Part::Boot, 4096, 100, Encoding::Raw),
        ],
    }
}

fn extent(part: Part, offset: u64, bytes: u64) -> Extent {
    Extent { side: Side::Old, part, offset, bytes }
}

fn made(part: Part, offset: u64, bytes: u64) -> Extent {
    Extent { side: Side::New, ..extent(part, offset, bytes) }
}

fn packed() -> Packed {
    let encoder = Encoder::Zstd157 { level: 22 };
    Packed { encoder, plain: 60_000_000, old_plain: 59_000_000, memory_mib: 800 }
}

fn sample() -> Vec<Operation> {
    let operation = |first, frames, method, stream| Operation {
        first,
        frames,
        method,
        source_sha256: [6; 32],
        stream,
        stream_sha256: [7; 32],
    };
    vec![
        Operation {
            stream_sha256: [0; 32],
            ..operation(
                0,
                1,
                Method::Copy(vec![extent(Part::Root, 8192, 4000), extent(Part::Boot, 1, 96)]),
                0,
            )
        },
        Operation { source_sha256: [0; 32], stream_sha256: [0; 32], ..operation(1, 1, Method::Frames, 0) },
        operation(
            2,
            2,
            Method::Files(vec![
                File { bytes: 96, old: vec![made(Part::Root, 0, 12288)], how: How::Differs },
                File { bytes: 4000, old: vec![extent(Part::Boot, 96, 4001)], how: How::Contents(packed()) },
                File { bytes: 100, old: vec![extent(Part::Boot, 5000, 100)], how: How::Same },
            ]),
            300,
        ),
    ]
}

fn changed(change: impl FnOnce(&mut Vec<Operation>)) -> Result<Table, NotADelta> {
    let mut operations = sample();
    change(&mut operations);
    Table::new(operations, &index())
}

fn files(operations: &mut [Operation]) -> &mut Vec<File> {
    match &mut operations[2].method {
        Method::Files(files) => files,
        Method::Frames | Method::Copy(_) => panic!("not files"),
    }
}

#[test]
fn a_table_survives_the_round_trip_and_knows_its_streams() {
    let table = changed(|_| {}).unwrap();
    assert_eq!(Table::parse(&table.encode(), &index()), Ok(table.clone()));
    assert_eq!(table.streams(), 300);
    assert_eq!(table.placed().map(|(at, _)| at).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!(table.operations()[2].encoder_mib(), 800);
    let sources: u64 =
        table.operations().iter().flat_map(Operation::sources).map(|extent| extent.bytes).sum();
    assert_eq!(sources, 4000 + 96 + 12288 + 4001 + 100);
}

#[test]
fn the_bytes_of_a_table_are_these() {
    let bytes = changed(|_| {}).unwrap().encode();
    assert_eq!(bytes[..3], [3, 1, 1]);
    assert_eq!(bytes[3..35], [6; 32]);
    assert_eq!(bytes[35..44], [2, 1, 0x80, 0x40, 0xa0, 0x1f, 2, 1, 96]);
    assert_eq!(bytes[44..46], [0, 1]);
    assert_eq!(bytes[46..48], [2, 2]);
    assert_eq!(bytes[48..80], [6; 32]);
    assert_eq!(bytes[80..112], [7; 32]);
    assert_eq!(bytes[112..122], [0xac, 2, 3, 96, 1, 3, 0, 0x80, 0x60, 0]);
    assert_eq!(bytes[122..129], [0xa0, 0x1f, 1, 2, 96, 0xa1, 0x1f]);
    assert_eq!(bytes[129..141], [1, 22, 0x80, 0x8e, 0xce, 0x1c, 0xc0, 0x89, 0x91, 0x1c, 0xa0, 6]);
    assert_eq!(bytes[141..], [100, 1, 2, 0x88, 0x27, 100, 2]);
}

#[test]
fn operations_that_leave_frames_out_or_make_them_twice_are_refused() {
    let coverage = Err(NotADelta::Coverage);
    assert_eq!(changed(|operations| operations.truncate(2)), coverage);
    assert_eq!(changed(|operations| operations[1].first = 0), coverage);
    assert_eq!(changed(|operations| operations.swap(0, 1)), coverage);
    assert_eq!(changed(|operations| operations[2].frames = 3), coverage);
    assert_eq!(changed(|operations| operations[2].frames = u32::MAX), coverage);
    // Across both parts, and none at all.
    assert_eq!(
        changed(|operations| {
            operations[1].frames = 2;
            operations[1].stream = 4096;
        }),
        Err(NotADelta::Operation(1))
    );
    assert_eq!(changed(|operations| operations[0].frames = 0), Err(NotADelta::Operation(0)));
}

#[test]
fn what_does_not_make_the_bytes_of_its_frames_is_refused() {
    let refused = |number| Err(NotADelta::Operation(number));
    assert_eq!(changed(|operations| operations[0].stream = 1), refused(0));
    assert_eq!(changed(|operations| operations[0].stream_sha256 = [1; 32]), refused(0));
    assert_eq!(changed(|operations| operations[0].method = Method::Copy(vec![])), refused(0));
    let copy = |extents| changed(|operations| operations[0].method = Method::Copy(extents));
    assert_eq!(copy(vec![extent(Part::Root, 0, 4096), extent(Part::Root, 0, 0)]), refused(0));
    assert_eq!(copy(vec![extent(Part::Root, u64::MAX, 4096)]), refused(0));
    assert_eq!(changed(|operations| operations[1].stream = 8192), refused(1));
    assert_eq!(changed(|operations| operations[1].source_sha256 = [1; 32]), refused(1));
    assert_eq!(changed(|operations| files(operations)[0].bytes += 1), refused(2));
    assert_eq!(changed(|operations| files(operations)[0].bytes = 0), refused(2));
    assert_eq!(changed(|operations| files(operations)[2].old[0].bytes = 99), refused(2));
    assert_eq!(changed(|operations| operations[2].stream = u64::from(STREAM_BYTES_MAX) + 1), refused(2));
    let pack = |change: fn(&mut Packed)| {
        let mut packed = packed();
        change(&mut packed);
        changed(|operations| files(operations)[1].how = How::Contents(packed))
    };
    assert_eq!(pack(|packed| packed.encoder = Encoder::Zstd157 { level: 0 }), refused(2));
    assert_eq!(pack(|packed| packed.encoder = Encoder::Zstd157 { level: 23 }), refused(2));
    assert_eq!(pack(|packed| packed.plain = 0), refused(2));
    assert_eq!(pack(|packed| packed.plain = (512 << 20) + 1), refused(2));
    assert_eq!(pack(|packed| packed.old_plain = (512 << 20) + 1), refused(2));
}

#[test]
fn bytes_of_the_new_release_that_are_not_made_yet_are_refused() {
    let refused = |number| Err(NotADelta::Operation(number));
    let boot = |extent| changed(|operations| files(operations)[0].old = vec![extent]).map(drop);
    // The second frame of the boot artefact alone, behind the first one that is carried.
    let second = |extent| {
        changed(|operations| {
            let mut last = operations.pop().unwrap();
            let frames = Operation { method: Method::Frames, stream: 4096, frames: 1, ..last.clone() };
            operations.push(Operation { source_sha256: [0; 32], stream_sha256: [0; 32], ..frames });
            (last.first, last.frames) = (3, 1);
            last.method = Method::Files(vec![File { bytes: 100, old: vec![extent], how: How::Differs }]);
            operations.push(last);
        })
        .map(drop)
    };
    let root = |extent| {
        changed(|operations| operations[0].method = Method::Copy(vec![extent, made(Part::Root, 0, 1)]))
            .map(drop)
    };
    assert_eq!(boot(made(Part::Root, 12287, 1)), Ok(()));
    assert_eq!(boot(made(Part::Root, 12287, 2)), refused(2));
    assert_eq!(boot(made(Part::Root, 12288, 1)), refused(2));
    assert_eq!(boot(made(Part::Root, 1, u64::MAX)), refused(2));
    assert_eq!(boot(made(Part::Root, u64::MAX, 1)), refused(2));
    // Its own frames, and one behind.
    assert_eq!(boot(made(Part::Boot, 0, 1)), refused(2));
    assert_eq!(boot(made(Part::Boot, 4096, 1)), refused(2));
    assert_eq!(second(made(Part::Boot, 0, 4096)), Ok(()));
    assert_eq!(second(made(Part::Boot, 0, 4097)), refused(3));
    assert_eq!(second(made(Part::Boot, 4096, 1)), refused(3));
    // A part that comes later, and a copy of what it makes itself.
    assert_eq!(root(made(Part::Boot, 0, 4095)), refused(0));
    assert_eq!(root(extent(Part::Root, 0, 4095)), refused(0));
}

#[test]
fn a_copy_may_be_of_what_was_made_before() {
    let mut index = index();
    index.frames[1] = Frame { offset: 4096, ..index.frames[0] };
    index.root.bytes = 8192;
    let copy = |offset| {
        let mut operations = sample();
        let method = Method::Copy(vec![made(Part::Root, offset, 4096)]);
        operations[1] = Operation { first: 1, method, ..operations[0].clone() };
        files(&mut operations)[0].old.clear();
        Table::new(operations, &index).map(drop)
    };
    assert_eq!(copy(0), Ok(()));
    assert_eq!(copy(1), Err(NotADelta::Operation(1)));
}

#[test]
fn cuts_trailing_bytes_and_numbers_beyond_the_bytes_are_refused() {
    let bytes = changed(|_| {}).unwrap().encode();
    for end in 0..bytes.len() {
        assert!(Table::parse(&bytes[..end], &index()).is_err(), "cut at {end}");
    }
    assert_eq!(Table::parse(&[&bytes[..], &[0]].concat(), &index()), Err(NotADelta::Length));
    // As many operations as there may be, and one more.
    assert_eq!(Table::parse(&[0x80, 0x80, 1], &index()), Err(NotADelta::Length));
    assert_eq!(Table::parse(&[0x81, 0x80, 1], &index()), Err(NotADelta::Limit));
    assert_eq!(Table::parse(&[0xff, 0xff, 0xff, 3], &index()), Err(NotADelta::Limit));
}

proptest! {
    #[test]
    fn what_is_parsed_is_written_as_the_same_bytes(at: prop::sample::Index, byte: u8) {
        let mut bytes = changed(|_| {}).unwrap().encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(table) = Table::parse(&bytes, &index()) {
            prop_assert_eq!(table.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
        drop(Table::parse(&bytes, &index()));
    }
}

#[test]
fn all_files_and_extents_together_have_limits() {
    let frames = |count: usize| {
        let mut many = index();
        many.frames = (0..count)
            .map(|number| Frame { offset: 4096 * wide(number), plain: 4096, ..index().frames[0] })
            .collect();
        many.root.bytes = 4096 * wide(count);
        many
    };
    // Each makes one frame of 4096 bytes out of so many files with so many extents each.
    let table = |operations: usize, files: usize, extents: usize| {
        let file = File {
            bytes: 4096 / wide(files),
            old: vec![extent(Part::Root, 0, 1); extents],
            how: How::Differs,
        };
        let operation = |first| Operation {
            first: u32::try_from(first).unwrap(),
            frames: 1,
            method: Method::Files(vec![file.clone(); files]),
            source_sha256: [6; 32],
            stream: 1,
            stream_sha256: [7; 32],
        };
        let table = Table { operations: (0..operations).map(operation).collect() };
        let index = frames(operations);
        (Table::parse(&table.encode(), &index).map(drop), Table::new(table.operations, &index).map(drop))
    };
    assert_eq!(table(8, 4096, 0), (Ok(()), Ok(())));
    assert_eq!(table(9, 4096, 0), (Err(NotADelta::Limit), Err(NotADelta::Limit)));
    assert_eq!(table(32, 1, 4096), (Ok(()), Ok(())));
    assert_eq!(table(33, 1, 4096), (Err(NotADelta::Limit), Err(NotADelta::Limit)));
    // And each operation by itself.
    assert_eq!(table(1, 8, 4096), (Ok(()), Ok(())));
    assert_eq!(table(1, 16, 4096), (Err(NotADelta::Operation(0)), Err(NotADelta::Operation(0))));
}
