//! The inferred path: parallel runs, with repair between them.

use super::{
    deferred::Deferred,
    pilot::Pilot,
    repair::{InferredState, RepairPlan},
    simulate::infer_sets,
    workload::InferredWorkload,
};
use crate::{
    block::{BlockError, BlockRun, LONG_TRANSACTION_GAS, Progress, RunPath, state_error},
    locked::number,
    stage::StageError,
};
use lockweave_runtime::{
    AccessError, DenseId, ExecutionError, Executor, GrantedState, Infer, TaskId,
};
use parking_lot::Mutex;
use std::{mem, sync::Arc};

/// Infers the set of every transaction, and executes the block under locks.
pub(crate) struct InferredPath;

impl<T, E, I> RunPath<T, E, I> for InferredPath
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(self, run: &mut BlockRun<'_, T, E, I>) -> Result<Progress, BlockError<E::Invalid>> {
        let stage = run.stage;
        let keep_awake = stage.keep_helpers_awake();
        let pilot = Arc::new(Pilot::of(run.block().transactions().len()));
        let mut deferred = Deferred::begin(run, long_transactions(run, pilot.tasks()));
        infer_sets(run, &pilot, deferred.tasks())?;
        if pilot.is_chain() {
            drop((deferred, keep_awake));
            return Ok(Progress::IsChain);
        }
        deferred.help(run);
        let block = number(stage, run.take_block());
        run.put_block(Arc::new(block));
        InferredState::new(run).execute(&mut deferred)?;
        Ok(Progress::Done)
    }
}

/// The transactions behind the pilot that may take longer than all others together.
fn long_transactions<T, E: 'static, I: 'static>(
    run: &BlockRun<'_, T, E, I>,
    pilot: usize,
) -> Vec<TaskId> {
    let block = run.block();
    let is_long =
        |task: &TaskId| block.is_inferred(*task) && run.cost_of(*task) >= LONG_TRANSACTION_GAS;
    (pilot..block.transactions().len())
        .map(TaskId::from_index)
        .filter(is_long)
        .collect()
}

/// So many access violations end a parallel run; fewer, the more transactions had to be executed alone before.
const VIOLATORS_MAX: usize = 8;

/// No more transactions than this in a row are executed alone because of one violation.
const ALONE_MAX: usize = 1 << 16;

/// What came of a parallel run: the violators, and the first transaction that failed.
type ParallelRun<I> = (Vec<TaskId>, Option<(TaskId, ExecutionError<I>)>);

impl<T, E, I> InferredState<'_, '_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn execute(mut self, deferred: &mut Deferred) -> Result<(), BlockError<E::Invalid>> {
        self.leave_out(deferred.missing())?;
        let mut alone = 1;
        while !(self.pending.is_empty() && deferred.missing().is_empty()) {
            let pending = self.pending.len();
            let (mut violators, failure) = self.run_in_parallel(alone)?;
            self.keep_late_grants()?;
            let missing = deferred.missing().to_vec();
            deferred.wait(self.run.block())?;
            if let Some((task, source)) = failure {
                let is_first = missing.first().is_none_or(|missing| task < *missing);
                if is_first && !matches!(source, ExecutionError::Access(AccessError::Undeclared(_)))
                {
                    return Err(StageError::Task { task, source });
                }
                // Otherwise it may have seen a wrong state, and is executed again.
            }
            if !violators.is_empty() {
                let unfinished = self.unfinished(self.finished).count() - missing.len();
                alone = if pending - unfinished > 4 * alone {
                    (alone / 2).max(1)
                } else {
                    (alone * 2).min(ALONE_MAX)
                };
            }
            self.run.stats.deferred += missing.len();
            violators.sort_unstable();
            self.repair(&RepairPlan {
                violators,
                deferred: missing,
                alone,
            })?;
        }
        Ok(())
    }

    /// Leaves the transactions whose sets are not known yet out of the next run.
    fn leave_out(&mut self, missing: &[TaskId]) -> Result<(), BlockError<E::Invalid>> {
        for task in missing {
            // Others count on it for the keys of the set that it came with.
            let resolved = self.run.block().resolve(*task);
            resolved.map_err(|error| state_error(*task, error))?;
        }
        (self.pending).retain(|task| missing.binary_search(task).is_err());
        Ok(())
    }

    /// Runs what is pending, as far as it goes.
    fn run_in_parallel(
        &mut self,
        alone: usize,
    ) -> Result<ParallelRun<E::Invalid>, BlockError<E::Invalid>> {
        let run = &mut *self.run;
        run.release_executors();
        let workload = InferredWorkload {
            block: Arc::clone(run.block()),
            order: mem::take(&mut self.pending),
            is_first: self.finished == 0,
            make: Arc::clone(&run.make),
            cost: run.cost,
            counters: Arc::clone(&run.counters),
            violators: Mutex::default(),
            violators_max: VIOLATORS_MAX.div_ceil(alone),
        };
        let (workload, result) = run.stage.run(workload);
        let violators = workload.violators.into_inner();
        match result {
            Ok(stats) => {
                run.stats.run.add(&stats);
                Ok((violators, None))
            }
            Err(StageError::Task { task, source }) => {
                let task = workload.order[task.index()];
                Ok((violators, Some((task, source))))
            }
            Err(error) => Err(error),
        }
    }
}
