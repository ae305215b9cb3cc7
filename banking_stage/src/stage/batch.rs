//! A few tasks that one worker runs in a row.

#![cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]

use lockweave_runtime::TaskId;
use std::time::Duration;

pub(crate) const BATCH_TASKS_MAX: usize = 32;
/// A batch that costs this much, in gas, is full.
pub(crate) const BATCH_COST_MAX: u64 = 300_000;
/// A batch cheaper than this, in gas, is not worth waking a thread for, so it is not cut to a fair
/// share while every other worker sleeps.
pub(crate) const BATCH_COST_SHARED: u64 = 50_000;
/// After a task that costs this much, in gas, a worker reports at once: tasks that wait for it have
/// waited long enough.
pub const REPORT_COST: u64 = 100_000;

/// A run that costs this much, in gas, is shared from its beginning.
pub(crate) const RUN_COST_SHARED: u64 = 8_000_000;
/// Any other run is shared when it has taken this long: its gas says little about its time, and many runs are
/// over before a woken helper would have begun.
pub(crate) const RUN_TIME_SHARED: Duration = Duration::from_micros(100);
/// Free tasks of a chunk run as soon as they are prepared, up to this much gas per task and per chunk: other
/// workers may wait for the tasks between them.
pub const FREE_COST_MAX: u64 = 100_000;
/// See [`FREE_COST_MAX`].
pub const FREE_CHUNK_COST_MAX: u64 = 1_500_000;

/// Tasks whose locks are granted, in the order in which they run. An inline array, so that handing a
/// batch over allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    tasks: [TaskId; BATCH_TASKS_MAX],
    next: usize,
    end: usize,
}

impl Batch {
    pub(crate) const fn len(&self) -> usize {
        self.end - self.next
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.next == self.end
    }

    /// Adds a task at the end. The batch is a fresh one, or was emptied, and has room.
    pub(crate) fn push(&mut self, task: TaskId) {
        self.tasks[self.end] = task;
        self.end += 1;
    }

    /// Takes the next task.
    pub fn pop(&mut self) -> Option<TaskId> {
        if self.is_empty() {
            // Room for a full batch again.
            (self.next, self.end) = (0, 0);
            return None;
        }
        self.next += 1;
        Some(self.tasks[self.next - 1])
    }
}
