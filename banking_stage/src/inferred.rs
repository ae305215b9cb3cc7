//! Blocks whose order is fixed and whose transactions declare nothing.
//!
//! First every transaction is looked at, on all workers: its access set follows from the transaction alone,
//! or from a template, or is found by [simulating](lockweave_runtime::simulation) it on the state before the
//! block. Then the keys of all sets are numbered, and the block runs under locks as any
//! other does, except that a simulation whose looks still hold when its locks are granted is taken
//! as the execution.
//!
//! If the first transactions of a long block turn out to be a chain, the block runs in order, and nobody
//! looks at the others beforehand.
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
    ahead::Ahead,
    batch::RUN_COST_SMALL,
    dependence::Dependence,
    error::StageError,
    grant::Grant,
    inference::{Counters, Inferring},
    lock_table::Access,
    numbering::number,
    stage::BankingStage,
    stats::RunStats,
    workload::Workload,
};
use lockweave_runtime::{
    AccessEntry, AccessError, AccessSet, DenseId, ExecutionError, Executor, GrantedState, Infer,
    OpenBlock, Outcome, SimulatedState, TaskId, UndoRecord,
};
use std::{
    any::Any,
    cell::RefCell,
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
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
    let mut run = InferredRun {
        stage,
        block: Some(Arc::new(block)),
        make: Arc::new(make),
        cost,
        pending,
        inferred: 0,
        counters: Arc::new(Counters::new(tasks)),
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
    if let Some((executor, inferrer)) = lone {
        keep_executors(executor, inferrer);
    }
    counters.add_to(&mut stats);
    let block = block.and_then(Arc::into_inner);
    let block = block.expect("workers give their windows back");
    (block, result.map(|()| stats))
}

/// What a run of a block with inferred sets came to.
pub type InferredResult<I> = Result<InferredStats, StageError<ExecutionError<I>>>;

thread_local! {
    /// The executors this thread used last.
    static EXECUTORS: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

pub(crate) fn last_executors<E: 'static, I: 'static>() -> Option<InferringWorker<E, I>> {
    let last = EXECUTORS.with_borrow_mut(Option::take)?;
    last.downcast().ok().map(|last| *last)
}

pub(crate) type Make<E, I> =
    dyn Fn(Option<InferringWorker<E, I>>) -> InferringWorker<E, I> + Send + Sync;

/// Keeps executors for this thread's next run.
pub(crate) fn keep_executors<E: 'static, I: 'static>(executor: E, inferrer: I) {
    EXECUTORS.set(Some(Box::new((executor, inferrer))));
}

struct InferredRun<'s, T, E, I> {
    stage: &'s BankingStage,
    /// There but while its keys are being numbered.
    block: Option<Arc<OpenBlock<T>>>,
    make: Arc<Make<E, I>>,
    cost: fn(&T) -> u64,
    /// Transactions without an outcome, in block order.
    pending: Vec<TaskId>,
    /// The sets of so many transactions are inferred.
    inferred: usize,
    counters: Arc<Counters>,
    stats: InferredStats,
    /// The executors of the calling thread, for transactions that run alone.
    lone: Option<InferringWorker<E, I>>,
}

/// So many transactions are inferred first, to see whether it is worth while for the others.
const PILOT: usize = 512;
/// In shorter blocks it makes no difference.
const PILOT_BLOCK_MIN: usize = 4 * PILOT;

/// More transactions than this in a row are not run alone on account of one violation.
const ALONE_MAX: usize = 1 << 16;

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        if self.stage.config().threads.get() == 1 || self.is_small() || self.is_chain()? {
            return self.run_in_order();
        }
        self.infer(self.inferred..self.pending.len())?;
        self.number();
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

    /// Whether all is over before a helper that was woken would have begun.
    fn is_small(&self) -> bool {
        let transactions = self.block().transactions().iter();
        let mut costs = transactions.map(|sanitized| (self.cost)(&sanitized.transaction));
        let mut left = RUN_COST_SMALL;
        // Ends early if there is no more left.
        costs.all(|cost| {
            left = left.saturating_sub(cost);
            left > 0
        })
    }

    /// Whether the first transactions of a long block say that there is nothing to be won by running it
    /// side by side.
    fn is_chain(&mut self) -> Result<bool, StageError<ExecutionError<E::Invalid>>> {
        if self.pending.len() < PILOT_BLOCK_MIN {
            return Ok(false);
        }
        self.infer(0..PILOT)?;
        self.inferred = PILOT;
        Ok(Dependence::of_first(self.block(), PILOT, self.cost).is_chain())
    }

    /// Finds out what these transactions touch.
    fn infer(&mut self, tasks: Range<usize>) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let inferring = Inferring {
            block: Arc::clone(self.block()),
            tasks,
            make: Arc::clone(&self.make),
            cost: self.cost,
            counters: Arc::clone(&self.counters),
        };
        let (_, result) = self.stage.run(inferring);
        result.map_err(StageError::of_infallible)?;
        Ok(())
    }

    fn number(&mut self) {
        let block = self.block.take().and_then(Arc::into_inner);
        let block = block.expect("workers give their windows back");
        self.block = Some(Arc::new(number(self.stage, block)));
    }

    /// Runs all transactions one after another on this thread, before any other has run.
    fn run_in_order(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let make = &self.make;
        let (mut executor, inferrer) = self.lone.take().unwrap_or_else(|| make(last_executors()));
        let mut state = GrantedState::new(Arc::clone(self.block()));
        let mut result = Ok(());
        let mut done = 0;
        for task in &self.pending {
            // SAFETY: no run is on and the block is this run's alone, so nobody else uses its cells.
            // What workers did to them is ordered before the end of their run.
            unsafe { state.enter_everything(*task) };
            let transaction = &self.block().transactions()[task.index()].transaction;
            let outcome = executor.execute(transaction, &mut state);
            if !state.is_entered(self.block(), *task) {
                // As in `block.rs`: the executor kept the window.
                std::process::abort();
            }
            state.leave();
            self.block().note_touched(*task, state.touched());
            match outcome {
                Ok(outcome) => self.block().finish(*task, outcome),
                Err(source) => {
                    result = Err(StageError::Task {
                        task: *task,
                        source,
                    });
                    break;
                }
            }
            done += 1;
        }
        self.lone = Some((executor, inferrer));
        self.stats.alone += done;
        self.stats.run.add(&RunStats {
            tasks: done,
            executed: vec![done],
            ..RunStats::default()
        });
        result
    }

    /// If the set that the first pending transaction left came from a template, sees to it that the
    /// template is not used again.
    fn refute_template(&mut self) {
        let Some(task) = self.pending.first().copied() else {
            return;
        };
        if !self.counters.is_by_template(task) {
            return;
        }
        let make = &self.make;
        let (executor, mut inferrer) = self.lone.take().unwrap_or_else(|| make(last_executors()));
        let mut state = SimulatedState::new(Arc::clone(self.block()));
        let sanitized = &self.block().transactions()[task.index()];
        inferrer.refute(&sanitized.transaction, &mut state);
        self.lone = Some((executor, inferrer));
    }

    fn run_in_parallel(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        // Whoever ran alone on this thread is now one of the workers.
        if let Some((executor, inferrer)) = self.lone.take() {
            keep_executors(executor, inferrer);
        }
        let workload = InferredWorkload {
            block: Arc::clone(self.block()),
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
        let mut ahead = Ahead::new(self.block(), first);
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
        (first..self.block().transactions().len())
            .map(TaskId::from_index)
            .filter(|task| !self.block().is_finished(*task))
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
            let stale = ahead.depending_on(self.block(), task);
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
        let mut state = GrantedState::new(Arc::clone(self.block()));
        state.keep_undo();
        // SAFETY: no run is on and the block is this run's alone, so nobody else uses its cells.
        // What workers did to them is ordered before the end of their run.
        unsafe { state.enter(task) };
        let transaction = &self.block().transactions()[task.index()].transaction;
        let result = executor.execute(transaction, &mut state);
        if !state.is_entered(self.block(), task) {
            // As in `block.rs`: the executor kept the window.
            std::process::abort();
        }
        state.leave();
        LoneRun {
            result,
            touched: std::mem::take(state.touched()),
            undo: state.take_undo(),
        }
    }

    fn revert(&self, record: UndoRecord) {
        let mut state = GrantedState::new(Arc::clone(self.block()));
        // SAFETY: no run is on, so nobody else uses the cells. Whatever ran after the record was made
        // and shares a key with it in a conflicting mode has been taken back before.
        unsafe { state.revert(record) };
    }

    fn block(&self) -> &Arc<OpenBlock<T>> {
        self.block.as_ref().expect("the keys are numbered by now")
    }

    fn block_mut(&mut self) -> &mut OpenBlock<T> {
        let block = self.block.as_mut().and_then(Arc::get_mut);
        block.expect("no run is on, and windows are given back")
    }
}

/// What running a transaction alone has shown.
struct LoneRun<I: std::error::Error> {
    result: Result<Outcome, ExecutionError<I>>,
    touched: Vec<AccessEntry>,
    undo: UndoRecord,
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

/// A worker's executors, and its window onto the block.
struct WorkerState<T, E, I> {
    executor: E,
    inferrer: I,
    state: GrantedState<T>,
    simulations_taken: usize,
}

impl<T, E, I> Workload for InferredWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
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
            simulations_taken: 0,
        }
    }

    fn retire(&self, _worker: usize, worker: Self::Worker) {
        let taken = &self.counters.simulations_taken;
        taken.fetch_add(worker.simulations_taken, Ordering::Relaxed);
        keep_executors(worker.executor, worker.inferrer);
    }

    fn announce(&self, _worker: &mut Self::Worker, positions: Range<usize>) {
        // At first all are pending; later most cells are filled.
        if self.order.len() == self.block.transactions().len() {
            self.block.prefetch(positions);
        }
    }

    fn prepare(&self, _worker: &mut Self::Worker, position: TaskId) -> Result<(), Self::Error> {
        let resolved = self.block.resolve(self.order[position.index()]);
        resolved.map_err(|error| ExecutionError::Access(AccessError::State(error)))
    }

    #[inline]
    fn access(&self, position: TaskId) -> Access<'_> {
        self.block
            .contended(self.order[position.index()])
            .map_or(Access::Everything, Access::Keys)
    }

    #[inline]
    fn is_free(&self, position: TaskId) -> bool {
        self.block.is_free(self.order[position.index()])
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
        let memory = self.block.keep_undo(task, undo);
        worker.state.reuse_undo(memory);
        Ok(())
    }
}
