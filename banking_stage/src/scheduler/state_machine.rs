//! A state machine over the lock table: tasks in block order through a bounded window.
//!
//! A task goes through four states: *fed* (in its queues, waiting), *ready* (all locks granted),
//! *taken* (a worker runs it) and *completed* (released). At most a window of tasks is between fed
//! and completed, so the lock table stays small however long the block is. A task that cannot be
//! completed is *left behind*: it keeps its locks, and tasks that wait for them wait to the end of
//! the run.

use super::ready::ReadySet;
use crate::lock_table::{Access, LockTable};
use lockweave_runtime::{DenseId, TaskId};
use std::{num::NonZeroUsize, ops::Range};

/// Default maximum of tasks granted or waiting.
pub const WINDOW_DEFAULT: NonZeroUsize = NonZeroUsize::new(2_048).expect("not zero");

/// The result of feeding a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a task that was not fed has to be fed again"]
pub enum Fed {
    /// All its locks are granted; it is ready.
    Granted,
    /// It waits for tasks in front of it.
    Waiting,
    /// Nothing happened: the window is full. Feed it again after a completion.
    WindowFull,
}

/// What a scheduler has counted since [`Scheduler::begin`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Tasks put into their queues.
    pub fed: usize,
    /// Tasks released.
    pub completed: usize,
    /// Tasks that had to wait for a lock.
    pub conflicts: usize,
    /// How often a task could not be fed because the window was full.
    pub window_full: usize,
}

/// Feeds tasks to the lock table in block order and hands out those that may run.
///
/// ```
/// use lockweave_banking_stage::{Access, Fed, KeyAccess, Scheduler};
/// use lockweave_runtime::{AccessMode, DenseId, KeyId, TaskId};
///
/// let write = [KeyAccess { key: KeyId::from_index(0), mode: AccessMode::Write }];
/// let mut scheduler = Scheduler::default();
/// scheduler.begin(2);
/// while let Some(task) = scheduler.next_to_feed() {
///     let fed = scheduler.feed(task, Access::Keys(&write));
///     assert_ne!(fed, Fed::WindowFull);
/// }
/// let first = scheduler.next_ready().expect("the first task is never blocked");
/// assert_eq!(scheduler.next_ready(), None);
///
/// let mut freed = Vec::new();
/// scheduler.complete(first, Access::Keys(&write), &mut freed);
/// scheduler.complete(freed.remove(0), Access::Keys(&write), &mut freed);
/// assert!(scheduler.is_done());
/// ```
#[derive(derive_more::Debug)]
#[debug("Scheduler {{ end: {end}, ready: {}, taken: {taken}, stats: {stats:?} }}", self.ready.len())]
pub struct Scheduler {
    locks: LockTable,
    ready: ReadySet,
    window: NonZeroUsize,
    /// Tasks from here on will not be fed.
    end: usize,
    /// Tasks handed out and not completed.
    taken: usize,
    /// Tasks that were handed out and keep their locks.
    left_behind: usize,
    stats: SchedulerStats,
}

impl Scheduler {
    /// A scheduler without tasks, whose window holds `window` unfinished tasks.
    pub fn new(window: NonZeroUsize) -> Self {
        Self {
            locks: LockTable::new(),
            ready: ReadySet::default(),
            window,
            end: 0,
            taken: 0,
            left_behind: 0,
            stats: SchedulerStats::default(),
        }
    }

    /// Starts a run of the tasks `0..tasks`. Keeps the memory of the last run.
    pub fn begin(&mut self, tasks: usize) {
        self.locks.clear();
        self.ready.clear();
        self.end = tasks;
        self.taken = 0;
        self.left_behind = 0;
        self.stats = SchedulerStats::default();
    }

    /// Moves the end of the block to `end`, if that is earlier. Tasks at or behind it that were fed
    /// already still have to be completed.
    pub fn stop_at(&mut self, end: usize) {
        self.end = self.end.min(end);
    }

    /// The end of the block: tasks from this position on are not fed.
    pub const fn end(&self) -> usize {
        self.end
    }

    /// The task to be fed next, if any is left.
    pub fn next_to_feed(&self) -> Option<TaskId> {
        (self.stats.fed < self.end).then(|| TaskId::from_index(self.stats.fed))
    }

    /// Puts the next task into its queues.
    ///
    /// # Panics
    ///
    /// If it is not the task that [`next_to_feed`](Self::next_to_feed) names: every guarantee rests
    /// on the order of feeding.
    pub fn feed(&mut self, task: TaskId, access: Access<'_>) -> Fed {
        assert_eq!(task.index(), self.stats.fed, "tasks are fed in block order");
        if !self.has_room() {
            self.stats.window_full += 1;
            return Fed::WindowFull;
        }
        self.stats.fed += 1;
        if self.locks.acquire(task, access) {
            self.ready.insert(task.index());
            Fed::Granted
        } else {
            self.stats.conflicts += 1;
            Fed::Waiting
        }
    }

    /// Skips the next `tasks` tasks, which ran without locks.
    pub(crate) fn pass(&mut self, tasks: usize) {
        self.stats.fed += tasks;
        self.stats.completed += tasks;
    }

    /// Takes the ready task that comes first in block order.
    pub fn next_ready(&mut self) -> Option<TaskId> {
        let position = self.ready.pop_first()?;
        self.taken += 1;
        Some(TaskId::from_index(position))
    }

    /// Takes the first ready task of a short range.
    pub fn next_ready_in(&mut self, range: &Range<usize>) -> Option<TaskId> {
        let position = self.ready.pop_first_in(range)?;
        self.taken += 1;
        Some(TaskId::from_index(position))
    }

    /// Takes back a task that was handed out and has not run.
    pub fn give_back(&mut self, task: TaskId) {
        self.taken -= 1;
        self.ready.insert(task.index());
    }

    /// Releases a task that was handed out.
    ///
    /// Tasks that this makes runnable are pushed onto `freed`. They count as handed out: the caller
    /// runs them, with warm caches, or gives them [back](Self::give_back).
    pub fn complete(&mut self, task: TaskId, access: Access<'_>, freed: &mut Vec<TaskId>) {
        debug_assert!(self.taken > 0, "{task:?} was completed but not taken");
        let freed_before = freed.len();
        self.locks.release(task, access, freed);
        self.taken = self.taken - 1 + (freed.len() - freed_before);
        self.stats.completed += 1;
    }

    /// Marks `tasks` of the tasks handed out as never to be completed. They keep their locks.
    pub(crate) fn leave_behind(&mut self, tasks: usize) {
        debug_assert!(self.taken >= tasks, "a task was left behind but not taken");
        self.taken -= tasks;
        self.left_behind += tasks;
    }

    pub(crate) const fn left_behind(&self) -> usize {
        self.left_behind
    }

    /// Whether the window has room for another task.
    pub const fn has_room(&self) -> bool {
        self.stats.fed - self.stats.completed < self.window.get()
    }

    /// Ready tasks that are not taken.
    pub const fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Tasks handed out and not completed.
    pub const fn taken(&self) -> usize {
        self.taken
    }

    /// Tasks that wait for a lock.
    pub const fn waiting(&self) -> usize {
        self.stats.fed - self.stats.completed - self.taken - self.left_behind - self.ready.len()
    }

    /// Whether every task was fed and every fed task was completed.
    pub const fn is_done(&self) -> bool {
        self.stats.fed >= self.end && self.stats.completed == self.stats.fed
    }

    /// The counters since [`begin`](Self::begin).
    pub const fn stats(&self) -> SchedulerStats {
        self.stats
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::new(WINDOW_DEFAULT)
    }
}

/// Counters of one run. They describe how it went, never its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Tasks in the workload.
    pub tasks: usize,
    /// Tasks that had to wait for a lock.
    pub conflicts: usize,
    /// How often a task could not be fed because the window was full.
    pub window_full: usize,
    /// Tasks run, by worker; the calling thread is worker 0.
    pub executed: Vec<usize>,
    /// How often a worker took the scheduler's lock for work.
    pub turns: usize,
    /// Batches handed to workers that waited for work.
    pub handed_over: usize,
    /// How often a parked worker was called.
    pub called: usize,
}

impl RunStats {
    /// Adds the counters of another run of the same block.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.conflicts += other.conflicts;
        self.window_full += other.window_full;
        if self.executed.len() < other.executed.len() {
            self.executed.resize(other.executed.len(), 0);
        }
        for (total, more) in self.executed.iter_mut().zip(&other.executed) {
            *total += more;
        }
        self.turns += other.turns;
        self.handed_over += other.handed_over;
        self.called += other.called;
    }
}
