//! What holds after any sequence of events, however senseless.

extern crate alloc;
use super::*;
use crate::choice::TRIAL_STARTS;
use alloc::{vec, vec::Vec};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Boot { refused: [bool; 2] },
    Clear(Slot),
    Written(Slot, u8, u32),
    Arm(Slot),
    Commit,
    Fail(Slot, Verdict),
    Explain(Slot, Verdict),
    Damage(Slot),
    Retry(u8),
    RollBack,
    Disarm,
    RunningEpoch(u32),
    RecoverTimestamp(u32),
    ReleaseHold,
    Missed,
    BackOff,
    Raise(Floors),
}

fn any_slot() -> impl Strategy<Value = Slot> {
    proptest::sample::select(&Slot::ALL)
}

fn any_step() -> impl Strategy<Value = Step> {
    let verdict = || proptest::sample::select(&Verdict::ALL);
    let floors = ((0..9_u64, 0..4_u32, 0..9_u32), (0..9_u64, 0..9_u32, 0..9_u64));
    let floors =
        floors.prop_map(|((version, epoch, root_version), (released, timestamp_version, issued))| Floors {
            version,
            epoch,
            root_version,
            released,
            timestamp_version,
            issued,
        });
    prop_oneof![
        6 => proptest::bool::weighted(0.2).prop_map(|a| Step::Boot { refused: [a, false] }),
        1 => any::<[bool; 2]>().prop_map(|refused| Step::Boot { refused }),
        4 => any_slot().prop_map(Step::Clear),
        4 => (any_slot(), 1..5_u8, 0..3_u32)
            .prop_map(|(slot, release, epoch)| Step::Written(slot, release, epoch)),
        4 => any_slot().prop_map(Step::Arm),
        3 => Just(Step::Commit),
        2 => (any_slot(), verdict()).prop_map(|(slot, verdict)| Step::Fail(slot, verdict)),
        1 => (any_slot(), verdict()).prop_map(|(slot, verdict)| Step::Explain(slot, verdict)),
        1 => any_slot().prop_map(Step::Damage),
        1 => (1..5_u8).prop_map(Step::Retry),
        1 => Just(Step::RollBack),
        1 => Just(Step::Disarm),
        1 => (0..3_u32).prop_map(Step::RunningEpoch),
        1 => (0..9_u32).prop_map(Step::RecoverTimestamp),
        1 => Just(Step::ReleaseHold),
        1 => Just(Step::Missed),
        1 => Just(Step::BackOff),
        1 => floors.prop_map(Step::Raise),
    ]
}

/// Every record on the way, one per change.
fn run(record: Record, step: Step) -> Vec<Record> {
    let one = |next: Next| Vec::from_iter(next.ok());
    match step {
        Step::Boot { refused } => power_on(record, refused),
        Step::Clear(slot) => one(record.clear(slot)),
        Step::Written(slot, release, epoch) => {
            one(record.written(slot, [release; 32], u64::from(release), epoch))
        }
        Step::Arm(slot) => one(record.arm(slot)),
        Step::Commit => one(record.commit()),
        Step::Fail(slot, verdict) => one(record.fail(slot, verdict)),
        Step::Explain(slot, verdict) => one(Ok(record.explain(slot, verdict))),
        Step::Damage(slot) => one(Ok(record.damage(slot))),
        Step::Retry(release) => one(Ok(record.retry(&[release; 32]))),
        Step::RollBack => one(record.roll_back()),
        Step::Disarm => one(record.disarm()),
        Step::RunningEpoch(epoch) => one(Ok(record.running_epoch(record.booting(), epoch))),
        Step::RecoverTimestamp(root) => one(Ok(record.recover_timestamp(root))),
        Step::ReleaseHold => one(Ok(record.release_hold())),
        Step::Missed => one(Ok(record.missed())),
        Step::BackOff => one(Ok(record.back_off(&record))),
        Step::Raise(floors) => one(Ok(record.raise_floors(floors))),
    }
}

/// What the selector does when the firmware refuses these slots.
fn power_on(mut record: Record, unwilling: [bool; 2]) -> Vec<Record> {
    let (mut out, mut refused) = (Vec::new(), Vec::new());
    loop {
        let choice = record.choose(&refused);
        if refused.contains(&choice.slot) {
            return out;
        }
        record = record.begin_boot(choice);
        out.push(record);
        if !unwilling[choice.slot.index()] {
            return out;
        }
        record = record.refuse(choice.slot);
        out.push(record);
        refused.push(choice.slot);
    }
}

fn check(before: Record, step: Step, after: Record) -> Result<(), TestCaseError> {
    let running = before.booting();
    prop_assert_eq!(after.sequence(), before.sequence() + u64::from(after != before));
    let (low, high) = (before.floors(), after.floors());
    prop_assert!(low.version <= high.version && low.epoch <= high.epoch, "a floor fell");
    prop_assert!(low.root_version <= high.root_version && low.released <= high.released, "a floor fell");
    let recovered = matches!(step, Step::RecoverTimestamp(_)) && low.root_version < high.root_version;
    let channel_rises = low.timestamp_version <= high.timestamp_version && low.issued <= high.issued;
    prop_assert!(recovered || channel_rises, "a floor of the channel fell");
    prop_assert!(low.epoch == high.epoch || !matches!(step, Step::Arm(_) | Step::Written(..)));
    prop_assert_eq!(crate::parse(&after.encode()), Ok(after));
    for slot in Slot::ALL {
        let (old, new) = (before.state(slot), after.state(slot));
        if before.release(slot) != after.release(slot) {
            prop_assert!(slot != running, "the running slot was written");
            let retired = matches!(step, Step::Commit) && before.epoch(slot) < high.epoch;
            prop_assert!(retired || matches!(step, Step::Clear(_) | Step::Written(..)));
        }
        if new == (SlotState::Trial { starts: 0 }) && new != old {
            prop_assert_eq!(old, SlotState::Written, "armed without having been read back");
            prop_assert_eq!(before.blocked(&before.release(slot)), None);
            prop_assert!(!before.hold() && before.epoch(slot) >= low.epoch);
        }
        if new == SlotState::Written && new != old {
            let read_back = matches!(step, Step::Written(..)) && old == SlotState::Empty;
            let held = matches!(step, Step::Retry(_)) && matches!(old, SlotState::Failed(_));
            let disarmed = matches!(step, Step::Disarm) && matches!(old, SlotState::Trial { .. });
            prop_assert!(slot != running && (read_back || held || disarmed));
        }
        if old == SlotState::Good && new != old {
            let damaged = matches!(step, Step::Damage(damaged) if damaged == slot);
            let cleared = matches!(step, Step::Clear(cleared) if cleared == slot && slot != running)
                && (after.state(running) == SlotState::Good || before.dry_boots > 0);
            let retired = matches!(step, Step::Commit) && after.state(running) == SlotState::Good;
            prop_assert!(damaged || cleared || retired, "a good slot was lost");
        }
        if let (SlotState::Trial { starts }, SlotState::Failed(Verdict::NoVerdict), Step::Boot { .. }) =
            (old, new, step)
        {
            prop_assert!(starts >= TRIAL_STARTS, "blocked by power cuts too early");
        }
    }
    let trials = Slot::ALL.into_iter().filter(|slot| matches!(after.state(*slot), SlotState::Trial { .. }));
    prop_assert!(trials.count() <= 1);
    for (release, _) in before.all_blocked() {
        let forgotten = after.blocked(&release).is_none();
        prop_assert!(!forgotten || matches!(step, Step::Retry(retried) if release == [retried; 32]));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_sequence_of_events_breaks_a_rule(steps in proptest::collection::vec(any_step(), 1..60)) {
        let mut record = Record::shipped([9; 32], 1, 0);
        for step in steps {
            for next in run(record, step) {
                check(record, step, next)?;
                record = next;
            }
        }
    }

    /// The machine has a good slot to fall back to for as long as nothing is damaged and the firmware starts what is good.
    #[test]
    fn without_damage_something_good_is_left_and_starts(
        steps in proptest::collection::vec(any_step(), 1..60)
    ) {
        let mut record = Record::shipped([9; 32], 1, 0);
        for step in steps.into_iter().filter(|step| !matches!(step, Step::Damage(_) | Step::BackOff)) {
            let unwilling = |slot: Slot, refused: bool| refused && record.state(slot) != SlotState::Good;
            let step = if let Step::Boot { refused: [a, b] } = step {
                Step::Boot { refused: [unwilling(Slot::A, a), unwilling(Slot::B, b)] }
            } else {
                step
            };
            record = run(record, step).last().copied().unwrap_or(record);
            prop_assert!(Slot::ALL.into_iter().any(|slot| record.state(slot) == SlotState::Good));
            prop_assert_ne!(record.choose(&[]).reason, crate::Reason::NothingEligible);
        }
    }

    /// Power cuts alone: armed, then cut off again and again before any verdict.
    #[test]
    fn power_cuts_in_a_trial_block_nothing_before_all_starts_are_used(cuts in 0..=TRIAL_STARTS) {
        let armed = Record::shipped([9; 32], 1, 0).written(Slot::B, [8; 32], 2, 0).unwrap().arm(Slot::B).unwrap();
        let record = (0..cuts).fold(armed, |record, _| record.begin_boot(record.choose(&[])));
        prop_assert_eq!(record.blocked(&[8; 32]), None);
        prop_assert_eq!(record.state(Slot::B), SlotState::Trial { starts: cuts });
        prop_assert!(cuts == 0 || record.commit().is_ok());
    }
}
