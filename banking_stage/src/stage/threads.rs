//! The stage: threads that wait for workloads, and the call that runs one.

use super::{
    config::StageConfig,
    cores::{CORES, pin_thread},
    error::{StageError, StartError, panic_message},
    run::{Call, Run, RunOutcome},
    spin_wait::{SPIN_TIME, SpinWait},
    worker::{Job, lead},
    workload::Workload,
};
use crate::scheduler::{RunStats, Scheduler};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Runs workloads on worker threads that live as long as it does.
///
/// The thread that calls [`run`](Self::run) is one of the workers. The others, the *helpers*, are parked
/// between runs and called only when there is work for them. Dropping the stage ends its threads.
#[derive(derive_more::Debug)]
#[debug("BankingStage {{ config: {config:?} }}")]
pub struct BankingStage {
    config: StageConfig,
    spin_wait: SpinWait,
    /// Locked for the length of a run, so runs come one after another. The scheduler is kept for its
    /// memory.
    scheduler: Mutex<Scheduler>,
    shared: Arc<HelperState>,
    /// Ends the helpers when dropped.
    call: Option<Sender<Call>>,
    helpers: Vec<JoinHandle<()>>,
}

/// Work that a helper does in the background, beside the stage's runs.
pub(crate) struct BackgroundWork<R> {
    result: Receiver<thread::Result<R>>,
}

impl<R> BackgroundWork<R> {
    /// Waits for its result: the payload, if it panicked.
    pub(crate) fn join(self) -> thread::Result<R> {
        self.result.recv().expect("a helper answers every call")
    }
}

/// What the stage shares with its helpers.
struct HelperState {
    /// The present run.
    job: Mutex<Option<Arc<dyn Job>>>,
    spin_wait: SpinWait,
    /// How many callers expect to call helpers again soon.
    keep_awake: AtomicUsize,
}

/// How long a helper polls for a call between two runs of the same block before it sleeps. Numbering a block's
/// keys and repairing transactions take less.
const AWAKE_TIME: Duration = Duration::from_micros(600);

impl HelperState {
    /// Waits for a call; `None` when the stage is over.
    fn next_call(&self, calls: &Receiver<Call>) -> Option<Call> {
        let stays_awake = || self.keep_awake.load(Ordering::Relaxed) > 0;
        let polled =
            stays_awake().then(|| self.spin_wait.poll(|| calls.try_recv().ok(), stays_awake));
        polled.flatten().or_else(|| calls.recv().ok())
    }
}

/// Keeps helpers awake from one run to the next, for a while, as waking one takes some 50 µs.
pub(crate) struct KeepAwake<'s>(&'s HelperState);

impl Drop for KeepAwake<'_> {
    fn drop(&mut self) {
        self.0.keep_awake.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// Whether this thread is a worker of a run.
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
}

/// Marks this thread as a worker while it lives.
struct Membership;

impl Membership {
    fn enter() -> Option<Self> {
        (!IN_RUN.replace(true)).then_some(Self)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        IN_RUN.set(false);
    }
}

impl BankingStage {
    /// Starts the worker threads.
    pub fn new(config: StageConfig) -> Result<Self, StartError> {
        let threads = config.threads.get();
        if config.pinned {
            // Before any thread is pinned to one of them.
            LazyLock::force(&CORES);
        }
        // Room for one call per helper; at least one, as a channel without room is a rendezvous.
        let (call, calls) = bounded(threads.max(2) - 1);
        let mut stage = Self {
            config,
            spin_wait: SpinWait::for_threads(threads, SPIN_TIME),
            scheduler: Mutex::new(Scheduler::new(config.window)),
            shared: Arc::new(HelperState {
                job: Mutex::default(),
                spin_wait: SpinWait::for_threads(threads, AWAKE_TIME),
                keep_awake: AtomicUsize::new(0),
            }),
            call: Some(call),
            helpers: Vec::with_capacity(threads - 1),
        };
        for worker in 1..threads {
            let shared = Arc::clone(&stage.shared);
            let calls = calls.clone();
            let pinned = config.pinned;
            // On an error the stage is dropped, which ends the threads started so far.
            let helper = thread::Builder::new()
                .name(format!("banking-{worker}"))
                .spawn(move || {
                    if pinned {
                        pin_thread(worker);
                    }
                    help(worker, &shared, &calls);
                })
                .map_err(|source| StartError::Spawn { worker, source })?;
            stage.helpers.push(helper);
        }
        Ok(stage)
    }

    /// If the stage is [pinned](StageConfig::pinned), pins the calling thread to the core that no other
    /// thread of the stage has. For the thread that will call [`run`](Self::run), after it has started all
    /// threads that are to use other cores: a new thread inherits the pinning.
    pub fn pin_caller(&self) {
        if self.config.pinned {
            pin_thread(0);
        }
    }

    /// The configuration of the stage.
    pub const fn config(&self) -> StageConfig {
        self.config
    }

    /// Runs all tasks of a workload and gives the workload back.
    ///
    /// The calling thread takes part. If another thread's run is on, this one waits for its end.
    ///
    /// The result does not depend on the number of threads or on timing, as far as the workload's
    /// tasks do not. On an error the workload is given back as the run left it: all tasks in front of
    /// the failed one have run, and some behind it may have.
    pub fn run<W: Workload>(&self, workload: W) -> (W, Result<RunStats, StageError<W::Error>>) {
        let Some(_membership) = Membership::enter() else {
            return (workload, Err(StageError::Nested));
        };
        let tasks = match catch_unwind(AssertUnwindSafe(|| workload.tasks())) {
            Ok(tasks) if u32::try_from(tasks).is_ok() => tasks,
            Ok(tasks) => return (workload, Err(StageError::TooManyTasks { tasks })),
            Err(payload) => {
                let message = panic_message(&*payload);
                let task = None;
                return (workload, Err(StageError::Panicked { task, message }));
            }
        };
        let outcome = self.run_tasks(workload, tasks);
        (outcome.workload, outcome.result)
    }

    /// Starts work on a helper, beside the stage's runs. `None` if all helpers have been called, or there are
    /// none.
    pub(crate) fn start_background<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Option<BackgroundWork<R>> {
        if self.helpers.is_empty() {
            return None;
        }
        let (done, result) = bounded(1);
        let work = move || {
            // The receiver may be gone.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        };
        let call = self.call.as_ref().expect("it is taken on drop only");
        call.try_send(Call::Background(Box::new(work))).ok()?;
        Some(BackgroundWork { result })
    }

    /// Keeps helpers awake while several runs follow each other.
    pub(crate) fn keep_helpers_awake(&self) -> KeepAwake<'_> {
        self.shared.keep_awake.fetch_add(1, Ordering::Relaxed);
        KeepAwake(&self.shared)
    }

    fn run_tasks<W: Workload>(&self, workload: W, tasks: usize) -> RunOutcome<W> {
        let mut scheduler = self.scheduler.lock();
        let workload = Arc::new(workload);
        let call = self.call.as_ref().expect("it is taken on drop only");
        let run = Arc::new(Run::new(
            Arc::clone(&workload),
            tasks,
            std::mem::take(&mut *scheduler),
            self.config.threads.get(),
            self.spin_wait,
            call.clone(),
        ));
        // A single task leaves nothing for helpers.
        let has_helpers = !self.helpers.is_empty() && tasks > 1;
        if has_helpers {
            *self.shared.job.lock() = Some(Arc::clone(&run) as Arc<dyn Job>);
        }
        let mut outcome = lead(&run, workload);
        if has_helpers {
            *self.shared.job.lock() = None;
        }
        *scheduler = outcome
            .scheduler
            .take()
            .unwrap_or_else(|| Scheduler::new(self.config.window));
        outcome
    }
}

/// The loop of a helper: parked until called, then in the present run.
fn help(worker: usize, shared: &HelperState, calls: &Receiver<Call>) {
    let _membership = Membership::enter();
    while let Some(call) = shared.next_call(calls) {
        let job = match call {
            Call::Background(work) => {
                work();
                continue;
            }
            Call::Help => shared.job.lock().clone(),
        };
        if let Some(job) = job {
            job.help(worker);
        }
    }
}

impl Drop for BankingStage {
    fn drop(&mut self) {
        self.call = None;
        for helper in self.helpers.drain(..) {
            // A helper that drops the last handle to its stage cannot wait for itself.
            if helper.thread().id() != thread::current().id() {
                // A panic on it was reported when it happened.
                let _ = helper.join();
            }
        }
    }
}
