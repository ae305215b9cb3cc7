//! What is done about transactions that left their sets, with no run on.

// The caller's thread uses cells of a block on which no run is on.
#![allow(unsafe_code)]

use crate::{
    inferred::dependents::Ahead,
    inferred::run::{InferredRun, InferringWorker, last_executors},
    stage::error::StageError,
};
use lockweave_runtime::{
    AccessEntry, AccessError, AccessSet, DenseId, ExecutionError, Executor, GrantedState, Infer,
    KeyId, OpenBlock, Outcome, SimulatedState, SuspendedCredits, TaskId, UndoRecord,
};
use std::{mem, sync::Arc};

/// What is to be mended after a run.
pub(crate) struct Torn {
    /// Transactions that left their sets, in block order.
    pub(crate) left: Vec<TaskId>,
    /// Transactions whose sets were not known before the run and are known now, in block order.
    pub(crate) late: Vec<TaskId>,
    /// How many in a row are to run alone, from the first that left its set.
    pub(crate) alone: usize,
}

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    /// Sees to it that nobody has run who depends on a transaction whose set was wrong or not known,
    /// and that their sets are better now. What is then unfinished is pending.
    pub(crate) fn mend(
        &mut self,
        torn: &Torn,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let first = self.first_unfinished();
        let mut ahead = Ahead::new(self.block(), first);
        let mut tasks = [&*torn.left, &*torn.late].concat();
        tasks.sort_unstable();
        let mut lone = self.take_lone();
        let mended = (tasks.into_iter())
            .try_for_each(|task| self.mend_one(&mut lone, &mut ahead, task, torn));
        self.lone = Some(lone);
        self.pending = self.unfinished(first).collect();
        mended
    }

    fn mend_one(
        &mut self,
        lone: &mut InferringWorker<E, I>,
        ahead: &mut Ahead,
        task: TaskId,
        torn: &Torn,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let of = |error| StageError::Task {
            task,
            source: ExecutionError::Access(AccessError::State(error)),
        };
        if torn.late.binary_search(&task).is_ok() {
            self.block_mut().number_deferred(task).map_err(of)?;
            let stale = ahead.depending_on(self.block(), task);
            self.roll_back(stale);
            return Ok(());
        }
        self.stats.violations += 1;
        let (executor, inferrer) = lone;
        self.refute_template(inferrer, task);
        if self.block().is_finished(task) {
            // It has run alone, behind another one.
            return Ok(());
        }
        if task.index() == self.first_unfinished() {
            self.run_alone_from(executor, ahead, task, torn)
        } else {
            let source = self.try_alone(executor, ahead, task);
            source.map_err(|source| StageError::Task { task, source })
        }
    }

    /// Makes what transactions got beyond their sets part of these.
    pub(crate) fn keep_late_grants(
        &mut self,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let extended = self.block_mut().keep_late_grants();
        let extended = extended.map_err(|error| StageError::Task {
            task: TaskId::from_index(self.finished),
            source: ExecutionError::Access(AccessError::State(error)),
        })?;
        self.stats.extended += extended.len();
        if extended
            .iter()
            .any(|task| self.counters.is_by_template(*task))
        {
            let (executor, mut inferrer) = self.take_lone();
            for task in extended {
                self.refute_template(&mut inferrer, task);
            }
            self.lone = Some((executor, inferrer));
        }
        Ok(())
    }

    /// If the set of a transaction came from a template, sees to it that the
    /// template is not used again.
    fn refute_template(&self, inferrer: &mut I, task: TaskId) {
        if self.counters.is_by_template(task) {
            let mut state = SimulatedState::new(Arc::clone(self.block().cells().view()));
            let sanitized = &self.block().transactions()[task.index()];
            inferrer.refute(&sanitized.transaction, &mut state);
        }
    }

    /// Runs a transaction in front of which everything is finished, and as many unfinished ones behind it
    /// as are to run alone.
    fn run_alone_from(
        &mut self,
        executor: &mut E,
        ahead: &mut Ahead,
        first: TaskId,
        torn: &Torn,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        // Only what is behind a transaction is ever taken back because of it.
        let mut next = first.index();
        for _ in 0..torn.alone {
            let unfinished = self.unfinished(next).next();
            let Some(task) = unfinished.filter(|task| torn.late.binary_search(task).is_err())
            else {
                break;
            };
            let run = self.run_alone(executor, ahead, task);
            run.map_err(|source| StageError::Task { task, source })?;
            next = task.index() + 1;
        }
        Ok(())
    }

    /// Runs a transaction in front of which everything is finished.
    fn run_alone(
        &mut self,
        executor: &mut E,
        ahead: &mut Ahead,
        task: TaskId,
    ) -> Result<(), ExecutionError<E::Invalid>> {
        self.stats.alone += 1;
        let mut lifted = SuspendedCredits::default();
        // Accounts without the credits of those behind it.
        let mut without: Vec<KeyId> = Vec::new();
        let mut may_lift = true;
        loop {
            let run = self.run_with_everything(executor, task);
            self.put_set(task, run.touched)?;
            let (stale, credited) = if may_lift {
                ahead.depending_beyond_credits(self.block(), task)
            } else {
                (ahead.depending_on(self.block(), task), Vec::new())
            };
            let saw_credits = credited.iter().any(|account| !without.contains(account));
            if stale.is_empty() && !saw_credits {
                may_lift = self.block_mut().can_put_back(&lifted);
                if may_lift {
                    self.block_mut().put_back(lifted);
                    let outcome = run.result?;
                    let block = self.block_mut();
                    block.finish(task, outcome);
                    block.keep_undo(task, run.undo);
                    return Ok(());
                }
            }
            self.revert(run.undo);
            self.block_mut().put_back(mem::take(&mut lifted));
            self.roll_back(stale);
            if may_lift {
                without.extend(credited);
                lifted = self.block_mut().suspend_credits(ahead.tasks(), &without);
            }
        }
    }

    /// Runs a transaction before its turn, without effect, to see what it touches now.
    fn try_alone(
        &mut self,
        executor: &mut E,
        ahead: &mut Ahead,
        task: TaskId,
    ) -> Result<(), ExecutionError<E::Invalid>> {
        self.stats.alone += 1;
        let run = self.run_with_everything(executor, task);
        self.revert(run.undo);
        let mut touched = run.touched;
        touched.extend_from_slice(self.block().access(task).entries());
        self.put_set(task, touched)?;
        let stale = ahead.depending_on(self.block(), task);
        self.roll_back(stale);
        Ok(())
    }

    /// Makes what a transaction touched its set.
    fn put_set(&mut self, task: TaskId, touched: Vec<AccessEntry>) -> Result<(), AccessError> {
        let set = AccessSet::of_touches(touched);
        Ok(self.block_mut().replace_set(task, set)?)
    }

    /// Takes transactions back: all that have run and depend on one that has not, in block order.
    fn roll_back(&mut self, stale: Vec<TaskId>) {
        self.stats.rolled_back += stale.len();
        for task in stale.into_iter().rev() {
            let record = self.block_mut().reopen(task);
            self.revert(record);
        }
    }

    fn run_with_everything(&self, executor: &mut E, task: TaskId) -> LoneRun<E::Invalid> {
        let mut state = GrantedState::new(Arc::clone(self.block()));
        state.keep_undo();
        // SAFETY: no run is on and the block is this run's alone, so nobody else uses its cells.
        // What workers did to them is ordered before the end of their run.
        unsafe { state.enter_everything(task) };
        let transaction = &self.block().transactions()[task.index()].transaction;
        let result = executor.execute(transaction, &mut state);
        if !state.is_entered(self.block(), task) {
            // As in `block.rs`: the executor kept the window.
            std::process::abort();
        }
        state.leave();
        LoneRun {
            result,
            touched: mem::take(state.touched()),
            undo: state.take_undo(),
        }
    }

    fn revert(&self, record: UndoRecord) {
        let mut state = GrantedState::new(Arc::clone(self.block()));
        // SAFETY: no run is on, so nobody else uses the cells. Whatever ran after the record was made
        // and shares a key with it in a conflicting mode has been taken back before.
        unsafe { state.revert(record) };
    }

    pub(crate) fn unfinished(&self, first: usize) -> impl Iterator<Item = TaskId> {
        (first..self.block().transactions().len())
            .map(TaskId::from_index)
            .filter(|task| !self.block().is_finished(*task))
    }

    /// The first transaction without an outcome; if all have one, their number.
    fn first_unfinished(&mut self) -> usize {
        let end = self.block().transactions().len();
        let first = self.unfinished(self.finished).next();
        self.finished = first.map_or(end, DenseId::index);
        self.finished
    }

    /// The executors of the calling thread, to be put back.
    pub(crate) fn take_lone(&mut self) -> InferringWorker<E, I> {
        let make = &self.make;
        self.lone.take().unwrap_or_else(|| make(last_executors()))
    }

    pub(crate) fn block_mut(&mut self) -> &mut OpenBlock<T> {
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
