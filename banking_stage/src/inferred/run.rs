//! Blocks whose order is fixed and whose transactions declare nothing.
//!
//! Short ones run [in order](crate::sequential::run), while helpers look ahead. Of long ones this is about.
//!
//! First every transaction is looked at, on all workers: its access set follows from the transaction alone,
//! or from a template, or is found by [simulating](lockweave_runtime::simulation) it on the state before the
//! block. Then the keys of all sets are numbered, and the block runs under locks as any
//! other does, except that a simulation whose looks still hold when its locks are granted is taken
//! as the execution.
//!
//! If the first transactions of a long block turn out to be a chain, the block runs in order, and hardly any of
//! the others are looked at beforehand. If they show that many will wait for others, whoever infers
//! [is told](lockweave_runtime::Contention), as simulations would mostly be in vain.
//!
//! A set found so can be too small: the transaction reaches for a key it does not hold. If those behind it
//! who need that key have not begun, and those in front of it are done with it, it gets it
//! [at once](OpenBlock::keep_late_grants). Otherwise it stops without effect. It keeps its locks, so that
//! nobody runs who needs what it holds, and the others go on. When nobody can go on any more, with no run
//! on, those that left their sets are taken in block order:
//!
//! 1. the first of them, in front of which everything has run, runs **alone**, under a grant of
//!    everything, noting what it touches. Others do so too, but without effect, as it is not their turn;
//! 2. what was touched is their set from then on. If a transaction behind one of them, which did not seem
//!    to conflict, has run already and does conflict with that, then it is **rolled back**, and everything
//!    that depends on it, in reverse order, from undo records. Who has only credited an account that the
//!    first one needs has seen nothing of it: those credits are
//!    [taken off](lockweave_runtime::SuspendedCredits) while it runs, and put back behind it;
//! 3. the rest of the block goes on in parallel.
//!
//! A transaction that is still being [looked at](crate::inferred::deferred) when the block runs is left out of the
//! run, and its set is treated as one that was too small.
//!
//! **Why the result is serial.** Of two transactions whose sets conflict, the later never runs before
//! the earlier; where sets have grown, step 2 makes it so again. So a transaction can only have seen a
//! wrong state if one in front of it, not finished then, touched what it did not declare; that one runs
//! later, and step 2 finds the conflict. The lowest transaction that fails runs with everything in front
//! of it done, and nobody it conflicts with has run behind it, so a failure that is reported is real.
//!
//! **Why it is not slow.** Each time a parallel run comes to its end soon, twice as many transactions in
//! a row run alone before the next one begins, and fewer that left their sets end the next one. A block
//! in which every set is wrong therefore costs a simulation on all workers and a serial run.

use crate::{
    inferred::deferred::Aside,
    inferred::dependence::Pilot,
    inferred::repair::Torn,
    inferred::simulate::{Counters, Inferring},
    inferred::workload::InferredWorkload,
    locked::numbering::number,
    scheduler::stats::RunStats,
    sequential::run::Help,
    stage::batch::{ASIDE_COST, RUN_COST_DOUBTFUL, RUN_COST_SMALL},
    stage::error::StageError,
    stage::threads::BankingStage,
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, Infer, OpenBlock, TaskId,
};
use parking_lot::Mutex;
use std::{any::Any, cell::RefCell, sync::Arc, time::Duration};

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
    /// Transactions whose sets were known only after the others had run.
    pub late: usize,
    /// Transactions that got a key beyond their sets, as nobody had to wait for that.
    pub extended: usize,
    /// Transactions that left their sets.
    pub violations: usize,
    /// Transactions that were taken back.
    pub rolled_back: usize,
    /// Transactions that ran alone.
    pub alone: usize,
    /// Payments that ran without locks.
    pub payments: usize,
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
        finished: 0,
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

pub(crate) struct InferredRun<'s, T, E, I> {
    pub(crate) stage: &'s BankingStage,
    /// There but while its keys are being numbered.
    pub(crate) block: Option<Arc<OpenBlock<T>>>,
    pub(crate) make: Arc<Make<E, I>>,
    pub(crate) cost: fn(&T) -> u64,
    /// Transactions without an outcome that are to run next, in block order.
    pub(crate) pending: Vec<TaskId>,
    /// At least so many transactions have their outcome.
    pub(crate) finished: usize,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stats: InferredStats,
    /// The executors of the calling thread, for transactions that run alone.
    pub(crate) lone: Option<InferringWorker<E, I>>,
}

/// A run in which so many transactions left their sets goes no further; fewer, the more had to run alone
/// before.
const LEFT_MAX: usize = 8;

/// More transactions than this in a row are not run alone on account of one violation.
const ALONE_MAX: usize = 1 << 16;

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(&mut self) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        if self.run_as_payments()? {
            return Ok(());
        }
        let alone = self.stage.config().threads.get() == 1 || self.pending.len() < 2;
        let cost = if alone { 0 } else { self.cost_of_others() };
        if cost < RUN_COST_SMALL {
            return self.run_in_order(Help::None);
        }
        if self.pending.len() < self.stage.config().sequential_below {
            return self.run_in_order(if cost < RUN_COST_DOUBTFUL {
                Help::IfLong
            } else {
                Help::AtOnce
            });
        }
        let attention = self.stage.attend();
        let pilot = Arc::new(Pilot::of(self.pending.len()));
        let mut aside = self.look_aside(&pilot);
        self.infer(&pilot, aside.tasks())?;
        if pilot.is_chain() {
            drop((aside, attention));
            return self.run_in_order(Help::None);
        }
        aside.help(self.block(), &*self.make, &self.counters);
        self.number();
        self.leave_out(aside.missing())?;
        let mut alone = 1;
        while !(self.pending.is_empty() && aside.missing().is_empty()) {
            let pending = self.pending.len();
            let (mut left, failure) = self.run_in_parallel(alone)?;
            self.keep_late_grants()?;
            let late = aside.missing().to_vec();
            aside.wait(self.block())?;
            if let Some((task, source)) = failure {
                let is_first = late.first().is_none_or(|late| task < *late);
                if is_first && !matches!(source, ExecutionError::Access(AccessError::Undeclared(_)))
                {
                    return Err(StageError::Task { task, source });
                }
                // Otherwise it may have seen what it should not have seen, and is asked again.
            }
            if !left.is_empty() {
                let unfinished = self.unfinished(self.finished).count() - late.len();
                alone = if pending - unfinished > 4 * alone {
                    (alone / 2).max(1)
                } else {
                    (alone * 2).min(ALONE_MAX)
                };
            }
            self.stats.late += late.len();
            left.sort_unstable();
            self.mend(&Torn { left, late, alone })?;
        }
        Ok(())
    }

    /// Has the most expensive transactions looked at by helpers, beside all else.
    fn look_aside(&self, pilot: &Pilot) -> Aside {
        let block = self.block();
        let is_long = |task: &TaskId| {
            let transaction = &block.transactions()[task.index()].transaction;
            block.is_inferred(*task) && (self.cost)(transaction) >= ASIDE_COST
        };
        let long = (self.pending[pilot.tasks()..].iter().copied()).filter(is_long);
        let (make, counters) = (&self.make, &self.counters);
        Aside::begin(self.stage, block, make, counters, long.collect(), self.cost)
    }

    /// Leaves out of the next run those of whom nobody knows yet what they touch.
    fn leave_out(&mut self, late: &[TaskId]) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        for task in late {
            // Others count on it for the keys that it came with.
            self.block()
                .resolve(*task)
                .map_err(|error| StageError::Task {
                    task: *task,
                    source: ExecutionError::Access(AccessError::State(error)),
                })?;
        }
        (self.pending).retain(|task| late.binary_search(task).is_err());
        Ok(())
    }

    /// The gas limits of all but the longest transaction, or [`RUN_COST_DOUBTFUL`] if they come to more.
    fn cost_of_others(&self) -> u64 {
        let transactions = self.block().transactions().iter();
        let mut costs = transactions.map(|sanitized| (self.cost)(&sanitized.transaction));
        let (mut longest, mut others) = (0_u64, 0_u64);
        // Ends early if the others come to more.
        let is_less = costs.all(|cost| {
            others = others.saturating_add(cost.min(longest));
            longest = longest.max(cost);
            others < RUN_COST_DOUBTFUL
        });
        if is_less { others } else { RUN_COST_DOUBTFUL }
    }

    /// Finds out what all transactions touch but those that are looked at aside, or stops when the block turns
    /// out to be a chain.
    fn infer(
        &self,
        pilot: &Arc<Pilot>,
        aside: Arc<[TaskId]>,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let inferring = Inferring {
            block: Arc::clone(self.block()),
            pilot: Arc::clone(pilot),
            aside,
            make: Arc::clone(&self.make),
            cost: self.cost,
            counters: Arc::clone(&self.counters),
        };
        let (_, result) = self.stage.run(inferring);
        result.map_err(StageError::of_infallible)?;
        Ok(())
    }

    fn number(&mut self) {
        let block = self.take_block();
        self.block = Some(Arc::new(number(self.stage, block)));
    }

    /// The block, for somebody who gives it back.
    pub(crate) fn take_block(&mut self) -> OpenBlock<T> {
        let block = self.block.take().and_then(Arc::into_inner);
        block.expect("workers give their windows back")
    }

    /// Runs what is pending, as far as it goes: those that left their sets, and the first that failed.
    fn run_in_parallel(
        &mut self,
        alone: usize,
    ) -> Result<Run<E::Invalid>, StageError<ExecutionError<E::Invalid>>> {
        // Whoever ran alone on this thread is now one of the workers.
        if let Some((executor, inferrer)) = self.lone.take() {
            keep_executors(executor, inferrer);
        }
        let workload = InferredWorkload {
            block: Arc::clone(self.block()),
            order: std::mem::take(&mut self.pending),
            is_first: self.finished == 0,
            make: Arc::clone(&self.make),
            cost: self.cost,
            counters: Arc::clone(&self.counters),
            left: Mutex::default(),
            left_max: LEFT_MAX.div_ceil(alone),
        };
        let (workload, result) = self.stage.run(workload);
        let left = workload.left.into_inner();
        match result {
            Ok(run) => {
                self.stats.run.add(&run);
                Ok((left, None))
            }
            Err(StageError::Task { task, source }) => {
                Ok((left, Some((workload.order[task.index()], source))))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn block(&self) -> &Arc<OpenBlock<T>> {
        self.block.as_ref().expect("the keys are numbered by now")
    }
}

/// What a parallel run came to: who left its set, and the first that failed.
type Run<I> = (Vec<TaskId>, Option<(TaskId, ExecutionError<I>)>);
