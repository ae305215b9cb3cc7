//! A few tasks that one worker runs in a row.

use lockweave_runtime::{DenseId, TaskId};
use std::time::Duration;

/// Tasks in a batch at most.
pub(crate) const BATCH_TASKS_MAX: usize = 32;
/// A batch that costs this much, in gas, is full.
pub(crate) const BATCH_COST_MAX: u64 = 300_000;
/// A batch cheaper than this, in gas, is not worth waking somebody for, so it is not cut to a fair
/// share while every other worker sleeps.
pub(crate) const BATCH_COST_SHARED: u64 = 50_000;
/// After a task that costs this much, in gas, a worker reports at once: whoever waits for it has
/// waited long enough.
pub(crate) const REPORT_COST: u64 = 100_000;

/// A run that costs this much, in gas, is shared from its beginning.
pub(crate) const RUN_COST_SHARED: u64 = 8_000_000;
/// Any other when it has taken this long: what it costs in gas says little of the time it takes, and many are
/// over before a helper that was woken would have begun.
pub(crate) const RUN_TIME_SHARED: Duration = Duration::from_micros(100);
/// Nobody is woken to look beforehand at a block whose gas limits, but for the highest, come to less than this.
pub(crate) const RUN_COST_SMALL: u64 = 4_000_000;
/// Of one that comes to less than this it is said by the time that its beginning takes: gas is cheaper by far in some
/// blocks than in others.
pub(crate) const RUN_COST_DOUBTFUL: u64 = 6_000_000;
/// Somebody is woken if there is so much left to do.
pub(crate) const RUN_TIME_LEFT: Duration = Duration::from_micros(260);
/// Transactions with this gas limit and more are looked at aside: they may take longer than all others
/// together.
pub(crate) const ASIDE_COST: u64 = 1_000_000;
/// Free tasks of a chunk are run as soon as they are prepared, up to this much, in gas, a task and a
/// chunk: somebody may be waiting for the tasks between them.
pub(crate) const FREE_COST_MAX: u64 = 100_000;
pub(crate) const FREE_CHUNK_COST_MAX: u64 = 1_500_000;

/// Tasks whose locks are granted, in the order they are to be run. Held in place, so that handing
/// one over allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    tasks: [TaskId; BATCH_TASKS_MAX],
    next: usize,
    end: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            tasks: [TaskId::from_index(0); BATCH_TASKS_MAX],
            next: 0,
            end: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.end - self.next
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Adds a task at the end. The batch is an empty one that was made or cleared, with room.
    pub(crate) fn push(&mut self, task: TaskId) {
        self.tasks[self.end] = task;
        self.end += 1;
    }

    /// Takes the next task.
    pub(crate) fn pop(&mut self) -> Option<TaskId> {
        if self.is_empty() {
            // Room for a full batch again.
            (self.next, self.end) = (0, 0);
            return None;
        }
        self.next += 1;
        Some(self.tasks[self.next - 1])
    }
}
