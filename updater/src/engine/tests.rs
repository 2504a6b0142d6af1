use super::*;
use coracle_slots::{SlotState, Verdict};

const OURS: Release = [1; 32];
const THEIRS: Release = [2; 32];

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn machine() -> Machine {
    Machine {
        image: "hello".to_owned(),
        arch: Arch::X86_64,
        record: Record::shipped(OURS, version("1.0").to_u64(), 0),
        running: Slot::A,
        spare_bytes: Some(256 << 20),
    }
}

fn offer() -> Offer {
    Offer {
        image: "hello".to_owned(),
        arch: Arch::X86_64,
        version: version("2.0"),
        epoch: 3,
        released: 1_700_000_000,
        replaces: None,
        root_version: 2,
    }
}

fn content(frames: u32) -> Content {
    let digests = Digests { root_hash: [3; 32], is_tree_right: true, boot: THEIRS };
    Content { digests, root_bytes: 8 << 20, boot_bytes: 5 << 20, frames, starts_from: None }
}

fn job() -> Job {
    Job { machine: machine(), ask: Ask::Apply, offer: offer(), content: content(2) }
}

/// Every kind of event, with contents that fit the job.
fn events() -> Vec<Event> {
    let refused = Record::shipped(OURS, 1, 0).arm(Slot::B).unwrap_err();
    let digests = content(2).digests;
    vec![
        Event::Asked(Ask::Apply, Box::new(machine())),
        Event::Verified(Box::new(offer())),
        Event::IndexRead(content(2)),
        Event::Cleared,
        Event::Filled(Origin::Source),
        Event::Filled(Origin::Kept),
        Event::Completed(digests),
        Event::ReadBack(digests),
        Event::Described,
        Event::Changed,
        Event::Forbidden(refused),
        Event::Surveyed,
        Event::Rechecked(Ok(())),
        Event::Rechecked(Err(String::new())),
        Event::Told,
        Event::Failed,
    ]
}

/// Every kind of state.
fn states() -> Vec<State> {
    let job = || Box::new(job());
    vec![
        State::Idle,
        State::Verifying(Ask::Apply, Box::new(machine())),
        State::Reading(Ask::Apply, Box::new(machine()), Box::new(offer())),
        State::Comparing(job()),
        State::Clearing(job()),
        State::Filling { job: job(), frame: 0, kept: 0 },
        State::Filling { job: job(), frame: 1, kept: 1 },
        State::Completing { job: job(), kept: 0 },
        State::Completing { job: job(), kept: 1 },
        State::ReadingBack(job()),
        State::Describing(job()),
        State::Marking(job()),
        State::Surveying(job()),
        State::Rechecking(job()),
        State::Arming(job()),
        State::Telling(job()),
        State::Done(job()),
        State::Refused(Box::new(Refusal::Held)),
        State::Failed,
    ]
}

/// Which event each state goes on with.
fn belongs(state: &State, event: &Event) -> bool {
    matches!(
        (state, event),
        (State::Idle, Event::Asked(..))
            | (State::Verifying(..), Event::Verified(_))
            | (State::Reading(..), Event::IndexRead(_))
            | (State::Clearing(_), Event::Cleared | Event::Forbidden(_))
            | (State::Filling { .. }, Event::Filled(_))
            | (State::Completing { .. }, Event::Completed(_))
            | (State::Comparing(_) | State::ReadingBack(_), Event::ReadBack(_))
            | (State::Describing(_), Event::Described)
            | (State::Marking(_) | State::Arming(_), Event::Changed | Event::Forbidden(_))
            | (State::Surveying(_), Event::Surveyed)
            | (State::Rechecking(_), Event::Rechecked(_))
            | (State::Telling(_), Event::Told)
    )
}

#[test]
fn in_every_state_every_event_that_does_not_belong_there_ends_the_update_without_an_effect() {
    for state in states() {
        for event in events() {
            let (next, effects) = step(state.clone(), event.clone());
            if state.is_end() {
                assert_eq!((&next, effects.len()), (&state, 0), "{state:?} {event:?}");
            } else if belongs(&state, &event) {
                assert_ne!(next, State::Failed, "{state:?} {event:?}");
                assert_eq!(effects.is_empty(), next.is_end(), "{state:?} {event:?}");
            } else {
                assert_eq!((next, effects.len()), (State::Failed, 0), "{state:?} {event:?}");
            }
        }
    }
}

/// Runs a whole update whose effects all succeed; the effects in their order and the end.
fn run(machine: Machine, ask: Ask, offer: &Offer, content: Content) -> (Vec<Effect>, State) {
    let (mut state, mut effects) = step(State::Idle, Event::Asked(ask, Box::new(machine)));
    let mut done = Vec::new();
    while let Some(effect) = effects.first().copied() {
        done.push(effect);
        let event = match effect {
            Effect::Verify => Event::Verified(Box::new(offer.clone())),
            Effect::ReadIndex => Event::IndexRead(content),
            Effect::Clear => Event::Cleared,
            Effect::Fill(_) => Event::Filled(Origin::Source),
            Effect::Forget => panic!("nothing was kept"),
            Effect::Complete => Event::Completed(content.digests),
            Effect::Compare | Effect::ReadBack => Event::ReadBack(content.digests),
            Effect::Describe => Event::Described,
            Effect::Change(_) => Event::Changed,
            Effect::Survey => Event::Surveyed,
            Effect::Recheck => Event::Rechecked(Ok(())),
            Effect::Tell => Event::Told,
        };
        (state, effects) = step(state, event);
    }
    (done, state)
}

#[test]
fn an_update_does_everything_in_this_order() {
    let (effects, end) = run(machine(), Ask::Apply, &offer(), content(3));
    let floors = Floors { root_version: 2, released: 1_700_000_000, ..Floors::default() };
    let expected = [
        Effect::Verify,
        Effect::ReadIndex,
        Effect::Clear,
        Effect::Fill(0),
        Effect::Fill(1),
        Effect::Fill(2),
        Effect::Complete,
        Effect::ReadBack,
        Effect::Describe,
        Effect::Change(Change::Written(Slot::B, THEIRS, version("2.0"), 3)),
        Effect::Survey,
        Effect::Recheck,
        Effect::Change(Change::Arm(Slot::B, floors)),
        Effect::Tell,
    ];
    assert_eq!(effects, expected);
    assert!(matches!(end, State::Done(_)));
}

#[test]
fn a_staged_update_is_written_and_not_armed_and_staging_it_again_does_nothing() {
    let (effects, end) = run(machine(), Ask::Stage, &offer(), content(1));
    let expected = [
        Effect::Verify,
        Effect::ReadIndex,
        Effect::Clear,
        Effect::Fill(0),
        Effect::Complete,
        Effect::ReadBack,
        Effect::Describe,
        Effect::Change(Change::Written(Slot::B, THEIRS, version("2.0"), 3)),
        Effect::Tell,
    ];
    assert_eq!(effects, expected);
    assert!(matches!(end, State::Done(_)));
    let mut machine = machine();
    machine.record = machine.record.written(Slot::B, THEIRS, version("2.0").to_u64(), 3).unwrap();
    let (effects, end) = run(machine, Ask::Stage, &offer(), content(1));
    assert_eq!(effects, [Effect::Verify, Effect::ReadIndex]);
    assert!(matches!(end, State::Done(_)));
}

#[test]
fn what_is_no_longer_offered_is_not_armed() {
    let job = Box::new(Job { machine: machine(), ask: Ask::Apply, offer: offer(), content: content(1) });
    let (state, effects) = step(State::Rechecking(job), Event::Rechecked(Err("it is paused".to_owned())));
    assert_eq!(effects, []);
    assert_eq!(state, State::Refused(Box::new(Refusal::NotOffered("it is paused".to_owned()))));
}

#[test]
fn a_check_reads_metadata_and_index_and_touches_nothing() {
    let (effects, end) = run(machine(), Ask::Check, &offer(), content(3));
    assert_eq!(effects, [Effect::Verify, Effect::ReadIndex]);
    assert!(matches!(end, State::Done(_)));
}

/// What an apply is refused with, which must be before the slot is touched.
fn refusal(machine: Machine, offer: &Offer, content: Content) -> Option<Refusal> {
    let (effects, end) = run(machine, Ask::Apply, offer, content);
    if let State::Refused(refusal) = end {
        assert!(!effects.contains(&Effect::Clear), "{refusal:?}");
        assert_eq!(refusal.kind().exit(), crate::Exit::Refused);
        return Some(*refusal);
    }
    None
}

#[test]
fn a_machine_that_may_not_update_now_refuses_before_a_byte_is_read() {
    let filled = Record::shipped(OURS, 1, 0).clear(Slot::B).unwrap().written(Slot::B, THEIRS, 2, 0).unwrap();
    let armed = filled.arm(Slot::B).unwrap();
    let started = armed.begin_boot(armed.choose(&[]));
    let good = started.commit().unwrap();
    let held = good.roll_back().unwrap();
    let cases = [
        (armed, Slot::A, Refusal::OnTrial { slot: Slot::B, running: Slot::A }),
        (started, Slot::B, Refusal::OnTrial { slot: Slot::B, running: Slot::B }),
        (held, Slot::B, Refusal::Held),
        (good, Slot::A, Refusal::RecordDisagrees { record: Slot::B, running: Slot::A }),
    ];
    for (record, running, expected) in cases {
        let machine = Machine { record, running, ..machine() };
        let (state, effects) = step(State::Idle, Event::Asked(Ask::Apply, Box::new(machine)));
        assert_eq!((state, effects.len()), (State::Refused(Box::new(expected)), 0));
    }
    let without = Machine { spare_bytes: None, ..machine() };
    assert_eq!(judge_machine(&without), Err(Refusal::NoSpare(Slot::B)));
}

#[test]
fn another_image_architecture_or_epoch_is_refused() {
    let theirs = "other".to_owned();
    let other = Offer { image: theirs.clone(), ..offer() };
    let expected = Refusal::OtherImage { ours: "hello".to_owned(), theirs };
    assert_eq!(refusal(machine(), &other, content(1)), Some(expected));
    let other = Offer { arch: Arch::Aarch64, ..offer() };
    let expected = Refusal::OtherArch { ours: Arch::X86_64, theirs: Arch::Aarch64 };
    assert_eq!(refusal(machine(), &other, content(1)), Some(expected));
    let record = machine().record.raise_floors(Floors { epoch: 4, ..Floors::default() });
    let expected = Refusal::LowerEpoch { offered: 3, floor: 4 };
    assert_eq!(refusal(Machine { record, ..machine() }, &offer(), content(1)), Some(expected));
}

#[test]
fn an_older_version_needs_an_exception_that_reaches_this_machine() {
    let record =
        machine().record.raise_floors(Floors { version: version("2.1").to_u64(), ..Floors::default() });
    let machine = || Machine { record, ..machine() };
    for (offered, replaces, refused) in [
        ("2.0", None, true),
        ("2.0", Some("2.0.9"), true),
        ("2.0", Some("2.1"), false),
        ("2.0", Some("3"), false),
        ("2.1", None, false),
        ("2.2", None, false),
    ] {
        let offer = Offer { version: version(offered), replaces: replaces.map(version), ..offer() };
        let found = refusal(machine(), &offer, content(1));
        assert_eq!(matches!(found, Some(Refusal::Older { .. })), refused, "{offered} {replaces:?}");
        assert_eq!(found.is_some(), refused, "{offered} {replaces:?}");
    }
}

#[test]
fn the_running_release_is_refused() {
    let mut same = content(1);
    same.digests.boot = OURS;
    assert_eq!(refusal(machine(), &offer(), same), Some(Refusal::RunsAlready(version("2.0"))));
}

#[test]
fn a_release_that_failed_here_is_refused_until_it_is_retried() {
    let armed = machine()
        .record
        .clear(Slot::B)
        .unwrap()
        .written(Slot::B, THEIRS, 2, 0)
        .unwrap()
        .arm(Slot::B)
        .unwrap();
    let record = armed.fail(Slot::B, Verdict::Unhealthy).unwrap();
    let expected = Refusal::Blocked { version: version("2.0"), release: THEIRS, verdict: Verdict::Unhealthy };
    assert_eq!(refusal(Machine { record, ..machine() }, &offer(), content(1)), Some(expected));
    let record = record.retry(&THEIRS);
    assert_eq!(refusal(Machine { record, ..machine() }, &offer(), content(1)), None);
}

#[test]
fn what_does_not_fit_is_refused_with_the_sum() {
    // Root 8 MiB, tree 17 blocks and a superblock and the top, boot at the next MiB, descriptor.
    let needed = (8 << 20) + (1 << 20) + (5 << 20) + 4096;
    let fits = Machine { spare_bytes: Some(needed), ..machine() };
    assert_eq!(refusal(fits, &offer(), content(1)), None);
    let small = Machine { spare_bytes: Some(needed - 1), ..machine() };
    let found = refusal(small, &offer(), content(1)).unwrap();
    assert_eq!(
        found.about("u.bundle").render(),
        "error: cannot apply u.bundle: it needs 14684160 bytes (root file system 8388608 + hash tree 73728 + boot \
         artefact 5242880, aligned, and a descriptor), slot B has 14684159\n\n\
         hint: slots never grow: ship less, or write a new disk image with larger slots\n"
    );
    let vast = Content { root_bytes: u64::MAX / 4096 * 4096, boot_bytes: u64::MAX, ..content(1) };
    assert!(matches!(refusal(machine(), &offer(), vast), Some(Refusal::TooLarge { .. })));
}

#[test]
fn the_only_good_slot_is_not_overwritten() {
    let good_b = Record::shipped(OURS, 1, 0).clear(Slot::B).unwrap().written(Slot::B, [9; 32], 2, 0).unwrap();
    let good_b = good_b.arm(Slot::B).unwrap();
    let good_b = good_b.begin_boot(good_b.choose(&[])).commit().unwrap();
    // Slot A runs again because it was asked for by hand, and turns out to be damaged.
    let back = good_b.roll_back().unwrap().release_hold();
    let damaged = back.begin_boot(back.choose(&[])).damage(Slot::A);
    assert_eq!(damaged.state(Slot::B), SlotState::Good);
    let machine = Machine { record: damaged, ..machine() };
    let newer = Offer { version: version("2.0"), ..offer() };
    assert_eq!(refusal(machine, &newer, content(1)), Some(Refusal::OnlyGood(Slot::B)));
}

/// Runs from slot A, damaged, since the firmware refused slot B, which is good on paper.
fn fallen_through() -> Record {
    let good_b = Record::shipped(OURS, 1, 0).clear(Slot::B).unwrap().written(Slot::B, [9; 32], 2, 0).unwrap();
    let good_b = good_b.arm(Slot::B).unwrap();
    let good_b = good_b.begin_boot(good_b.choose(&[])).commit().unwrap().damage(Slot::A);
    good_b.begin_boot(good_b.choose(&[Slot::B]))
}

#[test]
fn a_damaged_machine_takes_an_update_over_a_good_slot_that_does_not_start_even_of_the_release_that_runs() {
    let machine = Machine { record: fallen_through(), ..machine() };
    let newer = Offer { version: version("2.0"), ..offer() };
    assert_eq!(refusal(machine.clone(), &newer, content(1)), None);
    let same = Content { digests: Digests { boot: OURS, ..content(1).digests }, ..content(1) };
    assert_eq!(refusal(machine, &newer, same), None);
}

/// The offered release is in the spare slot, written and not armed.
fn dropped() -> Machine {
    let offer = offer();
    let empty = machine().record.clear(Slot::B).unwrap();
    let written = empty.written(Slot::B, THEIRS, offer.version.to_u64(), offer.epoch).unwrap();
    Machine { record: written.arm(Slot::B).unwrap().disarm().unwrap().release_hold(), ..machine() }
}

#[test]
fn a_release_that_the_spare_slot_holds_already_is_compared_and_armed_without_a_frame() {
    let (effects, end) = run(dropped(), Ask::Apply, &offer(), content(3));
    let floors = Floors { root_version: 2, released: 1_700_000_000, ..Floors::default() };
    let arm = Effect::Change(Change::Arm(Slot::B, floors));
    let expected = [
        Effect::Verify,
        Effect::ReadIndex,
        Effect::Compare,
        Effect::Survey,
        Effect::Recheck,
        arm,
        Effect::Tell,
    ];
    assert_eq!(effects, expected);
    assert!(matches!(end, State::Done(_)));
    let other_epoch = Offer { epoch: 7, ..offer() };
    let (effects, _) = run(dropped(), Ask::Apply, &other_epoch, content(3));
    assert!(!effects.contains(&Effect::Compare) && effects.contains(&Effect::Clear));
}

#[test]
fn a_spare_slot_that_does_not_hold_what_it_says_is_filled_anew() {
    let wrong = Digests { is_tree_right: false, ..content(2).digests };
    let (state, effects) = step(State::Comparing(Box::new(job())), Event::ReadBack(wrong));
    assert_eq!((state, effects), (State::Clearing(Box::new(job())), vec![Effect::Clear]));
}

#[test]
fn a_digest_that_differs_never_reaches_the_record() {
    let wanted = content(2).digests;
    let cases = [
        (Digests { root_hash: [0; 32], ..wanted }, What::Root),
        (Digests { is_tree_right: false, ..wanted }, What::Tree),
        (Digests { boot: [0; 32], ..wanted }, What::Boot),
    ];
    for (found, what) in cases {
        let completing = State::Completing { job: Box::new(job()), kept: 0 };
        let (state, effects) = step(completing, Event::Completed(found));
        assert_eq!((state, effects.len()), (State::Refused(Box::new(Refusal::Differs(what))), 0));
        let (state, effects) = step(State::ReadingBack(Box::new(job())), Event::ReadBack(found));
        assert_eq!((state, effects.len()), (State::Refused(Box::new(Refusal::ReadBackDiffers(what))), 0));
    }
}

#[test]
fn leftovers_that_are_wrong_are_replaced_once() {
    let wrong = Digests { root_hash: [0; 32], ..content(2).digests };
    let completing = State::Completing { job: Box::new(job()), kept: 1 };
    let (state, effects) = step(completing, Event::Completed(wrong));
    assert_eq!(effects, [Effect::Forget, Effect::Fill(0)]);
    assert_eq!(state, State::Filling { job: Box::new(job()), frame: 0, kept: 0 });
}

#[test]
fn every_change_of_the_record_is_one_that_the_slots_allow_in_this_order() {
    let (effects, _) = run(machine(), Ask::Apply, &offer(), content(1));
    let mut record = Change::Clear(Slot::B).apply(machine().record).unwrap();
    for effect in effects {
        if let Effect::Change(change) = effect {
            record = change.apply(record).unwrap();
        }
    }
    assert_eq!(record.state(Slot::B), SlotState::Trial { starts: 0 });
    assert_eq!((record.release(Slot::B), record.version(Slot::B)), (THEIRS, version("2.0").to_u64()));
    assert_eq!((record.epoch(Slot::B), record.floors().epoch), (3, 0), "the floor rises with the commit");
    assert_eq!(record.floors().version, version("1.0").to_u64());
}
