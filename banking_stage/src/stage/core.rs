//! What the workers of a run share under one lock, and every decision that is made there.
//!
//! Nothing here waits, sends or wakes; a [`Turn`](Core::turn) fills the worker's desk with what is
//! to be sent after the lock was given back.

use crate::{
    scheduler::state_machine::{Fed, Scheduler},
    scheduler::stats::RunStats,
    stage::batch::{
        BATCH_COST_MAX, BATCH_COST_SHARED, BATCH_TASKS_MAX, Batch, RUN_COST_SHARED, RUN_TIME_SHARED,
    },
    stage::error::Failure,
    stage::workload::Workload,
};
use lockweave_runtime::{DenseId, TaskId};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Tasks that are prepared in one go at most, and at least (unless there are fewer). No more than a
/// [`TaskBits`] has bits.
const CHUNK_TASKS_MAX: usize = 32;
const CHUNK_TASKS_MIN: usize = 4;
/// Tasks fed in one turn while there is something to run, so that nobody holds the lock for long.
const FEED_MAX: usize = 4 * CHUNK_TASKS_MAX;

/// Tasks of a chunk, by their place in it.
pub(crate) type TaskBits = u32;
const _: () = assert!(CHUNK_TASKS_MAX <= TaskBits::BITS as usize);

/// What a worker does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run the batch on the desk.
    Execute,
    /// Prepare these tasks, chunk `chunk`.
    Prepare { chunk: usize, tasks: Range<usize> },
    /// Wait for a message. The worker has been registered as idle.
    Wait,
    /// Leave the run; it is over.
    Leave,
}

/// What one worker has in hand: what it will report in its next turn, and what its last turn gave
/// it to do or to send.
pub(crate) struct Desk {
    pub(crate) worker: usize,
    /// Tasks to run. What is left of them at the next turn goes back.
    pub(crate) batch: Batch,
    /// Tasks that are over and whose locks are still held.
    pub(crate) done: Vec<TaskId>,
    /// How many failed, and keep their locks.
    pub(crate) left_behind: usize,
    /// How many of them were really run, not skipped.
    pub(crate) executed: usize,
    /// A chunk that was prepared, and which of its tasks were free and are over.
    pub(crate) prepared: Option<(usize, TaskBits)>,
    /// The tasks of the chunk prepared last. What they touch is in this worker's caches, so it runs
    /// them rather than others, as far as they are ready.
    own: Range<usize>,
    /// Batches for idle workers, one each.
    pub(crate) outbox: Vec<Batch>,
    /// How many idle workers have to be told to leave.
    pub(crate) dismissals: usize,
    /// Whether a parked worker is to be called.
    pub(crate) call: bool,
    /// Tasks that its completions made runnable.
    freed: Vec<TaskId>,
}

impl Desk {
    pub(crate) fn new(worker: usize) -> Self {
        Self {
            worker,
            batch: Batch::new(),
            done: Vec::with_capacity(BATCH_TASKS_MAX),
            left_behind: 0,
            executed: 0,
            prepared: None,
            own: 0..0,
            outbox: Vec::new(),
            dismissals: 0,
            call: false,
            freed: Vec::new(),
        }
    }
}

/// Whether a run costs so much that helpers are worth waking before it has begun.
fn is_worth_sharing<W: Workload>(workload: &W, tasks: usize) -> bool {
    let reaches = || {
        let mut cost = 0_u64;
        (0..tasks).any(|task| {
            cost = cost.saturating_add(workload.cost(TaskId::from_index(task)));
            cost >= RUN_COST_SHARED
        })
    };
    // A workload that panics here does so again where that can be told.
    catch_unwind(AssertUnwindSafe(reaches)).unwrap_or(true)
}

/// The state of a run.
pub(crate) struct Core<W: Workload> {
    pub(crate) workload: Option<Arc<W>>,
    pub(crate) scheduler: Scheduler,
    pub(crate) failure: Option<Failure<W::Error>>,
    pub(crate) stats: RunStats,
    /// Workers that wait for a message and that nobody has addressed one to.
    ///
    /// Waiting workers = `idle` + messages sent or about to be sent. Both sides of the equation
    /// change under the lock only, except that a message is received, which lowers both.
    pub(crate) idle: usize,
    /// Helpers that have entered and not left.
    pub(crate) inside: usize,
    /// Helpers that were called and have not come yet; a hint.
    pub(crate) called: usize,
    /// The run is over: who comes, goes.
    pub(crate) closed: bool,
    /// The scheduler is in no known state, because the workload panicked in the middle of a turn.
    pub(crate) broken: bool,
    threads: usize,
    /// Whether there is enough to do for helpers to be called.
    shared: bool,
    chunk_tasks: usize,
    /// By chunk: once it is prepared, which of its tasks were free and are over.
    prepared: Vec<Option<TaskBits>>,
    next_chunk: usize,
    /// Chunks that are being prepared.
    preparing: usize,
}

impl<W: Workload> Core<W> {
    pub(crate) fn new(
        workload: Arc<W>,
        tasks: usize,
        mut scheduler: Scheduler,
        threads: usize,
    ) -> Self {
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

    /// Notes a failure, and that nothing behind it needs to run.
    pub(crate) fn fail(&mut self, failure: Failure<W::Error>) {
        let end = failure.rank().map_or(0, DenseId::index);
        self.scheduler.stop_at(end);
        self.note(failure);
    }

    /// Notes a failure.
    pub(crate) fn note(&mut self, failure: Failure<W::Error>) {
        let first = self
            .failure
            .as_ref()
            .is_none_or(|known| failure.rank() < known.rank());
        if first {
            self.failure = Some(failure);
        }
    }

    /// Ends the run. Idle workers have to be told, which is the desk's owner's to do.
    pub(crate) fn close(&mut self, desk: &mut Desk) {
        self.closed = true;
        desk.dismissals += std::mem::take(&mut self.idle);
    }

    /// Takes a worker's report and tells it what to do next; `elapsed` is how long the run has taken so far.
    pub(crate) fn turn(
        &mut self,
        workload: &W,
        desk: &mut Desk,
        elapsed: impl FnOnce() -> Duration,
    ) -> Step {
        self.stats.turns += 1;
        self.stats.executed[desk.worker] += std::mem::take(&mut desk.executed);
        if self.closed {
            return Step::Leave;
        }
        self.take_report(workload, desk);
        self.feed(workload, !desk.freed.is_empty());
        if self.scheduler.is_done() {
            self.close(desk);
            return Step::Leave;
        }
        let step = self.next_step(workload, desk);
        self.serve_idle(workload, desk);
        self.call_helper(desk, elapsed);
        step
    }

    fn take_report(&mut self, workload: &W, desk: &mut Desk) {
        while let Some(task) = desk.batch.pop() {
            self.scheduler.give_back(task);
        }
        for task in desk.done.drain(..) {
            let access = workload.access(task);
            self.scheduler.complete(task, access, &mut desk.freed);
        }
        let left_behind = std::mem::take(&mut desk.left_behind);
        self.scheduler.leave_behind(left_behind);
        // Taken from the end, so lowest last.
        desk.freed.sort_unstable_by(|left, right| right.cmp(left));
        if let Some((chunk, over)) = desk.prepared.take() {
            self.prepared[chunk] = Some(over);
            self.preparing -= 1;
        }
    }

    /// Feeds what is prepared and fits. Goes on in any case until something is ready, so that no
    /// worker goes idle although there was something to feed.
    fn feed(&mut self, workload: &W, something_freed: bool) {
        let mut fed = 0;
        while fed < FEED_MAX || (self.scheduler.ready() == 0 && !something_freed) {
            let Some(task) = self.scheduler.next_to_feed() else {
                return;
            };
            let (chunk, place) = (
                task.index() / self.chunk_tasks,
                task.index() % self.chunk_tasks,
            );
            let Some(over) = self.prepared[chunk] else {
                return;
            };
            let passed = (over >> place).trailing_ones() as usize;
            if passed > 0 {
                // They were free and are over.
                self.scheduler.pass(passed);
                continue;
            }
            match self.scheduler.feed(task, workload.access(task)) {
                Fed::WindowFull => return,
                Fed::Granted | Fed::Waiting => fed += 1,
            }
        }
    }

    fn next_step(&mut self, workload: &W, desk: &mut Desk) -> Step {
        self.fill(workload, &mut desk.batch, &mut desk.freed, &desk.own);
        for task in desk.freed.drain(..) {
            self.scheduler.give_back(task);
        }
        if !desk.batch.is_empty() {
            return Step::Execute;
        }
        if let Some(step) = self.claim_chunk(desk) {
            return step;
        }
        if self.scheduler.taken() == 0 && self.preparing == 0 {
            // What is left waits for those that were left behind; their failures are noted.
            if self.scheduler.left_behind() == 0 {
                let waiting = self.scheduler.waiting();
                self.fail(Failure::Stalled { waiting });
            }
            self.close(desk);
            return Step::Leave;
        }
        self.idle += 1;
        Step::Wait
    }

    /// Fills an empty batch: the worker's own successors first, then what it prepared last, then in
    /// block order; up to the batch limits, and no more than the worker's share.
    fn fill(
        &mut self,
        workload: &W,
        batch: &mut Batch,
        freed: &mut Vec<TaskId>,
        own: &Range<usize>,
    ) {
        let available = self.scheduler.ready() + freed.len();
        let share = available.div_ceil(self.threads);
        // Somebody who waits already takes even a small share gladly; waking somebody costs more.
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

    fn claim_chunk(&mut self, desk: &mut Desk) -> Option<Step> {
        let chunk = self.next_chunk;
        let start = chunk * self.chunk_tasks;
        if start >= self.scheduler.end() {
            return None;
        }
        self.next_chunk += 1;
        self.preparing += 1;
        let end = (start + self.chunk_tasks).min(self.scheduler.end());
        desk.own = start..end;
        Some(Step::Prepare {
            chunk,
            tasks: start..end,
        })
    }

    /// Gives ready tasks that this worker left to workers that wait.
    fn serve_idle(&mut self, workload: &W, desk: &mut Desk) {
        while self.idle > 0 && self.scheduler.ready() > 0 {
            // First the message, then its contents: if the workload panics while it is asked for
            // costs, somebody is still waiting for this message.
            desk.outbox.push(Batch::new());
            self.idle -= 1;
            self.stats.handed_over += 1;
            if let Some(batch) = desk.outbox.last_mut() {
                self.fill(workload, batch, &mut Vec::new(), &(0..0));
            }
        }
    }

    /// Calls a parked helper if there is work that nobody has taken. One at a time: who comes calls
    /// the next, if there is still work by then.
    fn call_helper(&mut self, desk: &mut Desk, elapsed: impl FnOnce() -> Duration) {
        let unclaimed = self.next_chunk * self.chunk_tasks < self.scheduler.end();
        let surplus = self.scheduler.ready() > 0 || unclaimed;
        if !self.shared && self.threads > 1 {
            self.shared = elapsed() >= RUN_TIME_SHARED;
        }
        if surplus && self.shared && !self.closed && self.inside + self.called < self.threads - 1 {
            self.called += 1;
            self.stats.called += 1;
            desk.call = true;
        }
    }
}
