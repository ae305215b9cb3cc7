//! How long the rest of a block will take, by the time that its beginning took.

use lockweave_runtime::OpenBlock;
use std::time::{Duration, Instant};

/// The beginning of a block is this part of it, by gas limits.
const BEGINNING: u64 = 8;

/// The progress of a block.
pub(crate) struct TimeEstimate {
    since: Instant,
    /// Gas limits of all transactions.
    total: u64,
    /// Gas limits of those that are done.
    done: u64,
}

impl TimeEstimate {
    pub(crate) fn new<T>(block: &OpenBlock<T>, cost: fn(&T) -> u64) -> Self {
        let transactions = block.transactions().iter();
        let costs = transactions.map(|sanitized| cost(&sanitized.transaction));
        Self {
            since: Instant::now(),
            total: costs.fold(0, u64::saturating_add),
            done: 0,
        }
    }

    pub(crate) const fn add(&mut self, cost: u64) {
        self.done = self.done.saturating_add(cost);
    }

    /// Whether enough is done for an estimate.
    pub(crate) const fn is_ready(&self) -> bool {
        self.done >= self.total / BEGINNING
    }

    /// How long the rest takes at the speed so far.
    pub(crate) fn time_left(&self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = (self.total - self.done) as f64 / self.done.max(1) as f64;
        self.since.elapsed().mul_f64(left)
    }
}
