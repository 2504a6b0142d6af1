//! The update engine with nothing behind it: every effect succeeds, only the slot record is real.

use super::publisher::{ARCH, IMAGE};
use coracle_slots::Record;
use coracle_trust::Vouched;
use coracle_update::engine::{
    Ask, Change, Content, Digests, Effect, Event, Machine, Offer, Origin, State, step,
};

const ROOT_BYTES: u64 = 48 << 20;
const BOOT_BYTES: u64 = 12 << 20;
const SLOT_BYTES: u64 = 256 << 20;
const FRAMES: u32 = 15;

/// Lets the engine do what is asked with a release. Whether it comes to its end.
pub(super) fn run(record: &mut Record, vouched: &Vouched, root_version: u32, ask: Ask) -> bool {
    let offer = Offer::of(&vouched.release, root_version);
    let digests = Digests { root_hash: [1; 32], is_tree_right: true, boot: vouched.id };
    let content = Content {
        digests,
        root_bytes: ROOT_BYTES,
        boot_bytes: BOOT_BYTES,
        frames: FRAMES,
        starts_from: None,
    };
    let machine = Machine {
        image: IMAGE.to_owned(),
        arch: ARCH,
        record: *record,
        running: record.booting(),
        spare_bytes: Some(SLOT_BYTES),
    };
    let mut next = step(State::Idle, Event::Asked(ask, Box::new(machine)));
    loop {
        let (state, effects) = next;
        let Some(effect) = effects.last() else {
            return matches!(state, State::Done(_));
        };
        next = step(state, play(*effect, record, &offer, content));
    }
}

fn play(effect: Effect, record: &mut Record, offer: &Offer, content: Content) -> Event {
    match effect {
        Effect::Verify => Event::Verified(Box::new(offer.clone())),
        Effect::ReadIndex => Event::IndexRead(content),
        Effect::Clear => change(record, Change::Clear(record.booting().other()), Event::Cleared),
        Effect::Fill(_) | Effect::Forget => Event::Filled(Origin::Source),
        Effect::Complete => Event::Completed(content.digests),
        Effect::Compare | Effect::ReadBack => Event::ReadBack(content.digests),
        Effect::Describe => Event::Described,
        Effect::Change(wanted) => change(record, wanted, Event::Changed),
        Effect::Survey => Event::Surveyed,
        // The look that led here was at this very moment.
        Effect::Recheck => Event::Rechecked(Ok(())),
        Effect::Tell => Event::Told,
    }
}

fn change(record: &mut Record, wanted: Change, done: Event) -> Event {
    match wanted.apply(*record) {
        Ok(next) => {
            *record = next;
            done
        }
        Err(refused) => Event::Forbidden(refused),
    }
}
