//! The payments path.

use super::workload::execute_payments;
use crate::{
    block::{BlockError, BlockRun, InferredStats, Progress, RunPath},
    plan::Prefetch,
    sequential::SequentialPath,
};
use lockweave_runtime::{Executor, GrantedState, Infer};
use std::ops::Range;

/// Executes payments without locks, and what stands in front of them and behind sequentially.
pub(crate) struct PaymentsPath {
    /// Which transactions are payments.
    pub(crate) payments: Range<usize>,
}

impl<T, E, I> RunPath<T, E, I> for PaymentsPath
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(self, run: &mut BlockRun<'_, T, E, I>) -> Result<Progress, BlockError<E::Invalid>> {
        let sequentially = |tasks| SequentialPath {
            tasks,
            prefetch: Prefetch::Never,
        };
        let end = run.block().transactions().len();
        sequentially(0..self.payments.start).run(run)?;
        let Some(stats) = execute_payments(run, self.payments.clone()) else {
            run.stats = InferredStats::default();
            return Ok(Progress::NotPayments);
        };
        run.stats.known += self.payments.len();
        run.stats.payments += self.payments.len();
        run.stats.run.add(&stats);
        sequentially(self.payments.end..end).run(run)
    }
}
