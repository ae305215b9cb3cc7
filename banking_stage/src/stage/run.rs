//! One run: the state its workers share, and how they wait for each other.
//!
//! There is no scheduling thread. A worker that needs work takes the lock, reports, and gets a
//! [`Step`]; see [`Core`]. This file is about waiting: what waits for what, and why every wait ends.
//!
//! * **A worker waits only for a message.** It is registered as idle in the same turn that found
//!   nothing for it, under the lock. Every later turn that leaves ready tasks over, or ends the run,
//!   sees it there, takes it off the count and sends it a message. So none is lost: before the
//!   registration the work was not there, after it the worker is seen.
//! * **Some worker is always about to take a turn.** A worker becomes idle only if no task is ready and
//!   no chunk unclaimed. If the run is not over, then tasks are being run or chunks prepared, by
//!   workers that will take a turn when they are done (or by the receiver of a message on its
//!   way). If there are none of these either, then every remaining task waits for tasks that failed and
//!   keep their locks, and the run is over; or the workload broke its contract, and the run ends with
//!   `Stalled`.
//! * **Sending never waits.** There are at most as many messages as waiting workers, and the
//!   channel has room for one per worker.
//! * **A helper never sleeps inside a run.** If no message came for a while it takes itself off the
//!   count, leaves, and parks in the stage. If the count is zero by then, a message is on its way to
//!   it, and it waits for that. Helpers are called again when there is work. So the caller, which
//!   waits at the end for all helpers inside, waits only for ones that are awake.
//! * **The caller needs no helper.** Calls are hints; a helper that arrives late finds the run closed
//!   and the workload gone.

use super::{
    batch::Batch,
    core::{Core, Step, WorkerContext},
    error::StageError,
    spin_wait::SpinWait,
    workload::Workload,
};
use crate::scheduler::{RunStats, Scheduler};
use crossbeam_channel::{Receiver, Sender, bounded};
use crossbeam_utils::CachePadded;
use lockweave_runtime::{DenseId, TaskId};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// What a parked helper is called for.
pub(crate) enum Call {
    /// To help with the present run.
    Help,
    /// To do this in the background, beside any runs.
    Background(Box<dyn FnOnce() + Send>),
}

/// What a waiting worker is told.
enum Message {
    /// Run these; you are no longer idle.
    Work(Batch),
    /// The run is over.
    Leave,
}

pub(crate) struct Run<W: Workload> {
    core: Mutex<Core<W>>,
    messages: (Sender<Message>, Receiver<Message>),
    /// Calls parked helpers.
    call: Sender<Call>,
    /// The last helper inside has left.
    left: Condvar,
    spin_wait: SpinWait,
    started: Instant,
    /// A copy of the scheduler's end of the block, to be read without the lock.
    end: CachePadded<AtomicUsize>,
    /// A copy of the number of idle workers, to be read without the lock.
    idle: CachePadded<AtomicUsize>,
}

pub(crate) struct RunOutcome<W: Workload> {
    pub(crate) workload: W,
    /// `None` if it is in no known state.
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) result: Result<RunStats, StageError<W::Error>>,
}

impl<W: Workload> Run<W> {
    pub(crate) fn new(
        workload: Arc<W>,
        tasks: usize,
        scheduler: Scheduler,
        threads: usize,
        spin_wait: SpinWait,
        call: Sender<Call>,
    ) -> Self {
        Self {
            core: Mutex::new(Core::new(workload, tasks, scheduler, threads)),
            messages: bounded(threads),
            call,
            left: Condvar::new(),
            spin_wait,
            started: Instant::now(),
            end: CachePadded::new(AtomicUsize::new(tasks)),
            idle: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Joins as a helper, unless the run is over.
    pub(crate) fn join(&self) -> Option<Arc<W>> {
        let mut core = self.core.lock();
        core.called = core.called.saturating_sub(1);
        let workload = core
            .workload
            .as_ref()
            .filter(|_| !core.closed)
            .map(Arc::clone);
        core.inside += usize::from(workload.is_some());
        workload
    }

    pub(crate) fn leave(&self) {
        let mut core = self.core.lock();
        core.inside -= 1;
        if core.inside == 0 {
            self.left.notify_one();
        }
    }

    /// Waits for the helpers inside a run that is over, and ends it.
    pub(crate) fn finish(&self) -> RunOutcome<W> {
        let mut core = self.wait_for_helpers();
        let workload = core.workload.take().expect("only the caller takes it");
        let workload = Arc::into_inner(workload).expect("a helper drops it before it leaves");
        let stats = core.scheduler.stats();
        core.stats.conflicts = stats.conflicts;
        core.stats.window_full = stats.window_full;
        RunOutcome {
            workload,
            scheduler: (!core.broken).then(|| std::mem::take(&mut core.scheduler)),
            result: match core.failure.take() {
                Some(failure) => Err(failure),
                None => Ok(std::mem::take(&mut core.stats)),
            },
        }
    }

    fn wait_for_helpers(&self) -> MutexGuard<'_, Core<W>> {
        let started = Instant::now();
        let mut core = self.core.lock();
        while core.inside > 0 && self.spin_wait.goes_on(started) {
            drop(core);
            SpinWait::pause();
            core = self.core.lock();
        }
        while core.inside > 0 {
            self.left.wait(&mut core);
        }
        core
    }

    /// Reports what the context holds and gets the next step.
    pub(crate) fn turn(&self, workload: &W, context: &mut WorkerContext) -> Step {
        let step = {
            let mut core = self.lock();
            let step = core.turn(workload, context, || self.started.elapsed());
            self.publish(&core);
            step
        };
        self.send(context);
        step
    }

    /// Takes the lock. Turns are short, so a thread that finds it taken polls for a while before it sleeps.
    fn lock(&self) -> MutexGuard<'_, Core<W>> {
        let take = || (!self.core.is_locked()).then(|| self.core.try_lock())?;
        let taken = self.core.try_lock();
        taken
            .or_else(|| self.spin_wait.poll(take, || true))
            .unwrap_or_else(|| self.core.lock())
    }

    /// Sends what a turn has left in the context. Outside the lock, because it may wake a thread.
    fn send(&self, context: &mut WorkerContext) {
        for batch in context.outbox.drain(..) {
            self.send_one(Message::Work(batch));
        }
        for _ in 0..std::mem::take(&mut context.dismissals) {
            self.send_one(Message::Leave);
        }
        if std::mem::take(&mut context.call) {
            // If there is no room, every helper has been called already.
            let _ = self.call.try_send(Call::Help);
        }
    }

    fn send_one(&self, message: Message) {
        let sent = self.messages.0.try_send(message);
        assert!(
            sent.is_ok(),
            "there are no more messages than waiting workers"
        );
    }

    /// Copies what is read without the lock. These copies order nothing: a stale one costs a task that
    /// could have been skipped, or a turn that comes later.
    fn publish(&self, core: &Core<W>) {
        if self.end.load(Ordering::Relaxed) != core.scheduler.end() {
            self.end.store(core.scheduler.end(), Ordering::Relaxed);
        }
        if self.idle.load(Ordering::Relaxed) != core.idle {
            self.idle.store(core.idle, Ordering::Relaxed);
        }
    }

    /// Whether a task is in front of every failure. A task that conflicts with a failed one never is: it
    /// was granted in a turn after the failure was noted, so its worker has seen the note.
    pub(crate) fn needs(&self, task: TaskId) -> bool {
        task.index() < self.end.load(Ordering::Relaxed)
    }

    pub(crate) fn has_idle_worker(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn fail(&self, failure: StageError<W::Error>) {
        let mut core = self.core.lock();
        core.fail(failure);
        self.publish(&core);
    }

    /// Notes the failure of a task that keeps its locks, so that others can go on.
    pub(crate) fn note(&self, failure: StageError<W::Error>) {
        self.core.lock().note(failure);
    }

    /// Ends the run at once, after the workload panicked outside of its tasks.
    pub(crate) fn abort(&self, context: &mut WorkerContext, message: String) {
        let mut core = self.core.lock();
        core.fail(StageError::Panicked {
            task: None,
            message,
        });
        core.broken = true;
        core.close(context);
        self.publish(&core);
        drop(core);
        context.dismissals += context.outbox.drain(..).count();
        context.call = false;
        self.send(context);
    }

    /// Waits for a message, after a turn that returned [`Step::Wait`]. Returns whether the worker stays.
    pub(crate) fn wait(&self, context: &mut WorkerContext) -> bool {
        let is_caller = context.worker == 0;
        let message = match self
            .spin_wait
            .poll(|| self.messages.1.try_recv().ok(), || true)
        {
            Some(message) => message,
            None if !is_caller && self.withdraw() => return false,
            None => self
                .messages
                .1
                .recv()
                .expect("the run itself holds a sender"),
        };
        match message {
            Message::Work(batch) => {
                context.batch = batch;
                true
            }
            Message::Leave => false,
        }
    }

    /// Takes an idle worker off the count. If that is zero, a message is on its way instead.
    fn withdraw(&self) -> bool {
        let mut core = self.core.lock();
        let idle = core.idle > 0;
        if idle {
            core.idle -= 1;
            self.publish(&core);
        }
        idle
    }
}
