//! Blocks whose order is fixed and whose transactions declare nothing.
//!
//! Every transaction is [simulated](lockweave_runtime::simulation) on the state before the block, on
//! all workers, ahead of its turn; that gives its access set. Then the block runs under locks as any
//! other does, except that a simulation whose looks still hold when its locks are granted is taken
//! as the execution.
//!
//! A set found so can be too small: the transaction reaches for a key it does not hold and stops
//! without effect. Everything in front of it is then run to its end, and nothing else; from there
//!
//! 1. the transaction runs **alone**, under a grant of everything, noting what it touches;
//! 2. if a transaction behind it, which did not seem to conflict, has run already and does conflict
//!    with what was touched, then it is **rolled back**, and everything that depends on it, in reverse
//!    order, from undo records; and the one that ran alone is taken back too and runs again;
//! 3. the rest of the block goes on in parallel.
//!
//! **Why the result is serial.** Of two transactions whose sets conflict, the later never runs before
//! the earlier. So a transaction can only have seen a wrong state if one in front of it, not finished
//! then, touched what it did not declare; that one runs alone later, and step 2 finds the conflict.
//! The lowest transaction that fails runs with everything in front of it done, and its failure is
//! checked against what has run behind it in the same way, so a failure that is reported is real.
//!
//! **Why it is not slow.** Each time a parallel run is cut short soon, twice as many transactions in
//! a row run alone before the next one begins. A block in which every set is wrong therefore costs a
//! simulation on all workers and a serial run.

// The caller's thread uses cells of a block on which no run is on.
#![allow(unsafe_code)]

use crate::{
    error::StageError, grant::Grant, lock_table::Access, stage::BankingStage, stats::RunStats,
    workload::Workload,
};
use ahash::AHashMap;
use lockweave_runtime::{
    AccessEntry, AccessError, AccessMode, AccessSet, DenseId, ExecutionError, Executor,
    GrantedState, INFERRED_KEYS_MAX, Infer, Inference, KeyId, OpenBlock, Outcome, RecentKeys,
    SimulatedState, StateError, StateKey, TaskId, UndoRecord,
};
use std::{
    any::Any,
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What running a block with inferred sets came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InferredStats {
    /// Sets that follow from the transaction alone.
    pub known: usize,
    /// Sets found by template.
    pub by_template: usize,
    /// Sets found by a simulation, usable as an execution or not.
    pub by_simulation: usize,
    /// Simulations that were taken as executions.
    pub simulations_taken: usize,
    /// Transactions that left their sets.
    pub violations: usize,
    /// Transactions that were taken back.
    pub rolled_back: usize,
    /// Transactions that ran alone.
    pub alone: usize,
    /// Time spent on inference, all workers together.
    pub inference: Duration,
    /// The parallel runs that went to their end, together.
    pub run: RunStats,
}

/// The executors of one worker: one for the locks, one for simulating.
pub type InferringWorker<E, I> = (E, I);

/// Runs all transactions of a block [opened to be inferred](OpenBlock::to_infer).
///
/// `make` gives every worker its executors, and is handed those its thread used last. With one
/// worker there is nothing to infer for, and everything runs alone.
///
/// On an error, everything in front of the transaction that failed has an outcome.
pub fn execute_inferred_block<T, E, I>(
    stage: &BankingStage,
    block: OpenBlock<T>,
    make: impl Fn(Option<InferringWorker<E, I>>) -> InferringWorker<E, I> + Send + Sync + 'static,
    cost: fn(&T) -> u64,
) -> (OpenBlock<T>, InferredResult<E::Invalid>)
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    let tasks = block.transactions().len();
    let pending = (0..tasks).map(TaskId::from_index).collect();
    let counters = Counters {
        by_template_of: (0..tasks).map(|_| AtomicBool::new(false)).collect(),
        ..Counters::default()
    };
    let mut run = InferredRun {
        stage,
        block: Arc::new(block),
        make: Arc::new(make),
        cost,
        pending,
        counters: Arc::new(counters),
        stats: InferredStats::default(),
        lone: None,
    };
    let result = run.run();
    let InferredRun {
        block,
        lone,
        counters,
        mut stats,
        ..
    } = run;
    if let Some(lone) = lone {
        EXECUTORS.set(Some(Box::new(lone)));
    }
    counters.add_to(&mut stats);
    let block = Arc::into_inner(block).expect("workers give their windows back");
    (block, result.map(|()| stats))
}

/// What a run of a block with inferred sets came to.
pub type InferredResult<I> = Result<InferredStats, StageError<ExecutionError<I>>>;

thread_local! {
    /// The executors this thread used last.
    static EXECUTORS: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

fn last_executors<E: 'static, I: 'static>() -> Option<InferringWorker<E, I>> {
    let last = EXECUTORS.with_borrow_mut(Option::take)?;
    last.downcast().ok().map(|last| *last)
}

type Make<E, I> = dyn Fn(Option<InferringWorker<E, I>>) -> InferringWorker<E, I> + Send + Sync;

/// What workers count and note.
#[derive(Debug, Default)]
struct Counters {
    /// Whether the set of a transaction came from a template.
    by_template_of: Box<[AtomicBool]>,
    known: AtomicUsize,
    by_template: AtomicUsize,
    by_simulation: AtomicUsize,
    simulations_taken: AtomicUsize,
    inference_nanoseconds: AtomicU64,
}

impl Counters {
    fn add_to(&self, stats: &mut InferredStats) {
        stats.known += self.known.load(Ordering::Relaxed);
        stats.by_template += self.by_template.load(Ordering::Relaxed);
        stats.by_simulation += self.by_simulation.load(Ordering::Relaxed);
        stats.simulations_taken += self.simulations_taken.load(Ordering::Relaxed);
        let nanoseconds = self.inference_nanoseconds.load(Ordering::Relaxed);
        stats.inference += Duration::from_nanos(nanoseconds);
    }
}

struct InferredRun<'s, T, E, I> {
    stage: &'s BankingStage,
    block: Arc<OpenBlock<T>>,
    make: Arc<Make<E, I>>,
    cost: fn(&T) -> u64,
    /// Transactions without an outcome, in block order.
    pending: Vec<TaskId>,
    counters: Arc<Counters>,
    stats: InferredStats,
    /// The executors of the calling thread, for transactions that run alone.
    lone: Option<InferringWorker<E, I>>,
}

/// More transactions than this in a row are not run alone on account of one violation.
const ALONE_MAX: usize = 1 << 16;

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        if self.stage.config().threads.get() == 1 {
            return self.run_first_alone(self.pending.len());
        }
        let mut alone = 1;
        while !self.pending.is_empty() {
            let cut = match self.run_in_parallel() {
                Ok(()) => return Ok(()),
                Err(StageError::Task { task, source }) => match source {
                    ExecutionError::Access(AccessError::Undeclared(_)) => task.index(),
                    source => {
                        let task = self.pending[task.index()];
                        return Err(StageError::Task { task, source });
                    }
                },
                Err(error) => return Err(error),
            };
            self.stats.violations += 1;
            // The one that was stopped has not run; those in front of it have.
            self.pending.drain(..cut);
            self.refute_template();
            alone = if cut > 4 * alone {
                (alone / 2).max(1)
            } else {
                (alone * 2).min(ALONE_MAX)
            };
            self.run_first_alone(alone)?;
        }
        Ok(())
    }

    /// If the set that the first pending transaction left came from a template, sees to it that the
    /// template is not used again.
    fn refute_template(&mut self) {
        let Some(task) = self.pending.first().map(|task| task.index()) else {
            return;
        };
        if !self.counters.by_template_of[task].load(Ordering::Relaxed) {
            return;
        }
        let make = &self.make;
        let (executor, mut inferrer) = self.lone.take().unwrap_or_else(|| make(last_executors()));
        let mut state = SimulatedState::new(Arc::clone(&self.block));
        inferrer.refute(&self.block.transactions()[task].transaction, &mut state);
        self.lone = Some((executor, inferrer));
    }

    fn run_in_parallel(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        // Whoever ran alone on this thread is now one of the workers.
        if let Some(lone) = self.lone.take() {
            EXECUTORS.set(Some(Box::new(lone)));
        }
        let workload = InferredWorkload {
            block: Arc::clone(&self.block),
            order: std::mem::take(&mut self.pending),
            make: Arc::clone(&self.make),
            cost: self.cost,
            counters: Arc::clone(&self.counters),
        };
        let (workload, result) = self.stage.run(workload);
        self.pending = workload.order;
        result.map(|run| self.stats.run.add(&run))
    }

    /// Runs the first `count` unfinished transactions, one after another, with nobody beside them;
    /// what is then unfinished is pending.
    fn run_first_alone(
        &mut self,
        count: usize,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let Some(first) = self.pending.first().map(|task| task.index()) else {
            return Ok(());
        };
        let make = &self.make;
        let (mut executor, inferrer) = self.lone.take().unwrap_or_else(|| make(last_executors()));
        let mut result = Ok(());
        let mut ahead = Ahead::new(&self.block, first);
        // Only what is behind a transaction is ever taken back because of it.
        let mut next = first;
        for _ in 0..count {
            let Some(task) = self.unfinished(next).next() else {
                break;
            };
            if let Err(source) = self.run_alone(&mut executor, &mut ahead, task) {
                result = Err(StageError::Task { task, source });
                break;
            }
            next = task.index() + 1;
        }
        self.lone = Some((executor, inferrer));
        self.pending = self.unfinished(first).collect();
        result
    }

    fn unfinished(&self, first: usize) -> impl Iterator<Item = TaskId> {
        (first..self.block.transactions().len())
            .map(TaskId::from_index)
            .filter(|task| !self.block.is_finished(*task))
    }

    /// Runs a transaction in front of which everything is finished.
    fn run_alone(
        &mut self,
        executor: &mut E,
        ahead: &mut Ahead,
        task: TaskId,
    ) -> Result<(), ExecutionError<E::Invalid>> {
        self.stats.alone += 1;
        self.block_mut()
            .replace_set(task, AccessSet::Everything)
            .map_err(AccessError::State)?;
        loop {
            let run = self.run_with_everything(executor, task);
            let touched = AccessSet::build(|set| {
                for entry in run.touched {
                    set.insert(entry.key, entry.mode);
                }
            });
            // More than a set can name is everything.
            let touched = touched.unwrap_or(AccessSet::Everything);
            self.block_mut()
                .replace_set(task, touched)
                .map_err(AccessError::State)?;
            let stale = ahead.depending_on(&self.block, task);
            if stale.is_empty() {
                let outcome = run.result?;
                let block = self.block_mut();
                block.finish(task, outcome);
                block.keep_undo(task, run.undo);
                return Ok(());
            }
            self.revert(run.undo);
            self.stats.rolled_back += stale.len();
            for task in stale.into_iter().rev() {
                let record = self.block_mut().reopen(task);
                self.revert(record);
            }
            self.block_mut()
                .replace_set(task, AccessSet::Everything)
                .map_err(AccessError::State)?;
        }
    }

    fn run_with_everything(&self, executor: &mut E, task: TaskId) -> LoneRun<E::Invalid> {
        let mut state = GrantedState::new(Arc::clone(&self.block));
        state.keep_undo();
        // SAFETY: no run is on and the block is this run's alone, so nobody else uses its cells.
        // What workers did to them is ordered before the end of their run.
        unsafe { state.enter(task) };
        let transaction = &self.block.transactions()[task.index()].transaction;
        let result = executor.execute(transaction, &mut state);
        if !state.is_entered(&self.block, task) {
            // As in `block.rs`: the executor kept the window.
            std::process::abort();
        }
        state.leave();
        LoneRun {
            result,
            touched: state.take_touched(),
            undo: state.take_undo(),
        }
    }

    fn revert(&self, record: UndoRecord) {
        let mut state = GrantedState::new(Arc::clone(&self.block));
        // SAFETY: no run is on, so nobody else uses the cells. Whatever ran after the record was made
        // and shares a key with it in a conflicting mode has been taken back before.
        unsafe { state.revert(record) };
    }

    fn block_mut(&mut self) -> &mut OpenBlock<T> {
        Arc::get_mut(&mut self.block).expect("no run is on, and windows are given back")
    }
}

/// What running a transaction alone has shown.
struct LoneRun<I: std::error::Error> {
    result: Result<Outcome, ExecutionError<I>>,
    touched: Vec<AccessEntry>,
    undo: UndoRecord,
}

/// The transactions that have run although one in front of them has not.
struct Ahead {
    /// In block order.
    tasks: Vec<TaskId>,
    /// The union of what they hold: if nothing conflicts with it, none of them needs a look.
    keys: HeldKeys,
}

impl Ahead {
    fn new<T>(block: &OpenBlock<T>, first: usize) -> Self {
        let tasks: Vec<_> = (first..block.transactions().len())
            .map(TaskId::from_index)
            .filter(|task| block.is_finished(*task))
            .collect();
        let mut keys = HeldKeys::default();
        for task in &tasks {
            keys.add(block, *task);
        }
        Self { tasks, keys }
    }

    /// Takes out those behind `task` that conflict with what it holds, or with one that does, and so
    /// on; in block order.
    fn depending_on<T>(&mut self, block: &OpenBlock<T>, task: TaskId) -> Vec<TaskId> {
        let behind = self.tasks.partition_point(|ahead| *ahead <= task);
        self.tasks.drain(..behind);
        if self.tasks.is_empty() || !self.keys.conflicts_with(block, task) {
            return Vec::new();
        }
        let mut changed = HeldKeys::default();
        changed.add(block, task);
        let stale: Vec<_> = (self.tasks.iter().copied())
            .filter(|ahead| {
                let depends = changed.conflicts_with(block, *ahead);
                if depends {
                    changed.add(block, *ahead);
                }
                depends
            })
            .collect();
        self.tasks
            .retain(|ahead| stale.binary_search(ahead).is_err());
        stale
    }
}

/// Keys held by some transactions, each in the weakest mode that allows all that they do.
#[derive(Default)]
struct HeldKeys {
    modes: AHashMap<KeyId, AccessMode>,
    everything: bool,
}

impl HeldKeys {
    fn add<T>(&mut self, block: &OpenBlock<T>, task: TaskId) {
        match block.resolved(task) {
            None => self.everything = true,
            Some(keys) => {
                for access in keys {
                    let mode = self.modes.entry(access.key).or_insert(access.mode);
                    *mode = mode.union(access.mode);
                }
            }
        }
    }

    fn conflicts_with<T>(&self, block: &OpenBlock<T>, task: TaskId) -> bool {
        match block.resolved(task) {
            None => true,
            Some(keys) => {
                self.everything
                    || keys.iter().any(|access| {
                        let held = self.modes.get(&access.key);
                        held.is_some_and(|held| !held.is_compatible_with(access.mode))
                    })
            }
        }
    }
}

/// What is pending of the block, under locks.
struct InferredWorkload<T, E, I> {
    block: Arc<OpenBlock<T>>,
    /// The stage's tasks are positions in this list.
    order: Vec<TaskId>,
    make: Arc<Make<E, I>>,
    cost: fn(&T) -> u64,
    counters: Arc<Counters>,
}

/// A worker's executors, and its windows onto the block.
struct WorkerState<T, E, I> {
    executor: E,
    inferrer: I,
    state: GrantedState<T>,
    early: SimulatedState<T>,
    recent: RecentKeys<StateKey>,
    known: usize,
    by_template: usize,
    by_simulation: usize,
    simulations_taken: usize,
    inference: Duration,
}

impl<T, E, I> InferredWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    I: Infer<T>,
{
    fn infer(&self, worker: &mut WorkerState<T, E, I>, task: TaskId) -> Result<(), StateError> {
        let start = Instant::now();
        let sanitized = &self.block.transactions()[task.index()];
        worker.early.clear();
        for entry in sanitized.access.entries() {
            // A first idea says which keys, and not what is done with them.
            worker.early.expect(entry.key, AccessMode::Read)?;
        }
        let inference = worker
            .inferrer
            .infer(&sanitized.transaction, &mut worker.early)?;
        match &inference {
            Inference::Known => worker.known += 1,
            Inference::Template { .. } => {
                worker.by_template += 1;
                self.counters.by_template_of[task.index()].store(true, Ordering::Relaxed);
            }
            Inference::Simulated(_) | Inference::Assumed => worker.by_simulation += 1,
        }
        worker.early.conclude(task, inference, INFERRED_KEYS_MAX);
        worker.inference += start.elapsed();
        Ok(())
    }
}

impl<T, E, I> Workload for InferredWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    type Worker = WorkerState<T, E, I>;
    type Error = ExecutionError<E::Invalid>;

    fn tasks(&self) -> usize {
        self.order.len()
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        let (executor, inferrer) = (self.make)(last_executors());
        let mut state = GrantedState::new(Arc::clone(&self.block));
        state.keep_undo();
        WorkerState {
            executor,
            inferrer,
            state,
            early: SimulatedState::new(Arc::clone(&self.block)),
            recent: RecentKeys::default(),
            known: 0,
            by_template: 0,
            by_simulation: 0,
            simulations_taken: 0,
            inference: Duration::ZERO,
        }
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        let add = |counter: &AtomicUsize, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.counters.known, worker.known);
        add(&self.counters.by_template, worker.by_template);
        add(&self.counters.by_simulation, worker.by_simulation);
        add(&self.counters.simulations_taken, worker.simulations_taken);
        let nanoseconds = u64::try_from(worker.inference.as_nanos()).unwrap_or(u64::MAX);
        self.counters
            .inference_nanoseconds
            .fetch_add(nanoseconds, Ordering::Relaxed);
        EXECUTORS.set(Some(Box::new((worker.executor, worker.inferrer))));
    }

    fn prepare(&self, worker: &mut Self::Worker, position: TaskId) -> Result<(), Self::Error> {
        let task = self.order[position.index()];
        let prepared = if self.block.is_resolved(task) {
            Ok(())
        } else if self.block.is_inferred(task) {
            self.infer(worker, task)
        } else {
            self.block.resolve(&mut worker.recent, task)
        };
        prepared.map_err(|error| ExecutionError::Access(AccessError::State(error)))
    }

    #[inline]
    fn access(&self, position: TaskId) -> Access<'_> {
        self.block
            .resolved(self.order[position.index()])
            .map_or(Access::Everything, Access::Keys)
    }

    #[inline]
    fn cost(&self, position: TaskId) -> u64 {
        let task = self.order[position.index()];
        self.block
            .gas_seen(task)
            .unwrap_or_else(|| (self.cost)(&self.block.transactions()[task.index()].transaction))
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error> {
        let task = self.order[grant.task().index()];
        // SAFETY: the stage made the grant after every key that `access` names was granted, and
        // releases them after this function returned. The block is this workload's alone, so all
        // who enter it hold grants of this one run; a release and the next grant of a key are
        // ordered by the scheduler's lock. `order` names no transaction twice.
        unsafe { worker.state.enter(task) };
        let result = if let Some(outcome) = worker.state.apply_simulation() {
            worker.simulations_taken += 1;
            Ok(outcome)
        } else {
            let transaction = &self.block.transactions()[task.index()].transaction;
            worker.executor.execute(transaction, &mut worker.state)
        };
        if !worker.state.is_entered(&self.block, task) {
            // As in `block.rs`: the executor kept the window.
            std::process::abort();
        }
        worker.state.leave();
        let undo = worker.state.take_undo();
        self.block.finish(task, result?);
        self.block.keep_undo(task, undo);
        Ok(())
    }
}
