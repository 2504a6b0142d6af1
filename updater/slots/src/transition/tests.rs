//! Every transition on every combination of states.

extern crate alloc;
use super::*;
use crate::choice::{Choice, Reason, TRIAL_STARTS};
use crate::record::Held;
use alloc::vec::Vec;

const STATES: [SlotState; 12] = [
    SlotState::Empty,
    SlotState::Written,
    SlotState::Trial { starts: 0 },
    SlotState::Trial { starts: 1 },
    SlotState::Trial { starts: 2 },
    SlotState::Trial { starts: TRIAL_STARTS },
    SlotState::Good,
    SlotState::Failed(Verdict::Panic),
    SlotState::Failed(Verdict::Refused),
    SlotState::Failed(Verdict::NoVerdict),
    SlotState::Failed(Verdict::Gate),
    SlotState::Damaged,
];

fn shipped() -> Record {
    Record::shipped([7; 32], 7, 0)
}

/// Slot B armed with release 8.
fn armed() -> Record {
    shipped().written(Slot::B, [8; 32], 8, 0).unwrap().arm(Slot::B).unwrap()
}

fn boot(record: Record) -> Record {
    record.begin_boot(record.choose(&[]))
}

/// Release 8 committed in slot B, release 7 still good in slot A.
fn updated() -> Record {
    boot(armed()).commit().unwrap()
}

fn records() -> Vec<Record> {
    let mut out = Vec::new();
    for a in STATES {
        for b in STATES {
            for last_good in Slot::ALL {
                for booting in Slot::ALL {
                    for (hold, dry_boots) in [(false, 0), (false, 1), (true, 0), (true, 6)] {
                        let mut record = shipped().with(Slot::A, a).with(Slot::B, b);
                        record = record.holding(Slot::B, [8; 32], 8, 0);
                        (record.last_good, record.booting) = (last_good, booting);
                        (record.hold, record.dry_boots) = (hold, dry_boots);
                        out.push(record);
                    }
                }
            }
        }
    }
    out
}

fn is_trial(state: SlotState) -> bool {
    matches!(state, SlotState::Trial { .. })
}

#[test]
fn a_slot_is_only_booted_when_good_or_on_trial_unless_nothing_is() {
    for record in records() {
        let choice = record.choose(&[]);
        let state = record.state(choice.slot);
        let turns = record.dry_boots > 0 && record.booting() == record.last_good();
        match choice.reason {
            Reason::Trial => {
                assert!(matches!(state, SlotState::Trial { starts } if starts < TRIAL_STARTS));
                assert!(!record.hold());
            }
            Reason::LastGood | Reason::OtherGood => assert_eq!(state, SlotState::Good),
            Reason::Held => assert!(record.hold() && state == SlotState::Good),
            Reason::NothingEligible => {
                assert!(Slot::ALL.into_iter().all(|slot| record.state(slot) != SlotState::Good));
                let untried = turns && record.state(record.last_good().other()) == SlotState::Written;
                assert_eq!(choice.slot == record.last_good(), !untried);
            }
        }
    }
}

#[test]
fn a_refused_slot_gives_way_to_any_other_good_one() {
    for record in records() {
        for slot in Slot::ALL {
            let choice = record.choose(&[slot]);
            if record.state(slot.other()) == SlotState::Good {
                assert_eq!(choice.slot, slot.other());
            }
            if choice.slot == slot.other() {
                assert!(record.state(choice.slot) != SlotState::Empty || record.last_good() == choice.slot);
            }
        }
    }
}

#[test]
fn a_trial_that_is_passed_over_without_a_verdict_keeps_its_starts() {
    for record in records() {
        for slot in Slot::ALL {
            let next = record.begin_boot(record.choose(&[slot]));
            if let SlotState::Trial { starts } = record.state(slot)
                && starts < TRIAL_STARTS
                && next.booting() != slot
            {
                assert_eq!(next.state(slot), record.state(slot));
            }
        }
    }
}

#[test]
fn a_damaged_slot_is_skipped_even_when_it_committed_last_and_even_under_a_hold() {
    let record = updated().damage(Slot::B);
    assert_eq!(record.choose(&[]), Choice { slot: Slot::A, reason: Reason::OtherGood });
    let held = updated().roll_back().unwrap().damage(Slot::A);
    assert_eq!(held.choose(&[]), Choice { slot: Slot::B, reason: Reason::OtherGood });
}

#[test]
fn ten_boots_of_a_good_slot_change_nothing() {
    for record in [shipped(), updated(), boot(updated().roll_back().unwrap())] {
        let mut after = record;
        for _ in 0..10 {
            after = boot(after).missed();
        }
        assert_eq!(after.encode(), record.encode());
    }
}

#[test]
fn a_trial_without_a_verdict_is_started_three_times_and_then_fails() {
    let mut record = armed();
    for start in 1..=TRIAL_STARTS {
        assert_eq!(record.choose(&[]), Choice { slot: Slot::B, reason: Reason::Trial });
        record = boot(record);
        assert_eq!(record.state(Slot::B), SlotState::Trial { starts: start });
        assert_eq!(record.blocked(&[8; 32]), None);
    }
    assert_eq!(record.choose(&[]), Choice { slot: Slot::A, reason: Reason::LastGood });
    record = boot(record);
    assert_eq!(record.state(Slot::B), SlotState::Failed(Verdict::NoVerdict));
    assert_eq!((record.booting(), record.blocked(&[8; 32])), (Slot::A, Some(Verdict::NoVerdict)));
}

#[test]
fn a_failure_without_a_verdict_gets_its_reason_once() {
    let failed = (0..=TRIAL_STARTS).fold(armed(), |record, _| boot(record));
    let explained = failed.explain(Slot::B, Verdict::Panic);
    assert_eq!(explained.state(Slot::B), SlotState::Failed(Verdict::Panic));
    assert_eq!(explained.blocked(&[8; 32]), Some(Verdict::Panic));
    assert_eq!(explained.explain(Slot::B, Verdict::Deadline), explained);
    assert_eq!(shipped().explain(Slot::A, Verdict::Panic), shipped());
}

#[test]
fn clearing_needs_a_spare_slot_no_trial_and_another_good_one_or_one_that_alone_starts() {
    for record in records() {
        for slot in Slot::ALL {
            let running = record.booting();
            let only_good = record.state(slot) == SlotState::Good
                && record.state(slot.other()) != SlotState::Good
                && record.dry_boots == 0;
            let expected = match record.on_trial() {
                Some(trial) => Some(Obstacle::Trial(trial)),
                None if slot == running => Some(Obstacle::Running),
                None => only_good.then_some(Obstacle::OnlyGood),
            };
            assert_eq!(record.forbids_overwriting(slot), expected);
            match record.clear(slot) {
                Ok(next) => {
                    assert_eq!(expected, None);
                    assert_eq!((next.state(slot), next.release(slot)), (SlotState::Empty, [0; 32]));
                    assert_eq!(next.state(running), record.state(running));
                    assert_eq!(next.last_good(), running);
                }
                Err(refused) => assert_eq!(Some(refused.obstacle), expected),
            }
        }
    }
}

#[test]
fn only_an_empty_spare_is_filled_and_only_a_written_one_armed() {
    for record in records() {
        for slot in Slot::ALL {
            let spare = slot != record.booting() && record.on_trial().is_none();
            let filled = record.written(slot, [9; 32], 9, 0);
            assert_eq!(filled.is_ok(), spare && record.state(slot) == SlotState::Empty);
            let armed = record.arm(slot);
            let may = spare && record.state(slot) == SlotState::Written && !record.hold();
            assert_eq!(armed.is_ok(), may);
            if let Ok(armed) = armed {
                assert_eq!(armed.last_good(), record.booting());
            }
        }
    }
}

#[test]
fn a_commit_needs_a_running_slot_on_trial_or_good() {
    for record in records() {
        let running = record.booting();
        let state = record.state(running);
        match record.commit() {
            Ok(next) => {
                assert!(is_trial(state) || state == SlotState::Good);
                assert_eq!(next.state(running), SlotState::Good);
                assert!(next.last_good() == running || record.hold());
            }
            Err(refused) => assert!(refused.state == state && !is_trial(state)),
        }
    }
}

#[test]
fn only_a_trial_fails_and_its_release_is_blocked() {
    for record in records() {
        for slot in Slot::ALL {
            for verdict in Verdict::ALL {
                assert_eq!(record.fail(slot, verdict).is_ok(), is_trial(record.state(slot)));
                if let Ok(next) = record.fail(slot, verdict) {
                    assert_eq!(next.state(slot), SlotState::Failed(verdict));
                    assert_eq!(next.blocked(&record.release(slot)), Some(verdict));
                }
            }
            let refused = record.refuse(slot);
            assert_eq!(refused != record, is_trial(record.state(slot)));
            assert_eq!(record.damage(slot).state(slot), SlotState::Damaged);
        }
    }
}

#[test]
fn going_back_needs_another_good_slot_and_boots_it_until_the_hold_is_released() {
    for record in records() {
        let other = record.booting().other();
        let result = record.roll_back();
        assert_eq!(result.is_ok(), record.state(other) == SlotState::Good);
        if let Ok(next) = result {
            assert_eq!(next.choose(&[]), Choice { slot: other, reason: Reason::Held });
            assert_eq!(next.on_trial(), None);
            let next = boot(next);
            assert_eq!(next.commit(), Ok(next));
            assert!(next.hold() && !next.release_hold().hold());
        }
    }
}

#[test]
fn after_going_back_nothing_is_armed_before_the_hold_is_released() {
    let held = boot(updated().roll_back().unwrap());
    let written = held.clear(Slot::B).unwrap().written(Slot::B, [9; 32], 9, 0).unwrap();
    assert_eq!(written.arm(Slot::B).unwrap_err().obstacle, Obstacle::Hold);
    written.release_hold().arm(Slot::B).unwrap();
}

#[test]
fn leaving_a_trial_by_hand_fails_the_release() {
    let left = boot(armed()).roll_back().unwrap();
    assert_eq!(left.state(Slot::B), SlotState::Failed(Verdict::ByHand));
    assert_eq!(left.blocked(&[8; 32]), Some(Verdict::ByHand));
}

#[test]
fn a_failed_release_is_armed_again_only_after_a_retry() {
    let failed = boot(boot(armed()).fail(Slot::B, Verdict::Unhealthy).unwrap());
    let again = failed.clear(Slot::B).unwrap().written(Slot::B, [8; 32], 8, 0).unwrap();
    assert_eq!(again.arm(Slot::B).unwrap_err().obstacle, Obstacle::Blocked(Verdict::Unhealthy));
    again.retry(&[8; 32]).arm(Slot::B).unwrap();
    // Without writing it again, too: the slot still holds it.
    assert_eq!(failed.retry(&[8; 32]).state(Slot::B), SlotState::Written);
    failed.retry(&[8; 32]).arm(Slot::B).unwrap();
    assert_eq!(failed.retry(&[9; 32]), failed);
}

#[test]
fn an_update_goes_from_cleared_over_written_and_trial_to_good() {
    let record = updated();
    assert_eq!((record.state(Slot::A), record.state(Slot::B)), (SlotState::Good, SlotState::Good));
    assert_eq!((record.last_good(), record.release(Slot::B), record.version(Slot::B)), (Slot::B, [8; 32], 8));
    assert_eq!(record.choose(&[]), Choice { slot: Slot::B, reason: Reason::LastGood });
}

#[test]
fn two_misses_of_an_armed_release_say_that_the_selector_is_broken() {
    let once = armed().missed();
    assert!(!once.selector_is_broken());
    let twice = once.missed();
    assert!(twice.selector_is_broken());
    assert_eq!(twice.missed(), twice);
    assert_eq!(twice.state(Slot::B), SlotState::Trial { starts: 0 });
    assert!(!boot(twice).selector_is_broken());
    assert_eq!(boot(armed()).missed(), boot(armed()));
}

#[test]
fn pauses_grow_while_nothing_is_eligible_and_end_with_the_first_boot_that_is() {
    let mut record = shipped().damage(Slot::A);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        record = boot(record);
        pauses.push(record.pause_seconds());
    }
    assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 320, 320, 320]);
    let good = record.with(Slot::B, SlotState::Good);
    assert_eq!(boot(good).pause_seconds(), 10);
    assert_eq!(boot(record).back_off(&record), boot(record));
    let refused = boot(good).back_off(&good);
    assert_eq!(refused.pause_seconds(), 320);
    assert_eq!(boot(shipped()).back_off(&shipped()).pause_seconds(), 10);
}

#[test]
fn a_rebuilt_record_trusts_what_runs_and_else_the_older_release() {
    let held = |number: u8| Some(Held { release: [number; 32], version: u64::from(number) });
    let choice = |slots, running| Record::rebuilt(slots, running).choose(&[]);
    let good = |slot| Choice { slot, reason: Reason::LastGood };
    assert_eq!(choice([held(1), None], None), good(Slot::A));
    assert_eq!(choice([None, held(1)], None), good(Slot::B));
    assert_eq!(choice([held(1), held(1)], None), good(Slot::A));
    assert_eq!(choice([None, None], None), Choice { slot: Slot::A, reason: Reason::NothingEligible });
    for running in Slot::ALL {
        let record = Record::rebuilt([held(1), held(2)], Some(running));
        let other = running.other();
        assert_eq!((record.choose(&[]), record.booting()), (good(running), running));
        // Nobody knows whether the other one ever ran: it is tried when this one cannot be, and else not gone back to.
        assert_eq!(record.state(other), SlotState::Written);
        assert_eq!(record.choose(&[running]), Choice { slot: other, reason: Reason::NothingEligible });
        assert_eq!(record.roll_back().unwrap_err().obstacle, Obstacle::State);
    }
    for (slots, older) in [([held(1), held(2)], Slot::A), ([held(2), held(1)], Slot::B)] {
        let record = Record::rebuilt(slots, None);
        assert_eq!((record.last_good(), record.state(older)), (older, SlotState::Good));
        assert_eq!(record.choose(&[]), Choice { slot: older.other(), reason: Reason::Trial });
        assert_eq!(record.floors().version, 1);
    }
}

#[test]
fn transitions_say_what_forbids_them() {
    let say = |result: Next| alloc::format!("{}", result.unwrap_err());
    assert_eq!(say(shipped().arm(Slot::B)), "cannot arm slot B: it is empty");
    assert_eq!(say(shipped().clear(Slot::A)), "cannot clear slot A: the machine runs from it");
    assert_eq!(say(armed().clear(Slot::B)), "cannot clear slot B: the release in slot B is on trial");
    assert_eq!(say(shipped().roll_back()), "cannot go back to slot B: it is empty");
}

/// Release 8 of epoch 5 on trial in slot B, release 7 of epoch 0 good in slot A.
fn trial_of_a_higher_epoch() -> Record {
    boot(shipped().written(Slot::B, [8; 32], 8, 5).unwrap().arm(Slot::B).unwrap())
}

#[test]
fn the_epoch_floor_rises_with_the_commit_and_retires_a_lower_release() {
    let trial = trial_of_a_higher_epoch();
    assert_eq!((trial.floors().epoch, trial.state(Slot::A)), (0, SlotState::Good));
    let committed = trial.commit().unwrap();
    assert_eq!((committed.floors().epoch, committed.epoch(Slot::B)), (5, 5));
    assert_eq!((committed.state(Slot::A), committed.release(Slot::A)), (SlotState::Empty, [0; 32]));
    assert_eq!(committed.roll_back().unwrap_err().obstacle, Obstacle::State);
    assert_eq!(boot(committed.damage(Slot::B)).booting(), Slot::B);
    assert_eq!(committed.commit(), Ok(committed));
    let lower = committed.written(Slot::A, [9; 32], 9, 4).unwrap();
    assert_eq!(lower.arm(Slot::A).unwrap_err().obstacle, Obstacle::Epoch);
}

#[test]
fn a_failed_release_of_a_higher_epoch_raises_nothing() {
    let failed = boot(trial_of_a_higher_epoch().fail(Slot::B, Verdict::Panic).unwrap());
    assert_eq!(
        (failed.floors().epoch, failed.booting(), failed.state(Slot::A)),
        (0, Slot::A, SlotState::Good)
    );
}

#[test]
fn a_commit_within_an_epoch_keeps_the_other_slot() {
    for record in records() {
        if let Ok(next) = record.commit() {
            let other = record.booting().other();
            assert_eq!(next.state(other), record.state(other));
        }
    }
}

#[test]
fn a_running_release_tells_its_epoch_and_a_good_one_makes_it_the_floor() {
    let rebuilt = Record::rebuilt([Some(Held { release: [1; 32], version: 1 }), None], None);
    let told = rebuilt.running_epoch(Slot::A, 3);
    assert_eq!((told.epoch(Slot::A), told.floors().epoch), (3, 3));
    assert_eq!(told.running_epoch(Slot::A, 3), told);
    let trial = boot(armed()).running_epoch(Slot::B, 3);
    assert_eq!((trial.epoch(Slot::B), trial.floors().epoch), (3, 0));
    assert_eq!(trial.commit().unwrap().floors().epoch, 3);
}

#[test]
fn a_newer_root_resets_the_floors_of_the_channel_once_and_no_other() {
    let floors =
        Floors { version: 7, epoch: 1, root_version: 2, released: 5, timestamp_version: 40, issued: 50 };
    let record = shipped().raise_floors(floors);
    assert_eq!(record.floors(), floors);
    assert_eq!(record.recover_timestamp(2), record);
    let recovered = record.recover_timestamp(3);
    assert_eq!(recovered.floors(), Floors { root_version: 3, timestamp_version: 0, issued: 0, ..floors });
    let later = recovered.raise_floors(Floors { timestamp_version: 1, ..Floors::default() });
    assert_eq!(later.recover_timestamp(3).floors().timestamp_version, 1);
}

#[test]
fn an_armed_release_is_dropped_by_hand_without_a_verdict_and_armed_again_after_the_hold() {
    for record in records() {
        let other = record.booting().other();
        assert_eq!(record.disarm().is_ok(), is_trial(record.state(other)));
    }
    let dropped = armed().disarm().unwrap();
    assert_eq!((dropped.state(Slot::B), dropped.blocked(&[8; 32])), (SlotState::Written, None));
    assert_eq!(dropped.choose(&[]), Choice { slot: Slot::A, reason: Reason::Held });
    assert_eq!(dropped.arm(Slot::B).unwrap_err().obstacle, Obstacle::Hold);
    dropped.release_hold().arm(Slot::B).unwrap();
}

#[test]
fn a_release_that_was_never_tried_takes_turns_with_a_damaged_one() {
    let written = shipped().written(Slot::B, [8; 32], 8, 0).unwrap().damage(Slot::A);
    let mut record = written;
    let mut booted = Vec::new();
    for _ in 0..10 {
        record = boot(record);
        booted.push(record.booting());
    }
    assert_eq!(booted, [Slot::A, Slot::B].repeat(5));
}

#[test]
fn a_machine_that_runs_from_a_damaged_slot_takes_an_update_when_the_good_one_does_not_start() {
    let damaged = updated().damage(Slot::B);
    assert_eq!(damaged.clear(Slot::A).unwrap_err().obstacle, Obstacle::OnlyGood);
    // The firmware starts the good slot: then the other one is spare.
    boot(damaged).clear(Slot::B).unwrap();
    // It refuses it.
    let fallen_through = damaged.begin_boot(damaged.choose(&[Slot::A]));
    assert_eq!(fallen_through.booting(), Slot::B);
    let armed = fallen_through.clear(Slot::A).unwrap().written(Slot::A, [9; 32], 9, 0).unwrap();
    let mended = boot(armed.arm(Slot::A).unwrap()).commit().unwrap();
    assert_eq!((mended.booting(), mended.state(Slot::A)), (Slot::A, SlotState::Good));
}
