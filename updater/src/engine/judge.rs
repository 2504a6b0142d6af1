//! What is refused before anything is touched.

use super::{Job, Machine, Needed, Offer, Refusal};
use coracle_format::slot::{BLOCK_BYTES, Descriptor};
use coracle_format::verity;
use coracle_format::version::Version;
use coracle_slots::{Obstacle, SlotState};

/// Whether this machine may take any update now.
pub fn judge_machine(machine: &Machine) -> Result<(), Refusal> {
    let record = &machine.record;
    if record.booting() != machine.running {
        return Err(Refusal::RecordDisagrees { record: record.booting(), running: machine.running });
    }
    if let Some(slot) = record.on_trial() {
        return Err(Refusal::OnTrial { slot, running: machine.running });
    }
    if record.hold() {
        return Err(Refusal::Held);
    }
    match machine.spare_bytes {
        Some(_) => Ok(()),
        None => Err(Refusal::NoSpare(machine.running.other())),
    }
}

/// Whether this machine may take the update that verified metadata describes.
pub fn judge_offer(machine: &Machine, offer: &Offer) -> Result<(), Refusal> {
    if offer.image != machine.image {
        return Err(Refusal::OtherImage { ours: machine.image.clone(), theirs: offer.image.clone() });
    }
    if offer.arch != machine.arch {
        return Err(Refusal::OtherArch { ours: machine.arch, theirs: offer.arch });
    }
    let floors = machine.record.floors();
    if offer.epoch < floors.epoch {
        return Err(Refusal::LowerEpoch { offered: offer.epoch, floor: floors.epoch });
    }
    let floor = Version::from_u64(floors.version);
    let excepted = offer.replaces.is_some_and(|newest| newest >= floor);
    if offer.version < floor && !excepted {
        return Err(Refusal::Older { offered: offer.version, floor, replaces: offer.replaces });
    }
    Ok(())
}

/// Whether the release with this index may go into the spare slot, and fits.
pub fn judge_content(job: &Job) -> Result<(), Refusal> {
    let (record, release) = (&job.machine.record, &job.content.digests.boot);
    let version = job.offer.version;
    // The bytes of a slot that is not good may not be those of its release any more.
    let running_is_good = record.state(job.machine.running) == SlotState::Good;
    if running_is_good && record.release(job.machine.running) == *release {
        return Err(Refusal::RunsAlready(version));
    }
    if let Some(verdict) = record.blocked(release) {
        return Err(Refusal::Blocked { version, release: *release, verdict });
    }
    let runs = record.release(job.machine.running);
    if let Some(starts) = job.content.starts_from.filter(|starts| *starts != runs) {
        return Err(Refusal::OtherBase { starts, runs });
    }
    let needed = needed(job);
    let slot_bytes = job.machine.spare_bytes.unwrap_or(0);
    if needed.total > slot_bytes {
        return Err(Refusal::TooLarge { needed, slot: job.spare(), slot_bytes });
    }
    match record.clear(job.spare()) {
        Ok(_) => Ok(()),
        Err(refused) if refused.obstacle == Obstacle::OnlyGood => Err(Refusal::OnlyGood(job.spare())),
        Err(refused) => Err(Refusal::Record(refused)),
    }
}

fn needed(job: &Job) -> Needed {
    let (root, boot) = (job.content.root_bytes, job.content.boot_bytes);
    let tree = verity::tree_bytes(root.div_ceil(BLOCK_BYTES));
    let sum = root.checked_add(tree).and_then(|sum| sum.checked_add(boot));
    // Far from the largest number, the layout's own sum cannot overflow either.
    let total = match sum {
        Some(sum) if sum < u64::MAX / 2 => Descriptor::plan(root, tree, boot).2,
        Some(_) | None => u64::MAX,
    };
    Needed { root, tree, boot, total }
}
