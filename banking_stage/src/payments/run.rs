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

/// In front of the payments and behind them there may be so many other transactions each: those of the
/// protocol in every block.
const OTHERS_MAX: usize = 8;

/// So many transactions are examined, which rules out most other blocks.
const PROBES: usize = 16;

/// The payments of a block: at least `at_least`, with no other transaction between them as far as a few
/// probes tell.
pub(crate) fn find_payments(
    transactions: usize,
    at_least: usize,
    is_payment: impl Fn(usize) -> bool,
) -> Option<Range<usize>> {
    if transactions < at_least {
        return None;
    }
    let first = (0..transactions.min(OTHERS_MAX + 1)).find(|task| is_payment(*task))?;
    let last = (transactions.saturating_sub(OTHERS_MAX + 1)..transactions)
        .rfind(|task| is_payment(*task))?;
    let payments = first..last + 1;
    let are_many = payments.len() >= at_least.max(1);
    let probes = (1..PROBES).map(|probe| first + payments.len() * probe / PROBES);
    (are_many && probes.into_iter().all(is_payment)).then_some(payments)
}
