//! The cuts of one recording, several machines at a time.

use super::{Campaign, progress::Progress, recording::Recording, report::Part, trial::Left};
use crate::powercut::{Cut, Image, Plan, Replay, plan};
use anyhow::{Context as _, Result};
use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

/// Makes and judges every cut that was asked for.
pub(super) fn carry_out(campaign: &Campaign, recording: &Recording, progress: &Progress) -> Result<Part> {
    let begin = Image::open(&recording.begin())?;
    let work = recording.dir.join("work.raw");
    let options = &campaign.options;
    let Plan { cuts, merged, epochs } = plan(&recording.log, || begin.copy(&work), options.mode())?;
    let all = cuts.len();
    let cuts = chosen(cuts, &options.only, options.sample);
    progress.part(recording.name, cuts.len(), &epochs);
    let replay = Replay::new(&recording.log, begin.copy(&work)?);
    let mut outcomes = Crew { campaign, recording, progress }.judge(&cuts, replay)?;
    fs::remove_file(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    outcomes.sort_by_key(|outcome| outcome.number);
    Ok(Part { name: recording.name, epochs, planned: all, merged, outcomes })
}

/// The cuts of these numbers, or so many of them, evenly spread.
fn chosen(cuts: Vec<Cut>, only: &[u64], sample: Option<usize>) -> Vec<Cut> {
    let count = cuts.len();
    let wanted = sample.unwrap_or(count).min(count);
    // The first and the last are among them, unless one is all.
    let taken: Vec<_> = (0..wanted).map(|n| n * (count - 1) / (wanted - 1).max(1)).collect();
    let in_sample = |index: &usize| taken.contains(index);
    let numbered = |cut: &Cut| only.is_empty() || only.contains(&cut.number);
    cuts.into_iter()
        .enumerate()
        .filter(|(index, cut)| in_sample(index) && numbered(cut))
        .map(|(_, cut)| cut)
        .collect()
}

struct Crew<'c> {
    campaign: &'c Campaign,
    recording: &'c Recording,
    progress: &'c Progress,
}

impl Crew<'_> {
    /// Makes the disks in the order of the recording and hands each to the next machine that is free.
    fn judge(&self, cuts: &[Cut], mut replay: Replay<'_, Image>) -> Result<Vec<super::Outcome>> {
        let (send, jobs) = mpsc::sync_channel::<(&Cut, PathBuf)>(0);
        let jobs = Mutex::new(jobs);
        let outcomes = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let machine = || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((cut, disk)) = job else { break };
                    let outcome =
                        Left { campaign: self.campaign, recording: self.recording, cut, disk }.judge();
                    self.progress.outcome(self.recording.name, &outcome);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                }
            };
            for _ in 0..self.campaign.options.jobs {
                scope.spawn(machine);
            }
            for cut in cuts {
                let disk = self.recording.dir.join(format!("cut-{}.raw", cut.number));
                replay.image(cut, &disk).with_context(|| format!("cannot make cut {}", cut.number))?;
                send.send((cut, disk)).ok().context("no machine is left to boot the cuts")?;
            }
            drop(send);
            anyhow::Ok(())
        })?;
        Ok(outcomes.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}
