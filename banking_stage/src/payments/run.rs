//! The payments path.

// Replays accounts of a block on which no other run is on.
#![allow(unsafe_code)]

use crate::{
    block::{
        BlockError, BlockRun, EVEN_ROUND, InferredStats, InferringWorker, MakeExecutors, ODD_ROUND,
        Progress, RunPath, keep_executors, kept_executors,
    },
    lock_table::Access,
    plan::Prefetch,
    scheduler::RunStats,
    sequential::SequentialPath,
    stage::{Grant, Workload},
};
use lockweave_runtime::{
    DenseId, Executor, GrantedState, Infer, OpenBlock, PaymentRound, Payments, TaskId,
};
use parking_lot::Mutex;
use std::{convert::Infallible, ops::Range, sync::Arc};

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

/// Executes payments of a block on all workers. `None` if that is impossible; then the block is as if
/// nothing had run.
fn execute_payments<T, E, I>(
    run: &mut BlockRun<'_, T, E, I>,
    tasks: Range<usize>,
) -> Option<RunStats>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    let total = tasks.len();
    run.release_executors();
    let mut block = run.take_block();
    let payments = Payments::new(&mut block, tasks);
    let (workload, result) = run.stage.run(PaymentsWorkload {
        block,
        payments,
        make: Arc::clone(&run.make),
        executed: Mutex::new(vec![0; run.stage.config().threads.get()]),
    });
    let PaymentsWorkload {
        mut block,
        payments,
        executed,
        ..
    } = workload;
    // An error is discarded: another path meets its cause again.
    let is_done = payments.finish(&mut block) && result.is_ok();
    if !is_done {
        block.restart();
    }
    run.put_block(Arc::new(block));
    is_done.then(|| RunStats {
        tasks: total,
        executed: executed.into_inner(),
        ..RunStats::default()
    })
}

/// The pieces of both rounds. The lock of a [round](ODD_ROUND) keeps them apart.
struct PaymentsWorkload<T, E, I> {
    block: OpenBlock<T>,
    payments: Payments,
    make: Arc<MakeExecutors<E, I>>,
    /// Transactions, by worker.
    executed: Mutex<Vec<usize>>,
}

/// A worker's executors, once it needs some, and what it has done.
struct PaymentsWorker<E, I> {
    executors: Option<InferringWorker<E, I>>,
    executed: usize,
}

impl<T, E, I> PaymentsWorkload<T, E, I> {
    fn piece(&self, task: TaskId) -> (PaymentRound, usize) {
        let parts = self.payments.pieces(PaymentRound::Sort);
        match task.index().checked_sub(parts) {
            Some(shard) => (PaymentRound::Replay, shard),
            None => (PaymentRound::Sort, task.index()),
        }
    }
}

impl<T, E, I> Workload for PaymentsWorkload<T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    type Worker = PaymentsWorker<E, I>;
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.payments.pieces(PaymentRound::Sort) + self.payments.pieces(PaymentRound::Replay)
    }

    fn enter(&self, _worker: usize) -> Self::Worker {
        PaymentsWorker {
            executors: None,
            executed: 0,
        }
    }

    fn retire(&self, worker: usize, state: Self::Worker) {
        if let Some(executors) = state.executors {
            keep_executors(executors);
        }
        self.executed.lock()[worker] += state.executed;
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        Access::Keys(match self.piece(task).0 {
            PaymentRound::Sort => ODD_ROUND,
            PaymentRound::Replay => EVEN_ROUND,
        })
    }

    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Infallible> {
        let (round, piece) = self.piece(grant.task());
        if round == PaymentRound::Sort {
            worker.executed += self.payments.tasks_of(piece).len();
        }
        let executors = &mut worker.executors;
        // SAFETY: this run alone has the block, each piece runs once, and the pieces that run at the same
        // time are of the same round, by the locks that `access` names.
        unsafe {
            match round {
                PaymentRound::Sort => {
                    let (executor, _) =
                        executors.get_or_insert_with(|| (self.make)(kept_executors()));
                    let payment = |transaction: &T| executor.payment(transaction);
                    self.payments.sort(&self.block, piece, payment);
                }
                PaymentRound::Replay => self.payments.replay(&self.block, piece),
            }
        }
        Ok(())
    }
}
