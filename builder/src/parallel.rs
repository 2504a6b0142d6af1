//! The same work on many things, several at a time, with the results in order.

use crate::error::{Error, Kind};
use std::{
    collections::BTreeMap,
    num::NonZero,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// As many threads as there are processors, but no more than `most`.
pub fn threads(most: usize) -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(most)
}

/// Gives what `work` makes of each job to `take`, in the order of the jobs, whatever the number of threads. The first
/// error ends it; work that has begun is finished before it is returned.
pub fn in_order<J: Sync, R: Send, E: From<Error> + Send>(
    threads: usize,
    jobs: &[J],
    work: impl Fn(&J) -> Result<R, E> + Sync,
    take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::sync_channel(threads.max(1));
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(number) else { return };
                    let result = work(job);
                    let failed = result.is_err();
                    // Nobody listens any more when another job has failed.
                    if sender.send((number, result)).is_err() || failed {
                        return;
                    }
                }
            });
        }
        drop(sender);
        collect(receiver, jobs.len(), take)
    })
}

fn collect<R, E: From<Error>>(
    receiver: mpsc::Receiver<(usize, Result<R, E>)>,
    count: usize,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let (mut early, mut taken) = (BTreeMap::new(), 0);
    for (number, result) in receiver {
        early.insert(number, result?);
        while let Some(result) = early.remove(&taken) {
            take(result)?;
            taken += 1;
        }
    }
    if taken == count {
        return Ok(());
    }
    Err(Error::new(Kind::Internal, "a thread has died at its work").into())
}

/// Something of which there is only so much, for several threads.
#[derive(Debug)]
pub struct Supply {
    whole: u64,
    left: Mutex<u64>,
    given_back: Condvar,
}

/// A share of a [`Supply`], which it gets back when this is gone.
#[derive(Debug)]
pub struct Share<'a> {
    supply: &'a Supply,
    amount: u64,
}

impl Supply {
    /// So much of it.
    pub fn of(whole: u64) -> Self {
        Self { whole, left: Mutex::new(whole), given_back: Condvar::new() }
    }

    /// Waits until so much of it is left, and takes that. Who wants more than there is has all of it alone. A thread that
    /// has a share must not take another one.
    pub fn take(&self, amount: u64) -> Share<'_> {
        let amount = amount.min(self.whole);
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let is_short = |left: &mut u64| *left < amount;
        let left = self.given_back.wait_while(left, is_short);
        *left.unwrap_or_else(PoisonError::into_inner) -= amount;
        Share { supply: self, amount }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.supply.left.lock().unwrap_or_else(PoisonError::into_inner) += self.amount;
        self.supply.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let jobs: Vec<u32> = (0..200).collect();
        for threads in [1, 3, 8] {
            let mut taken = Vec::new();
            let work = |job: &u32| {
                // The later ones are done first.
                (0..(200 - job) * 50).for_each(|_| std::hint::spin_loop());
                Ok::<_, Error>(*job)
            };
            in_order(threads, &jobs, work, |result| {
                taken.push(result);
                Ok(())
            })
            .unwrap();
            assert_eq!(taken, jobs, "{threads} threads");
        }
    }

    #[test]
    fn no_more_is_taken_than_there_is_and_whoever_wants_all_of_it_gets_it() {
        let (supply, taken) = (Supply::of(10), AtomicUsize::new(0));
        let jobs: Vec<usize> = (0..200).map(|number| 1 + number % 12).collect();
        let work = |job: &usize| {
            let share = supply.take(u64::try_from(*job).unwrap());
            let now = taken.fetch_add(*job.min(&10), Ordering::SeqCst) + job.min(&10);
            std::thread::yield_now();
            taken.fetch_sub(*job.min(&10), Ordering::SeqCst);
            drop(share);
            Ok::<_, Error>(now)
        };
        let take = |now| {
            assert!(now <= 10, "{now}");
            Ok(())
        };
        in_order(4, &jobs, work, take).unwrap();
        assert_eq!(*supply.left.lock().unwrap(), 10);
    }

    #[test]
    fn an_error_in_work_or_in_taking_ends_it() {
        let jobs: Vec<u32> = (0..1000).collect();
        let bad = || Error::new(Kind::Internal, "bad");
        let work = |job: &u32| if *job == 7 { Err(bad()) } else { Ok(*job) };
        assert_eq!(in_order(4, &jobs, work, |_| Ok(())).unwrap_err().to_string(), "bad");
        let mut taken = 0;
        let take = |_| {
            taken += 1;
            if taken == 5 { Err(bad()) } else { Ok(()) }
        };
        assert_eq!(in_order(4, &jobs, |job| Ok(*job), take).unwrap_err().to_string(), "bad");
        assert_eq!(taken, 5);
    }
}
