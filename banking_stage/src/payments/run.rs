//! Blocks that are nothing but payments, or nearly so: without locks, by
//! [following the accounts](lockweave_runtime::Payments).

// Follows accounts of a block on which no other run is on.
#![allow(unsafe_code)]

use crate::{
    inferred::run::{InferredRun, InferredStats, InferringWorker, keep_executors, last_executors},
    lock_table::Access,
    locked::numbering::{EVEN, ODD},
    scheduler::stats::RunStats,
    sequential::run::Help,
    stage::error::StageError,
    stage::grant::Grant,
    stage::threads::BankingStage,
    stage::workload::Workload,
};
use lockweave_runtime::{
    DenseId, ExecutionError, Executor, GrantedState, Infer, OpenBlock, Payment, PaymentRound,
    Payments, TaskId,
};
use parking_lot::Mutex;
use std::{convert::Infallible, mem, ops::Range, sync::Arc};

/// In front of the payments of a block and behind them there may be so many other steps each: what the protocol
/// does in every block.
const OTHERS_MAX: usize = 8;

/// So many transactions are looked at to tell most other blocks.
const PROBES: usize = 16;

/// Where the payments of a block are, if nothing is between them as far as a few looks tell, and they are at least so
/// many.
pub(crate) fn find_payments(
    tasks: usize,
    at_least: usize,
    is_payment: impl Fn(usize) -> bool,
) -> Option<Range<usize>> {
    if tasks < at_least {
        return None;
    }
    let first = (0..tasks.min(OTHERS_MAX + 1)).find(|task| is_payment(*task))?;
    let last = (tasks.saturating_sub(OTHERS_MAX + 1)..tasks).rfind(|task| is_payment(*task))?;
    let payments = first..last + 1;
    let are_many = payments.len() >= at_least.max(1);
    let probes = (1..PROBES).map(|probe| first + payments.len() * probe / PROBES);
    (are_many && probes.into_iter().all(is_payment)).then_some(payments)
}

/// The executors of a worker that carries payments out: how one gets them, gives them back and asks them.
pub(crate) struct Executors<T, W> {
    pub(crate) enter: Box<dyn Fn() -> W + Send + Sync>,
    pub(crate) retire: fn(W),
    pub(crate) payment: fn(&W, &T) -> Option<Payment>,
}

/// Carries out payments of a block on all workers. Returns what was run, by worker, or nothing if that cannot be done: then the block
/// is as if nobody had run.
pub(crate) fn run_payments<T, W>(
    stage: &BankingStage,
    mut block: OpenBlock<T>,
    tasks: Range<usize>,
    executors: Executors<T, W>,
) -> (OpenBlock<T>, Option<RunStats>)
where
    T: Send + Sync + 'static,
    W: 'static,
{
    let total = tasks.len();
    let payments = Payments::new(&mut block, tasks);
    let executed = Mutex::new(vec![0; stage.config().threads.get()]);
    let workload = Carrying {
        block,
        payments,
        executors,
        executed,
    };
    let (workload, result) = stage.run(workload);
    let Carrying {
        mut block,
        payments,
        executed,
        ..
    } = workload;
    // Whoever runs the block in another way meets what was in the way of this one.
    let is_done = payments.finish(&mut block) && result.is_ok();
    if !is_done {
        block.restart();
        return (block, None);
    }
    let stats = RunStats {
        tasks: total,
        executed: executed.into_inner(),
        ..RunStats::default()
    };
    (block, Some(stats))
}

/// The pieces of both rounds. As in the [numbering](crate::locked::numbering), one key keeps them apart.
struct Carrying<T, W> {
    block: OpenBlock<T>,
    payments: Payments,
    executors: Executors<T, W>,
    /// Transactions, by worker.
    executed: Mutex<Vec<usize>>,
}

/// A worker's executors, once it needs some, and what it has done.
struct Carrier<W> {
    worker: usize,
    executors: Option<W>,
    executed: usize,
}

impl<T, W> Carrying<T, W> {
    fn piece(&self, task: TaskId) -> (PaymentRound, usize) {
        let parts = self.payments.pieces(PaymentRound::Sort);
        match task.index().checked_sub(parts) {
            Some(shard) => (PaymentRound::Follow, shard),
            None => (PaymentRound::Sort, task.index()),
        }
    }
}

impl<T, W> Workload for Carrying<T, W>
where
    T: Send + Sync + 'static,
    W: 'static,
{
    type Worker = Carrier<W>;
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.payments.pieces(PaymentRound::Sort) + self.payments.pieces(PaymentRound::Follow)
    }

    fn enter(&self, worker: usize) -> Self::Worker {
        Carrier {
            worker,
            executors: None,
            executed: 0,
        }
    }

    fn retire(&self, _worker: usize, carrier: Self::Worker) {
        if let Some(executors) = carrier.executors {
            (self.executors.retire)(executors);
        }
        self.executed.lock()[carrier.worker] += carrier.executed;
    }

    fn prepare(&self, _carrier: &mut Self::Worker, _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        Access::Keys(match self.piece(task).0 {
            PaymentRound::Sort => ODD,
            PaymentRound::Follow => EVEN,
        })
    }

    fn execute(&self, carrier: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Infallible> {
        match self.piece(grant.task()) {
            (PaymentRound::Sort, part) => {
                let executors = carrier.executors.get_or_insert_with(&self.executors.enter);
                let payment = |transaction: &T| (self.executors.payment)(executors, transaction);
                // SAFETY: the block is this run's alone, and the run's other pieces are of the same round.
                unsafe { self.payments.sort(&self.block, part, payment) };
                carrier.executed += self.payments.tasks_of(part).len();
            }
            (PaymentRound::Follow, shard) => {
                // SAFETY: as above.
                unsafe { self.payments.follow(&self.block, shard) };
            }
        }
        Ok(())
    }
}

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    /// Runs the block, if it is payments with few other steps around; returns whether it did. If not, nothing has
    /// run.
    pub(crate) fn run_as_payments(
        &mut self,
    ) -> Result<bool, StageError<ExecutionError<E::Invalid>>> {
        let at_least = self.stage.config().payments_from;
        if self.pending.len() < at_least {
            return Ok(false);
        }
        let (executor, inferrer) = self.take_lone();
        let transactions = self.block().transactions();
        let found = find_payments(transactions.len(), at_least, |task| {
            executor.payment(&transactions[task].transaction).is_some()
        });
        self.lone = Some((executor, inferrer));
        let Some(payments) = found else {
            return Ok(false);
        };
        let all = mem::take(&mut self.pending);
        self.run_some_in_order(&all[..payments.start])?;
        if let Some((executor, inferrer)) = self.lone.take() {
            keep_executors(executor, inferrer);
        }
        let make = Arc::clone(&self.make);
        let executors: Executors<T, InferringWorker<E, I>> = Executors {
            enter: Box::new(move || make(last_executors())),
            retire: |(executor, inferrer)| keep_executors(executor, inferrer),
            payment: |(executor, _), transaction| executor.payment(transaction),
        };
        let block = self.take_block();
        let (block, run) = run_payments(self.stage, block, payments.clone(), executors);
        self.block = Some(Arc::new(block));
        let Some(run) = run else {
            self.pending = all;
            self.stats = InferredStats::default();
            return Ok(false);
        };
        self.stats.known += payments.len();
        self.stats.payments += payments.len();
        self.stats.run.add(&run);
        self.run_some_in_order(&all[payments.end..])?;
        Ok(true)
    }

    fn run_some_in_order(
        &mut self,
        tasks: &[TaskId],
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        if tasks.is_empty() {
            return Ok(());
        }
        self.pending = tasks.to_vec();
        self.run_in_order(Help::None)
    }
}
