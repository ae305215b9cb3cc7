//! Payments as a workload: sorted by account, then executed account by account.

// Executes accounts of a block on which no other run is on.
#![allow(unsafe_code)]

use crate::{
    block::{
        BlockRun, EVEN_ROUND, InferringWorker, MakeExecutors, ODD_ROUND, keep_executors,
        kept_executors,
    },
    lock_table::Access,
    scheduler::RunStats,
    stage::{Grant, Workload},
};
use lockweave_runtime::{
    DenseId, Executor, GrantedState, OpenBlock, PaymentRound, Payments, TaskId,
};
use parking_lot::Mutex;
use std::{convert::Infallible, ops::Range, sync::Arc};

/// Executes payments of a block on all workers. `None` if that is impossible; then the block is as if
/// nothing had run.
pub(crate) fn execute_payments<T, E, I>(
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
