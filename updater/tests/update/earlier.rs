//! Operations that start from what of the new release is in the spare slot already.

use crate::deltas::{apply, assert_applied, run, shipped};
use crate::fixture::{Payload, noise, settings};
use crate::making::{Operations, Piece, delta, delta_with, operation, pieces};
use coracle_format::bundle::Part;
use coracle_format::delta::{Extent, Method, Side};
use coracle_slots::Slot;
use coracle_update::Kind;
use coracle_update::executor::{Settings, Tally, Tools};

const FRAMES: usize = 8;

/// Two releases with nothing in common; in the new one each frame is like the one before it.
fn pair() -> (Payload, Payload) {
    let (old, mut new) = (Payload::new("1.0"), Payload::new("2.0"));
    let mut frame = noise(40, new.frame);
    new.root.clear();
    for number in 0..FRAMES {
        frame[number * 5000..][..100].copy_from_slice(&noise(50 + u64::try_from(number).unwrap(), 100));
        new.root.extend_from_slice(&frame);
    }
    new.boot = [&new.root[..new.frame], b"and more"].concat();
    (old, new)
}

/// Everything but the first frame is made of what is before it.
fn operations(old: &Payload, new: &Payload) -> Operations {
    pieces(old, new, |_, _| Piece::Earlier)
}

#[test]
fn a_release_that_is_like_itself_comes_in_few_bytes_whatever_ran_before() {
    let (old, new) = pair();
    let bytes = delta(&old, &new, operations(&old, &new));
    assert!(bytes.len() < new.bundle().len() / 5, "{} of {}", bytes.len(), new.bundle().len());
    for in_pairs in [false, true] {
        let (_, executor) = shipped(&old);
        // What is there before its time would be found out.
        let slot = executor.partition(Slot::B).unwrap();
        executor.disk().write_within(&slot, 0, &noise(3, 1 << 20)).unwrap();
        let settings = Settings { tools: Tools { in_pairs, ..Tools::default() }, ..settings() };
        let done = run(&executor, &bytes, None, &settings);
        assert_applied(&executor, &done, &new);
        let frames = u32::try_from(new.index().0.frames.len()).unwrap();
        assert_eq!(done.notes, Vec::<String>::new());
        assert_eq!(done.tally, Tally { fetched: done.taken.0, delta: frames, ..Tally::default() });
    }
}

#[test]
fn frames_that_the_bundle_gives_are_as_good_a_start_as_those_that_were_made() {
    let (old, new) = pair();
    for (failed, in_pairs) in (0..FRAMES).flat_map(|failed| [(failed, false), (failed, true)]) {
        let mut operations = operations(&old, &new);
        let (damaged, stream) = &mut operations[failed];
        if damaged.method == Method::Frames {
            // It is carried: what is damaged is what arrives.
            stream[1000] ^= 1;
        } else {
            damaged.stream_sha256 = [1; 32];
        }
        let (_, executor) = shipped(&old);
        let settings = Settings { tools: Tools { in_pairs, ..Tools::default() }, ..settings() };
        let done = run(&executor, &delta(&old, &new, operations), Some(new.bundle()), &settings);
        assert_applied(&executor, &done, &new);
        assert_eq!((done.notes.len(), done.tally.bundle), (1, 1), "{failed}: {done:?}");
        assert_eq!(done.tally.delta, u32::try_from(new.index().0.frames.len()).unwrap() - 1, "{failed}");
    }
}

#[test]
fn an_update_that_was_interrupted_anywhere_goes_on_from_what_is_there() {
    let (old, new) = pair();
    let bytes = delta(&old, &new, operations(&old, &new));
    let directory = tempfile::tempdir().unwrap();
    let notes = directory.path().join("progress");
    let (mut after, mut on_the_way) = (0, 0);
    loop {
        let (model, executor) = shipped(&old);
        let settings = Settings { leftovers: Some(&notes), ..settings() };
        model.fail_after(Some(after));
        drop(run(&executor, &bytes, None, &settings));
        model.fail_after(None);
        if executor.record().unwrap().on_trial().is_some() {
            break;
        }
        // What it had written is said to be there, and more; of some of it that is wrong.
        crate::power_cuts::claim(&notes, &new, u32::try_from(FRAMES).unwrap());
        if after % 2 == 1 {
            let slot = executor.partition(Slot::B).unwrap();
            executor.disk().write_within(&slot, 3 * 65536 + 7, b"damage").unwrap();
        }
        let done = run(&executor, &bytes, None, &settings);
        assert_applied(&executor, &done, &new);
        assert_eq!(done.notes, Vec::<String>::new(), "{after}");
        on_the_way += usize::from(done.tally.kept > 0 && done.tally.delta > 0);
        after += 1;
    }
    assert!(on_the_way > FRAMES / 2, "{on_the_way} of {after}");
}

#[test]
fn a_table_that_reads_what_is_not_there_yet_is_refused_and_the_bundle_taken() {
    const MARK: [u8; 32] = [0xee; 32];
    let (old, new) = pair();
    let frame = u64::try_from(new.frame).unwrap();
    // The part that the table says in the end: one of the new release.
    for (part, offset) in [
        (3, 2 * frame),
        (3, 2 * frame - 1),
        (3, frame + 1),
        (3, 5 * frame),
        (3, u64::MAX - frame),
        (4, 0),
        (5, 0),
        (0, 0),
    ] {
        let mut operations = operations(&old, &new);
        let source = Extent { side: Side::Old, part: Part::Root, offset, bytes: frame };
        operations[2] = (operation(2, 1, Method::Copy(vec![source]), &[], &[]), Vec::new());
        operations[2].0.source_sha256 = MARK;
        let bytes = delta_with(&old, &new, operations, |table| {
            let at = table.windows(32).position(|window| window == MARK).unwrap() + 32;
            assert_eq!(table[at..at + 2], [1, 1], "one extent of the old root");
            table[at + 1] = part;
        });
        let (_, executor) = shipped(&old);
        let error = run(&executor, &bytes, None, &settings()).error.unwrap();
        assert_eq!(error.kind(), Kind::Hostile, "{part} {offset}: {error:?}");
        assert!(error.to_string().contains("operation 2 of the delta is malformed"), "{error}");
        let (_, executor) = shipped(&old);
        let done = apply(&executor, &bytes, Some(new.bundle()), &new);
        assert_eq!((done.notes.len(), done.tally.delta), (1, 0), "{part} {offset}: {done:?}");
    }
}
