//! A delta while it is applied: how far its operations are, and what became of them.
//!
//! ```text
//! old      bytes of both slots, as an operation needs them
//! make     one operation: checks first, then bytes
//! pair     two of them at once
//! output   what it makes, compared with the signed digests frame by frame
//! packing  contents compressed again by another program
//! memory   whether there is enough for that
//! ```

mod make;
mod memory;
mod old;
mod output;
mod packing;
mod pair;

pub(super) use make::{Failure, Hands, Job, Made, Slots, Stand};

use coracle_format::bundle::Index;
use coracle_format::delta::{Header, Operation, Table};

/// After so many operations that have failed, the bundle is taken instead of the rest.
pub(super) const FAILURES_MAX: u32 = 3;

/// A delta from the release that runs.
#[derive(Debug)]
pub(super) struct Delta {
    table: Table,
    /// Where each operation's bytes are in the file.
    places: Vec<u64>,
    /// The operation that is under way.
    number: usize,
    stand: Stand,
    /// What came of the operation with this number, which has run before its turn.
    ahead: Option<(usize, Result<Made, Failure>)>,
    failures: u32,
}

impl Delta {
    /// The delta with this header and table.
    pub(super) fn new(header: &Header, table: Table) -> Self {
        let streams = header.streams_offset();
        let places = table.placed().map(|(at, _)| streams.saturating_add(at)).collect();
        Self { table, places, number: 0, stand: Stand::New, ahead: None, failures: 0 }
    }

    /// Begins with the first operation again.
    pub(super) fn restart(&mut self) {
        (self.number, self.stand, self.ahead) = (0, Stand::New, None);
    }

    /// Turns to the operation that makes a frame.
    pub(super) fn turn_to(&mut self, frame: u32) {
        let behind = self.table.operations().partition_point(|operation| operation.first <= frame);
        let number = behind.saturating_sub(1);
        if number != self.number {
            (self.number, self.stand) = (number, Stand::New);
        }
    }

    /// The operation that is under way, its number, and where its bytes are in the file.
    pub(super) fn operation(&self) -> Option<(usize, &Operation, u64)> {
        let operation = self.table.operations().get(self.number)?;
        Some((self.number, operation, *self.places.get(self.number)?))
    }

    /// The operation behind that one and where its bytes are, if both may run at once.
    pub(super) fn beside(&self, index: &Index) -> Option<(&Operation, u64)> {
        let (own, next) = (self.table.operations().get(self.number)?, self.number + 1);
        let beside = self.table.operations().get(next)?;
        let are_small = pair::is_small(own) && pair::is_small(beside);
        let may = are_small && pair::is_independent(own, beside, index);
        may.then_some((beside, *self.places.get(next)?))
    }

    /// That one has run.
    pub(super) fn keep_ahead(&mut self, result: Result<Made, Failure>) {
        self.ahead = Some((self.number + 1, result));
    }

    /// What came of the operation that is under way, if it has run before its turn.
    pub(super) fn take_ahead(&mut self) -> Option<Result<Made, Failure>> {
        let (number, result) = self.ahead.take()?;
        (number == self.number).then_some(result)
    }

    /// How far the operation is that is under way.
    pub(super) fn stand(&self) -> &Stand {
        &self.stand
    }

    /// The operation is so far now.
    pub(super) fn set_stand(&mut self, stand: Stand) {
        self.stand = stand;
    }

    /// The operation has failed because of what it says or starts from.
    pub(super) fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// How often that has happened.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}
