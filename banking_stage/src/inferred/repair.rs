//! Repairs a block after a run, with no run on: transactions whose sets were wrong or not known are executed
//! alone, and what depends on them is rolled back.

// Reverts cells of a block on which no run is on.
#![allow(unsafe_code)]

use super::dependents::RunAhead;
use crate::{
    block::{
        AloneExecution, BlockError, BlockRun, InferringWorker, execute_alone, state_error,
        transaction,
    },
    stage::StageError,
};
use lockweave_runtime::{
    AccessEntry, AccessError, AccessSet, DenseId, ExecutionError, Executor, GrantedState, Infer,
    KeyId, SimulatedState, SuspendedCredits, TaskId, UndoRecord,
};
use std::{mem, sync::Arc};

/// A block with inferred sets, of which some transactions have run.
pub(crate) struct InferredState<'r, 's, T, E, I> {
    pub(crate) run: &'r mut BlockRun<'s, T, E, I>,
    /// Transactions without an outcome that are to run next, in block order.
    pub(crate) pending: Vec<TaskId>,
    /// At least so many transactions at the beginning of the block have their outcome.
    pub(crate) finished: usize,
}

impl<'r, 's, T, E: 'static, I: 'static> InferredState<'r, 's, T, E, I> {
    pub(crate) fn new(run: &'r mut BlockRun<'s, T, E, I>) -> Self {
        let transactions = run.block().transactions().len();
        Self {
            run,
            pending: (0..transactions).map(TaskId::from_index).collect(),
            finished: 0,
        }
    }

    /// The transactions without an outcome from a position on, in block order.
    pub(crate) fn unfinished(&self, first: usize) -> impl Iterator<Item = TaskId> {
        (first..self.run.block().transactions().len())
            .map(TaskId::from_index)
            .filter(|task| !self.run.block().is_finished(*task))
    }

    /// The position of the first transaction without an outcome; the length of the block if all have one.
    pub(crate) fn first_unfinished(&mut self) -> usize {
        let end = self.run.block().transactions().len();
        let first = self.unfinished(self.finished).next();
        self.finished = first.map_or(end, DenseId::index);
        self.finished
    }
}

/// What is to be repaired after a run.
pub(crate) struct RepairPlan {
    /// Transactions with an access violation, in block order.
    pub(crate) violators: Vec<TaskId>,
    /// Transactions whose sets were not known before the run and are known now, in block order.
    pub(crate) deferred: Vec<TaskId>,
    /// How many in a row are to be executed alone, from the first violator on.
    pub(crate) alone: usize,
}

impl<T, E, I> InferredState<'_, '_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    /// Rolls back every transaction that depends on one whose set was wrong or not known, and corrects these
    /// sets. What is then unfinished is pending.
    pub(crate) fn repair(&mut self, plan: &RepairPlan) -> Result<(), BlockError<E::Invalid>> {
        let first = self.first_unfinished();
        let mut run_ahead = RunAhead::new(self.run.block(), first);
        let mut tasks = [&*plan.violators, &*plan.deferred].concat();
        tasks.sort_unstable();
        let mut executors = self.run.take_executors();
        let repaired = (tasks.into_iter())
            .try_for_each(|task| self.repair_one(&mut executors, &mut run_ahead, task, plan));
        self.run.put_executors(executors);
        self.pending = self.unfinished(first).collect();
        repaired
    }

    fn repair_one(
        &mut self,
        (executor, inferrer): &mut InferringWorker<E, I>,
        run_ahead: &mut RunAhead,
        task: TaskId,
        plan: &RepairPlan,
    ) -> Result<(), BlockError<E::Invalid>> {
        if plan.deferred.binary_search(&task).is_ok() {
            let numbered = self.run.block_mut().number_deferred(task);
            numbered.map_err(|error| state_error(task, error))?;
            let dependents = run_ahead.take_dependents(self.run.block(), task);
            self.roll_back(dependents);
            return Ok(());
        }
        self.run.stats.violations += 1;
        self.reject_template(inferrer, task);
        if self.run.block().is_finished(task) {
            // It was executed alone, behind another one.
            return Ok(());
        }
        if task.index() == self.first_unfinished() {
            self.execute_alone_from(executor, run_ahead, task, plan)
        } else {
            let tried = self.try_alone(executor, run_ahead, task);
            tried.map_err(|source| StageError::Task { task, source })
        }
    }

    /// Adds late grants to the sets of their transactions.
    pub(crate) fn keep_late_grants(&mut self) -> Result<(), BlockError<E::Invalid>> {
        let first = TaskId::from_index(self.finished);
        let granted = self.run.block_mut().keep_late_grants();
        let granted = granted.map_err(|error| state_error(first, error))?;
        self.run.stats.late_grants += granted.len();
        let counters = &self.run.counters;
        if granted.iter().any(|task| counters.is_by_template(*task)) {
            let (executor, mut inferrer) = self.run.take_executors();
            for task in granted {
                self.reject_template(&mut inferrer, task);
            }
            self.run.put_executors((executor, inferrer));
        }
        Ok(())
    }

    /// If the set of a transaction came from a template, tells the inferrer not to use that template again.
    fn reject_template(&self, inferrer: &mut I, task: TaskId) {
        if self.run.counters.is_by_template(task) {
            let block = self.run.block();
            let mut state = SimulatedState::new(Arc::clone(block.cells().view()));
            inferrer.reject_template(transaction(block, task), &mut state);
        }
    }

    /// Executes a transaction in front of which everything is finished, and as many unfinished ones behind it
    /// as the plan says.
    fn execute_alone_from(
        &mut self,
        executor: &mut E,
        run_ahead: &mut RunAhead,
        first: TaskId,
        plan: &RepairPlan,
    ) -> Result<(), BlockError<E::Invalid>> {
        // Only transactions behind this one are ever rolled back because of it.
        let mut next = first.index();
        for _ in 0..plan.alone {
            let unfinished = self.unfinished(next).next();
            let is_known = |task: &TaskId| plan.deferred.binary_search(task).is_err();
            let Some(task) = unfinished.filter(is_known) else {
                break;
            };
            let executed = self.execute_alone(executor, run_ahead, task);
            executed.map_err(|source| StageError::Task { task, source })?;
            next = task.index() + 1;
        }
        Ok(())
    }

    /// Executes a transaction in front of which everything is finished.
    fn execute_alone(
        &mut self,
        executor: &mut E,
        run_ahead: &mut RunAhead,
        task: TaskId,
    ) -> Result<(), ExecutionError<E::Invalid>> {
        self.run.stats.executed_alone += 1;
        let mut suspended = SuspendedCredits::default();
        // Accounts whose credits by transactions behind this one are suspended.
        let mut without: Vec<KeyId> = Vec::new();
        let mut may_suspend = true;
        loop {
            let execution = self.execute_with_everything(executor, task);
            self.put_set(task, execution.touched)?;
            let block = self.run.block();
            let (dependents, credited) = if may_suspend {
                run_ahead.take_dependents_beyond_credits(block, task)
            } else {
                (run_ahead.take_dependents(block, task), Vec::new())
            };
            let saw_credits = credited.iter().any(|account| !without.contains(account));
            if dependents.is_empty() && !saw_credits {
                may_suspend = self.run.block_mut().can_put_back(&suspended);
                if may_suspend {
                    let block = self.run.block_mut();
                    block.put_back(suspended);
                    block.finish(task, execution.result?);
                    block.keep_undo(task, execution.undo);
                    return Ok(());
                }
            }
            self.revert(execution.undo);
            self.run.block_mut().put_back(mem::take(&mut suspended));
            self.roll_back(dependents);
            if may_suspend {
                without.extend(credited);
                let block = self.run.block_mut();
                suspended = block.suspend_credits(run_ahead.tasks(), &without);
            }
        }
    }

    /// Executes a transaction before its turn, without effect, to find what it touches now.
    fn try_alone(
        &mut self,
        executor: &mut E,
        run_ahead: &mut RunAhead,
        task: TaskId,
    ) -> Result<(), ExecutionError<E::Invalid>> {
        self.run.stats.executed_alone += 1;
        let execution = self.execute_with_everything(executor, task);
        self.revert(execution.undo);
        let mut touched = execution.touched;
        touched.extend_from_slice(self.run.block().access(task).entries());
        self.put_set(task, touched)?;
        let dependents = run_ahead.take_dependents(self.run.block(), task);
        self.roll_back(dependents);
        Ok(())
    }

    fn execute_with_everything(
        &mut self,
        executor: &mut E,
        task: TaskId,
    ) -> AloneExecution<E::Invalid> {
        execute_alone(self.run.shared_block_mut(), executor, task)
    }

    /// Makes what a transaction touched its set.
    fn put_set(&mut self, task: TaskId, touched: Vec<AccessEntry>) -> Result<(), AccessError> {
        let set = AccessSet::of_touches(touched);
        Ok(self.run.block_mut().replace_set(task, set)?)
    }

    /// Rolls transactions back, given in block order: all that have run and depend on one that has not.
    fn roll_back(&mut self, dependents: Vec<TaskId>) {
        self.run.stats.rolled_back += dependents.len();
        for task in dependents.into_iter().rev() {
            let record = self.run.block_mut().reopen(task);
            self.revert(record);
        }
    }

    fn revert(&self, record: UndoRecord) {
        let mut state = GrantedState::new(Arc::clone(self.run.block()));
        // SAFETY: no run is on, so no other thread uses the cells. Every transaction that ran after the
        // record was made and shares a key with it in a conflicting mode has been reverted before:
        // `roll_back` goes backwards.
        unsafe { state.revert(record) };
    }
}
