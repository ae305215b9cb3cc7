//! One run: the state its workers share, and how they wait for each other.
//!
//! There is no scheduling thread. Whoever needs work takes the lock, reports, and gets a
//! [`Step`](crate::stage::core::Step); see [`Core`]. This file is about the rest: who waits for what, and
//! why nobody waits for ever.
//!
//! * **A worker waits only for a message.** It is registered as idle in the same turn that found
//!   nothing for it, under the lock. Every later turn that leaves ready tasks over, or ends the run,
//!   sees it there, takes it off the count and sends it a message. So none is lost: before the
//!   registration the work was not there, after it the worker is seen.
//! * **Somebody always is about to take a turn.** A worker becomes idle only if no task is ready and
//!   no chunk unclaimed. If the run is not over, then tasks are being run or chunks prepared, by
//!   workers that will take a turn when they are through (or by the receiver of a message on its
//!   way). If there are none of these either, then all that is left waits for tasks that failed and keep
//!   their locks, and the run is over; or the workload broke its contract, and it ends with `Stalled`.
//! * **Sending never waits.** There are at most as many messages as waiting workers, and the
//!   channel has room for one a worker.
//! * **A helper never sleeps inside a run.** If no message came for a while it takes itself off the
//!   count, leaves, and parks in the stage. If the count is zero by then, a message is on its way to
//!   it, and it waits for that. Helpers are called again when there is work, so the caller, who
//!   waits at the end for all helpers inside, only waits for ones that are awake.
//! * **The caller needs no helper.** Calls are hints; a helper that comes late finds the run closed
//!   and the workload gone.

use crate::{
    scheduler::state_machine::Scheduler,
    scheduler::stats::RunStats,
    stage::batch::Batch,
    stage::core::{Core, Desk, Step},
    stage::error::Failure,
    stage::threads::{Call, PARALLELISM},
    stage::worker,
    stage::workload::Workload,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use crossbeam_utils::CachePadded;
use lockweave_runtime::{DenseId, TaskId};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What a waiting worker is told.
enum Message {
    /// Run these; you are not idle any more.
    Work(Batch),
    /// The run is over.
    Leave,
}

/// Waking a thread takes some 50 µs, so it pays to look for a message, or for a lock to be free, for about as
/// long.
pub(crate) const PATIENCE: Duration = Duration::from_micros(40);

/// How long a thread looks for something before it sleeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience(Duration);

/// Looks between two looks at the clock.
const LOOKS: usize = 16;

impl Patience {
    /// Without a core for every worker it does not pay to look: that takes the core from those who work.
    pub(crate) fn for_threads(threads: usize, time: Duration) -> Self {
        Self(if threads <= PARALLELISM.get() {
            time
        } else {
            Duration::ZERO
        })
    }

    /// Looks as long as that takes and `goes_on` says so.
    pub(crate) fn look<M>(
        self,
        mut look: impl FnMut() -> Option<M>,
        mut goes_on: impl FnMut() -> bool,
    ) -> Option<M> {
        let started = Instant::now();
        loop {
            for _ in 0..LOOKS {
                let found = look();
                if found.is_some() {
                    return found;
                }
                hint::spin_loop();
            }
            if started.elapsed() >= self.0 || !goes_on() {
                return None;
            }
            thread::yield_now();
        }
    }
}

/// One run of a workload.
pub(crate) struct Run<W: Workload> {
    core: Mutex<Core<W>>,
    messages: (Sender<Message>, Receiver<Message>),
    /// Calls parked helpers.
    call: Sender<Call>,
    /// The last helper inside has left.
    left: Condvar,
    patience: Patience,
    started: Instant,
    /// The end of the block as the scheduler knows it, to be read without the lock.
    end: CachePadded<AtomicUsize>,
    /// Whether anybody is idle, to be read without the lock.
    idle: CachePadded<AtomicUsize>,
}

/// A run whose workload's type is forgotten, as the helpers see it.
pub(crate) trait Job: Send + Sync {
    /// Takes part as worker `worker`, until the run is over or there is nothing to do.
    fn help(&self, worker: usize);
}

/// What is left of a run.
pub(crate) struct Remains<W: Workload> {
    pub(crate) workload: W,
    /// Unless it is in no known state.
    pub(crate) scheduler: Option<Scheduler>,
    pub(crate) result: Result<RunStats, Failure<W::Error>>,
}

impl<W: Workload> Run<W> {
    pub(crate) fn new(
        workload: Arc<W>,
        tasks: usize,
        scheduler: Scheduler,
        threads: usize,
        patience: Patience,
        call: Sender<Call>,
    ) -> Self {
        Self {
            core: Mutex::new(Core::new(workload, tasks, scheduler, threads)),
            messages: bounded(threads),
            call,
            left: Condvar::new(),
            patience,
            started: Instant::now(),
            end: CachePadded::new(AtomicUsize::new(tasks)),
            idle: CachePadded::new(AtomicUsize::new(0)),
        }
    }

    /// Takes part as worker 0 until the run is over, and waits for the helpers inside.
    pub(crate) fn lead(&self, workload: Arc<W>) -> Remains<W> {
        worker::work(self, &workload, 0);
        drop(workload);
        let mut core = self.wait_for_helpers();
        let workload = core.workload.take().expect("only the caller takes it");
        let workload = Arc::into_inner(workload).expect("a helper drops it before it leaves");
        let stats = core.scheduler.stats();
        core.stats.conflicts = stats.conflicts;
        core.stats.window_full = stats.window_full;
        Remains {
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
        while core.inside > 0 && started.elapsed() < self.patience.0 {
            drop(core);
            (0..LOOKS).for_each(|_| hint::spin_loop());
            core = self.core.lock();
        }
        while core.inside > 0 {
            self.left.wait(&mut core);
        }
        core
    }

    /// Reports what is on the desk and gets the next step.
    pub(crate) fn turn(&self, workload: &W, desk: &mut Desk) -> Step {
        let step = {
            let mut core = self.lock();
            let step = core.turn(workload, desk, || self.started.elapsed());
            self.publish(&core);
            step
        };
        self.send(desk);
        step
    }

    /// Takes the lock. Turns are short, so who finds it taken looks for a while before it sleeps.
    fn lock(&self) -> MutexGuard<'_, Core<W>> {
        let take = || (!self.core.is_locked()).then(|| self.core.try_lock())?;
        let taken = self.core.try_lock();
        taken
            .or_else(|| self.patience.look(take, || true))
            .unwrap_or_else(|| self.core.lock())
    }

    /// Sends what a turn has left on the desk. Outside the lock, because it may wake somebody.
    fn send(&self, desk: &mut Desk) {
        for batch in desk.outbox.drain(..) {
            self.send_one(Message::Work(batch));
        }
        for _ in 0..std::mem::take(&mut desk.dismissals) {
            self.send_one(Message::Leave);
        }
        if std::mem::take(&mut desk.call) {
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

    /// Copies what is read without the lock. Nothing is ordered by these copies: a stale one costs
    /// a task that could have been skipped, or a turn that comes later.
    fn publish(&self, core: &Core<W>) {
        if self.end.load(Ordering::Relaxed) != core.scheduler.end() {
            self.end.store(core.scheduler.end(), Ordering::Relaxed);
        }
        if self.idle.load(Ordering::Relaxed) != core.idle {
            self.idle.store(core.idle, Ordering::Relaxed);
        }
    }

    /// Whether a task is in front of everything that has failed. A task that conflicts with a
    /// failed one never is: it was granted in a turn after the failure was noted, so its worker
    /// has seen the note.
    pub(crate) fn needs(&self, task: TaskId) -> bool {
        task.index() < self.end.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for work.
    pub(crate) fn somebody_waits(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Notes a failure.
    pub(crate) fn fail(&self, failure: Failure<W::Error>) {
        let mut core = self.core.lock();
        core.fail(failure);
        self.publish(&core);
    }

    /// Notes the failure of a task that keeps its locks, so that others can go on.
    pub(crate) fn note(&self, failure: Failure<W::Error>) {
        self.core.lock().note(failure);
    }

    /// Ends the run at once, after the workload panicked where no task can be blamed.
    pub(crate) fn abort(&self, desk: &mut Desk, message: String) {
        let mut core = self.core.lock();
        core.fail(Failure::Panicked {
            task: None,
            message,
        });
        core.broken = true;
        core.close(desk);
        self.publish(&core);
        drop(core);
        desk.dismissals += desk.outbox.drain(..).count();
        desk.call = false;
        self.send(desk);
    }

    /// Waits for a message, after a turn that said so. Returns whether the worker stays.
    pub(crate) fn wait(&self, desk: &mut Desk) -> bool {
        let is_caller = desk.worker == 0;
        let message = match self
            .patience
            .look(|| self.messages.1.try_recv().ok(), || true)
        {
            Some(message) => message,
            None if !is_caller && self.take_off() => return false,
            None => self
                .messages
                .1
                .recv()
                .expect("the run itself holds a sender"),
        };
        match message {
            Message::Work(batch) => {
                desk.batch = batch;
                true
            }
            Message::Leave => false,
        }
    }

    /// Takes an idle worker off the count. If that is zero, a message is on its way instead.
    fn take_off(&self) -> bool {
        let mut core = self.core.lock();
        let idle = core.idle > 0;
        if idle {
            core.idle -= 1;
            self.publish(&core);
        }
        idle
    }
}

impl<W: Workload> Job for Run<W> {
    fn help(&self, worker: usize) {
        let workload = {
            let mut core = self.core.lock();
            core.called = core.called.saturating_sub(1);
            match &core.workload {
                Some(workload) if !core.closed => {
                    let workload = Arc::clone(workload);
                    core.inside += 1;
                    workload
                }
                _ => return,
            }
        };
        worker::work(self, &workload, worker);
        drop(workload);
        let mut core = self.core.lock();
        core.inside -= 1;
        if core.inside == 0 {
            self.left.notify_one();
        }
    }
}
