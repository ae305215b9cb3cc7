//! The stage: threads that wait for workloads, and the call that runs one.

use crate::{
    scheduler::state_machine::{Scheduler, WINDOW_DEFAULT},
    scheduler::stats::RunStats,
    stage::error::{StageError, StartError, panic_message},
    stage::run::{Job, PATIENCE, Patience, Remains, Run},
    stage::workload::Workload,
};
use core_affinity::CoreId;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use std::{
    cell::Cell,
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How a stage is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageConfig {
    /// Workers, the calling thread included. With one, no thread is started and no message sent.
    pub threads: NonZeroUsize,
    /// Tasks granted or waiting at most.
    pub window: NonZeroUsize,
    /// Whether each thread of the stage keeps to a core of its own, as far as there are any.
    ///
    /// A thread that is woken may be put on the core of the thread that woke it, and stand there until
    /// that one has used up its time, which can be longer than a whole block takes. On cores of its
    /// own it begins at once; on cores that other programs use as well, it cannot get out of their way.
    pub pinned: bool,
    /// Blocks whose sets are inferred and that have fewer transactions run in order on the calling thread, while
    /// helpers look at what comes next.
    pub sequential_below: usize,
    /// Blocks of payments alone that have as many transactions run without locks.
    pub payments_from: usize,
}

/// In longer blocks what one thread has to do for each transaction, even if others simulated it, becomes the
/// limit, and it shows early on whether they are worth locks.
const SEQUENTIAL_BELOW: usize = 2_048;

/// Fewer payments take as long in order, on one thread.
const PAYMENTS_FROM: usize = 2_048;

impl StageConfig {
    /// The default window, and this many workers, the calling thread included.
    pub const fn with_threads(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            window: WINDOW_DEFAULT,
            pinned: false,
            sequential_below: SEQUENTIAL_BELOW,
            payments_from: PAYMENTS_FROM,
        }
    }

    /// The same, with each thread on a core of its own; see [`pinned`](Self::pinned).
    #[must_use]
    pub const fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }
}

impl Default for StageConfig {
    /// One worker for each core.
    fn default() -> Self {
        Self::with_threads(*PARALLELISM)
    }
}

/// Runs workloads on worker threads that live as long as it does.
///
/// The thread that calls [`run`](Self::run) is one of the workers; the others are parked between
/// runs and called only when there is work for them. Dropping the stage ends its threads.
pub struct BankingStage {
    config: StageConfig,
    patience: Patience,
    /// Held for the length of a run, so runs come one after another. The scheduler is kept for its
    /// memory.
    turnstile: Mutex<Scheduler>,
    lobby: Arc<Lobby>,
    /// Ends the helpers when dropped.
    call: Option<Sender<Call>>,
    helpers: Vec<JoinHandle<()>>,
}

/// What a parked helper is called for.
pub(crate) enum Call {
    /// To help with the run that is on.
    Help,
    /// To do this, beside any runs.
    Aside(Box<dyn FnOnce() + Send>),
}

/// Work that a helper does beside the stage's runs.
pub(crate) struct Aside<R> {
    result: Receiver<thread::Result<R>>,
}

impl<R> Aside<R> {
    /// Waits for what comes of it: the payload, if it panicked.
    pub(crate) fn join(self) -> thread::Result<R> {
        self.result.recv().expect("a helper that was called comes")
    }
}

/// Where helpers find the run to help with.
struct Lobby {
    job: Mutex<Option<Arc<dyn Job>>>,
    attention: Patience,
    /// Who expects to call helpers again soon.
    attended: AtomicUsize,
}

/// Between two runs for the same block a helper looks for a call for so long before it sleeps: a block's keys
/// are numbered, and what was torn is mended, in less.
const ATTENTION: Duration = Duration::from_micros(600);

impl Lobby {
    /// Waits for a call; `None` when the stage is over.
    fn next_call(&self, calls: &Receiver<Call>) -> Option<Call> {
        let is_attended = || self.attended.load(Ordering::Relaxed) > 0;
        let awake =
            is_attended().then(|| self.attention.look(|| calls.try_recv().ok(), is_attended));
        awake.flatten().or_else(|| calls.recv().ok())
    }
}

/// Keeps helpers awake from one run to the next, for a while, as waking one takes some 50 µs.
pub(crate) struct Attention<'s>(&'s Lobby);

impl Drop for Attention<'_> {
    fn drop(&mut self) {
        self.0.attended.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// Whether this thread is a worker of some run just now.
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
            // Before any thread keeps to one of them.
            LazyLock::force(&CORES);
        }
        // One call for each helper, though a channel without room would be a rendezvous.
        let (call, calls) = bounded(threads.max(2) - 1);
        let mut stage = Self {
            config,
            patience: Patience::for_threads(threads, PATIENCE),
            turnstile: Mutex::new(Scheduler::new(config.window)),
            lobby: Arc::new(Lobby {
                job: Mutex::default(),
                attention: Patience::for_threads(threads, ATTENTION),
                attended: AtomicUsize::new(0),
            }),
            call: Some(call),
            helpers: Vec::with_capacity(threads - 1),
        };
        for worker in 1..threads {
            let lobby = Arc::clone(&stage.lobby);
            let calls = calls.clone();
            let pinned = config.pinned;
            // On an error the stage is dropped, which ends the threads started so far.
            let helper = thread::Builder::new()
                .name(format!("banking-{worker}"))
                .spawn(move || {
                    if pinned {
                        pin_thread(worker);
                    }
                    help(worker, &lobby, &calls);
                })
                .map_err(|source| StartError::Spawn { worker, source })?;
            stage.helpers.push(helper);
        }
        Ok(stage)
    }

    /// Keeps the calling thread, if the stage is [pinned](StageConfig::pinned), to the core that no
    /// other thread of the stage has. For the thread that is to call [`run`](Self::run),
    /// once it has started all threads that are to use other cores: they begin with their maker's.
    pub fn pin_caller(&self) {
        if self.config.pinned {
            pin_thread(0);
        }
    }

    /// How the stage was made.
    pub const fn config(&self) -> StageConfig {
        self.config
    }

    /// Runs all tasks of a workload and gives the workload back.
    ///
    /// The calling thread takes part. If another thread's run is on, this one waits for it.
    ///
    /// The result does not depend on the number of threads or on timing, as far as the workload's
    /// tasks do not. On an error the workload is given back as the run has left it: all tasks in
    /// front of the failed one were run, some behind it too.
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
        let remains = self.run_tasks(workload, tasks);
        (remains.workload, remains.result.map_err(StageError::from))
    }

    /// Has a helper do some work while others run what is run meanwhile. `None` if all of them have been
    /// called, or there are none.
    pub(crate) fn aside<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Option<Aside<R>> {
        if self.helpers.is_empty() {
            return None;
        }
        let (done, result) = bounded(1);
        let work = move || {
            // If nobody wants to know any more, that is as well.
            let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
        };
        let call = self.call.as_ref().expect("it is taken on drop only");
        call.try_send(Call::Aside(Box::new(work))).ok()?;
        Some(Aside { result })
    }

    /// Says that several runs will follow each other.
    pub(crate) fn attend(&self) -> Attention<'_> {
        self.lobby.attended.fetch_add(1, Ordering::Relaxed);
        Attention(&self.lobby)
    }

    fn run_tasks<W: Workload>(&self, workload: W, tasks: usize) -> Remains<W> {
        let mut kept = self.turnstile.lock();
        let workload = Arc::new(workload);
        let call = self.call.as_ref().expect("it is taken on drop only");
        let run = Arc::new(Run::new(
            Arc::clone(&workload),
            tasks,
            std::mem::take(&mut *kept),
            self.config.threads.get(),
            self.patience,
            call.clone(),
        ));
        // A single task has nothing for helpers.
        let shared = !self.helpers.is_empty() && tasks > 1;
        if shared {
            *self.lobby.job.lock() = Some(Arc::clone(&run) as Arc<dyn Job>);
        }
        let mut remains = run.lead(workload);
        if shared {
            *self.lobby.job.lock() = None;
        }
        *kept = remains
            .scheduler
            .take()
            .unwrap_or_else(|| Scheduler::new(self.config.window));
        remains
    }
}

/// Keeps the calling thread to the core for this worker, among those that the process could use when
/// this was first asked for. Where that cannot be done, nothing happens: it makes nothing faster, and
/// nothing wrong.
///
/// A [pinned](StageConfig::pinned) stage does it for its own threads; this is for threads that are to be
/// compared with them.
pub fn pin_thread(worker: usize) {
    LazyLock::force(&PARALLELISM);
    if let Some(cores) = CORES.as_ref()
        && let Some(core) = cores.get(worker % cores.len().max(1))
    {
        core_affinity::set_for_current(*core);
    }
}

/// The cores the process could use when somebody first asked; a pinned thread sees its own only.
static CORES: LazyLock<Option<Vec<CoreId>>> = LazyLock::new(core_affinity::get_core_ids);

/// How many threads could run at the same time when somebody first asked; a pinned thread sees one core only.
pub(crate) static PARALLELISM: LazyLock<NonZeroUsize> =
    LazyLock::new(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));

/// The life of a helper: parked until called, then in whatever run is on.
fn help(worker: usize, lobby: &Lobby, calls: &Receiver<Call>) {
    let _membership = Membership::enter();
    while let Some(call) = lobby.next_call(calls) {
        let job = match call {
            Call::Aside(work) => {
                work();
                continue;
            }
            Call::Help => lobby.job.lock().clone(),
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
            // A helper itself may drop the last handle to its stage; it cannot wait for itself.
            if helper.thread().id() != thread::current().id() {
                // A panic on it was reported when it happened.
                let _ = helper.join();
            }
        }
    }
}

impl fmt::Debug for BankingStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BankingStage")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "tests.rs"]
mod tests;
