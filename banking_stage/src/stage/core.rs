//! What the workers of a run share under one lock, and every decision made there.
//!
//! Nothing here waits, sends or wakes. A [`turn`](Core::turn) fills the worker's context with what is
//! to be sent after the lock is released.

#![cfg_attr(not(feature = "simulation"), allow(unreachable_pub))]

use super::{
    batch::{
        BATCH_COST_MAX, BATCH_COST_SHARED, BATCH_TASKS_MAX, Batch, RUN_COST_SHARED, RUN_TIME_SHARED,
    },
    error::StageError,
    workload::Workload,
};
use crate::scheduler::{Fed, RunStats, Scheduler};
use lockweave_runtime::{DenseId, TaskId};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Limits of the tasks that are prepared together. At most as many as a [`TaskBits`] has bits; fewer than
/// the minimum only if the run has fewer.
const CHUNK_TASKS_MAX: usize = 32;
const CHUNK_TASKS_MIN: usize = 4;
/// Tasks fed in one turn while a task is ready, so that no turn holds the lock for long.
const FEED_MAX: usize = 4 * CHUNK_TASKS_MAX;

/// A set of tasks of one chunk, by their place in it.
pub type TaskBits = u32;
const _: () = assert!(CHUNK_TASKS_MAX <= TaskBits::BITS as usize);

/// What a worker does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Run the batch in the context.
    Execute,
    /// Prepare these tasks.
    Prepare {
        /// Their chunk.
        chunk: usize,
        /// Their positions.
        tasks: Range<usize>,
    },
    /// Wait for a message. The worker is registered as idle.
    Wait,
    /// Leave the run; it is over.
    Leave,
}

/// What passes between a worker and the core: what the worker will report in its next turn, and what its
/// last turn gave it to do or to send.
#[derive(Default)]
pub struct WorkerContext {
    pub(crate) worker: usize,
    /// Tasks to run. Those left at the next turn go back to the scheduler.
    pub batch: Batch,
    /// Tasks that are done and whose locks are still held.
    pub done: Vec<TaskId>,
    /// How many tasks failed and keep their locks.
    pub(crate) left_behind: usize,
    /// How many tasks were run, not skipped.
    pub(crate) executed: usize,
    /// A chunk that was prepared, and which of its tasks were free and are done.
    pub prepared: Option<(usize, TaskBits)>,
    /// The tasks of the chunk prepared last. Their cells are in this worker's caches, so it prefers them
    /// to other ready tasks.
    own: Range<usize>,
    /// Batches for idle workers, one each.
    pub outbox: Vec<Batch>,
    /// How many idle workers are to be told to leave.
    pub dismissals: usize,
    /// Whether a parked helper is to be called.
    pub call: bool,
    /// Tasks that this worker's completions made runnable.
    freed: Vec<TaskId>,
}

impl WorkerContext {
    /// The context of a worker that has done nothing yet.
    pub fn new(worker: usize) -> Self {
        Self {
            worker,
            done: Vec::with_capacity(BATCH_TASKS_MAX),
            ..Self::default()
        }
    }
}

/// Whether a run costs so much that waking helpers pays before it has begun.
fn is_worth_sharing<W: Workload>(workload: &W, tasks: usize) -> bool {
    let reaches = || {
        let mut cost = 0_u64;
        (0..tasks).any(|task| {
            cost = cost.saturating_add(workload.cost(TaskId::from_index(task)));
            cost >= RUN_COST_SHARED
        })
    };
    // A workload that panics here does so again where it is reported.
    catch_unwind(AssertUnwindSafe(reaches)).unwrap_or(true)
}

/// The state of a run.
pub struct Core<W: Workload> {
    pub(crate) workload: Option<Arc<W>>,
    /// The scheduler.
    pub scheduler: Scheduler,
    pub(crate) failure: Option<StageError<W::Error>>,
    /// What was counted so far.
    pub stats: RunStats,
    /// Workers that wait for a message and have none on its way.
    ///
    /// Waiting workers = `idle` + messages sent or about to be sent. Both sides of the equation
    /// change under the lock only, except that receiving a message lowers both.
    pub idle: usize,
    /// Helpers that have entered and not left.
    pub inside: usize,
    /// Helpers that were called and have not joined yet; a hint.
    pub called: usize,
    /// The run is over: no helper may join.
    pub closed: bool,
    /// The scheduler is in no known state: the workload panicked in the middle of a turn.
    pub(crate) broken: bool,
    threads: usize,
    /// Whether the run is long enough for helpers to be called.
    shared: bool,
    chunk_tasks: usize,
    /// By chunk: once it is prepared, which of its tasks were free and are done.
    prepared: Vec<Option<TaskBits>>,
    next_chunk: usize,
    /// Chunks that are being prepared.
    preparing: usize,
}

impl<W: Workload> Core<W> {
    /// A run of which nothing has happened.
    pub fn new(workload: Arc<W>, tasks: usize, mut scheduler: Scheduler, threads: usize) -> Self {
        scheduler.begin(tasks);
        let shared = threads > 1 && is_worth_sharing(&*workload, tasks);
        let chunk_tasks = (tasks / (4 * threads)).clamp(CHUNK_TASKS_MIN, CHUNK_TASKS_MAX);
        Self {
            workload: Some(workload),
            scheduler,
            failure: None,
            stats: RunStats {
                tasks,
                executed: vec![0; threads],
                ..RunStats::default()
            },
            idle: 0,
            inside: 0,
            called: 0,
            closed: false,
            broken: false,
            threads,
            shared,
            chunk_tasks,
            prepared: vec![None; tasks.div_ceil(chunk_tasks)],
            next_chunk: 0,
            preparing: 0,
        }
    }

    /// Notes a failure. Tasks behind it need not run.
    pub(crate) fn fail(&mut self, failure: StageError<W::Error>) {
        let end = failure.rank().map_or(0, DenseId::index);
        self.scheduler.stop_at(end);
        self.note(failure);
    }

    pub(crate) fn note(&mut self, failure: StageError<W::Error>) {
        let first = self
            .failure
            .as_ref()
            .is_none_or(|known| failure.rank() < known.rank());
        if first {
            self.failure = Some(failure);
        }
    }

    /// Ends the run. The worker whose context this is tells the idle workers.
    pub(crate) fn close(&mut self, context: &mut WorkerContext) {
        self.closed = true;
        context.dismissals += std::mem::take(&mut self.idle);
    }

    /// Takes a worker's report and returns its next step; `elapsed` is how long the run has taken so far.
    pub fn turn(
        &mut self,
        workload: &W,
        context: &mut WorkerContext,
        elapsed: impl FnOnce() -> Duration,
    ) -> Step {
        self.stats.turns += 1;
        self.stats.executed[context.worker] += std::mem::take(&mut context.executed);
        if self.closed {
            return Step::Leave;
        }
        self.take_report(workload, context);
        self.feed(workload, !context.freed.is_empty());
        if self.scheduler.is_done() {
            self.close(context);
            return Step::Leave;
        }
        let step = self.next_step(workload, context);
        self.serve_idle(workload, context);
        self.call_helper(context, elapsed);
        step
    }

    fn take_report(&mut self, workload: &W, context: &mut WorkerContext) {
        while let Some(task) = context.batch.pop() {
            self.scheduler.give_back(task);
        }
        for task in context.done.drain(..) {
            let access = workload.access(task);
            self.scheduler.complete(task, access, &mut context.freed);
        }
        let left_behind = std::mem::take(&mut context.left_behind);
        self.scheduler.leave_behind(left_behind);
        // They are taken from the end, so the lowest comes last.
        context
            .freed
            .sort_unstable_by(|left, right| right.cmp(left));
        if let Some((chunk, done)) = context.prepared.take() {
            self.prepared[chunk] = Some(done);
            self.preparing -= 1;
        }
    }

    /// Feeds prepared tasks as far as the window allows. Goes on in any case until a task is ready, so that
    /// no worker becomes idle while a task could be fed.
    fn feed(&mut self, workload: &W, has_freed: bool) {
        let mut fed = 0;
        while fed < FEED_MAX || (self.scheduler.ready() == 0 && !has_freed) {
            let Some(task) = self.scheduler.next_to_feed() else {
                return;
            };
            let (chunk, place) = (
                task.index() / self.chunk_tasks,
                task.index() % self.chunk_tasks,
            );
            let Some(done) = self.prepared[chunk] else {
                return;
            };
            let passed = (done >> place).trailing_ones() as usize;
            if passed > 0 {
                // They were free and are done.
                self.scheduler.pass(passed);
                continue;
            }
            match self.scheduler.feed(task, workload.access(task)) {
                Fed::WindowFull => return,
                Fed::Granted | Fed::Waiting => fed += 1,
            }
        }
    }

    fn next_step(&mut self, workload: &W, context: &mut WorkerContext) -> Step {
        self.fill(
            workload,
            &mut context.batch,
            &mut context.freed,
            &context.own,
        );
        for task in context.freed.drain(..) {
            self.scheduler.give_back(task);
        }
        if !context.batch.is_empty() {
            return Step::Execute;
        }
        if let Some(step) = self.claim_chunk(context) {
            return step;
        }
        if self.scheduler.taken() == 0 && self.preparing == 0 {
            // Every remaining task waits for tasks left behind, whose failures are noted.
            if self.scheduler.left_behind() == 0 {
                let waiting = self.scheduler.waiting();
                self.fail(StageError::Stalled { waiting });
            }
            self.close(context);
            return Step::Leave;
        }
        self.idle += 1;
        Step::Wait
    }

    /// Fills an empty batch: first the tasks that the worker freed, then those it prepared last, then others
    /// in block order; up to the batch limits, and no more than the worker's share.
    fn fill(
        &mut self,
        workload: &W,
        batch: &mut Batch,
        freed: &mut Vec<TaskId>,
        own: &Range<usize>,
    ) {
        let available = self.scheduler.ready() + freed.len();
        let share = available.div_ceil(self.threads);
        // Handing a small share to a worker that waits already pays; waking one costs more.
        let cost_shared = if self.idle > 0 { 0 } else { BATCH_COST_SHARED };
        let mut cost = 0;
        while batch.len() < BATCH_TASKS_MAX {
            let enough = cost >= BATCH_COST_MAX || (batch.len() >= share && cost >= cost_shared);
            if enough && !batch.is_empty() {
                return;
            }
            let task = freed
                .pop()
                .or_else(|| self.scheduler.next_ready_in(own))
                .or_else(|| self.scheduler.next_ready());
            let Some(task) = task else {
                return;
            };
            batch.push(task);
            cost = u64::saturating_add(cost, workload.cost(task));
        }
    }

    fn claim_chunk(&mut self, context: &mut WorkerContext) -> Option<Step> {
        let chunk = self.next_chunk;
        let start = chunk * self.chunk_tasks;
        if start >= self.scheduler.end() {
            return None;
        }
        self.next_chunk += 1;
        self.preparing += 1;
        let end = (start + self.chunk_tasks).min(self.scheduler.end());
        context.own = start..end;
        Some(Step::Prepare {
            chunk,
            tasks: start..end,
        })
    }

    /// Gives ready tasks that this worker left over to workers that wait.
    fn serve_idle(&mut self, workload: &W, context: &mut WorkerContext) {
        while self.idle > 0 && self.scheduler.ready() > 0 {
            // First the message, then its contents: if the workload panics in `cost`, a worker still waits
            // for this message.
            context.outbox.push(Batch::default());
            self.idle -= 1;
            self.stats.handed_over += 1;
            if let Some(batch) = context.outbox.last_mut() {
                self.fill(workload, batch, &mut Vec::new(), &(0..0));
            }
        }
    }

    /// Calls a parked helper if there is work that is not taken. One at a time: a helper that joins calls
    /// the next, if there is still work by then.
    fn call_helper(&mut self, context: &mut WorkerContext, elapsed: impl FnOnce() -> Duration) {
        let unclaimed = self.next_chunk * self.chunk_tasks < self.scheduler.end();
        let surplus = self.scheduler.ready() > 0 || unclaimed;
        if !self.shared && self.threads > 1 {
            self.shared = elapsed() >= RUN_TIME_SHARED;
        }
        if surplus && self.shared && !self.closed && self.inside + self.called < self.threads - 1 {
            self.called += 1;
            self.stats.called += 1;
            context.call = true;
        }
    }
}
