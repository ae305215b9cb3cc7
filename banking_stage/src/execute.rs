//! Executes a block: collects the facts, has the plan choose, and runs the path.

use crate::{
    block::{BlockError, BlockRun, Counters, InferredStats, InferringWorker, Progress, RunPath},
    inferred::InferredPath,
    locked::LockedPath,
    payments::{PaymentsPath, find_payments},
    plan::{Facts, PREFETCH_GAS_SURE, Path, Plan, choose},
    scheduler::RunStats,
    sequential::SequentialPath,
    stage::BankingStage,
};
use lockweave_runtime::{
    Executor, GrantedState, Infer, Inference, OpenBlock, SimulatedState, StateError,
};
use std::{ops::Range, sync::Arc};

/// The result of executing a block with known sets.
pub type BlockResult<I> = Result<RunStats, BlockError<I>>;

/// The result of executing a block with inferred sets.
pub type InferredResult<I> = Result<InferredStats, BlockError<I>>;

/// Executes all transactions of an open block whose access sets are known, and gives the block back to be
/// sealed.
///
/// `make` makes the executor of a worker, from the one of this type that the worker's thread used last, so
/// that buffers outlive the block. `cost` is a rough cost of a transaction in gas, for batching.
///
/// On an error the block is given back as the run left it: everything in front of the transaction
/// that failed has an outcome.
pub fn execute_block<T, E>(
    stage: &BankingStage,
    block: OpenBlock<T>,
    make: impl Fn(Option<E>) -> E + Send + Sync + 'static,
    cost: fn(&T) -> u64,
) -> (OpenBlock<T>, BlockResult<E::Invalid>)
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
{
    let make = move |last: Option<InferringWorker<E, NothingToInfer>>| {
        (make(last.map(|(executor, _)| executor)), NothingToInfer)
    };
    let run = BlockRun::new(stage, block, Arc::new(make), cost, Counters::default());
    let (block, result) = execute(run, true);
    (block, result.map(|stats| stats.run))
}

/// Executes all transactions of a block [whose sets are to be inferred](OpenBlock::to_infer), and gives the
/// block back to be sealed.
///
/// `make` makes the executors of a worker, from those of these types that the worker's thread used last.
/// `cost` is a rough cost of a transaction in gas: its gas limit.
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
    let counters = Counters::new(block.transactions().len());
    let run = BlockRun::new(stage, block, Arc::new(make), cost, counters);
    execute(run, false)
}

/// Runs the path that the plan chooses, and another one if that turns out not to apply.
fn execute<T, E, I>(
    mut run: BlockRun<'_, T, E, I>,
    sets_known: bool,
) -> (OpenBlock<T>, InferredResult<E::Invalid>)
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    let config = run.stage.config();
    let payments = payments(&mut run);
    let mut facts = Facts {
        transactions: run.block().transactions().len(),
        sets_known,
        threads: config.threads.get(),
        gas_of_others: 0,
        payments,
        is_chain: false,
    };
    let result = loop {
        let may_prefetch = facts.payments.is_none() || config.path.is_some();
        if !sets_known && facts.threads > 1 && may_prefetch {
            facts.gas_of_others = gas_of_others(run.block(), run.cost);
        }
        let Plan { path, prefetch } = choose(&facts, config.sequential_below, config.path);
        let progress = match path {
            Path::Payments => {
                let payments = facts.payments.take().expect("the plan has seen them");
                PaymentsPath { payments }.run(&mut run)
            }
            Path::Sequential => {
                let tasks = 0..facts.transactions;
                SequentialPath { tasks, prefetch }.run(&mut run)
            }
            Path::Locked => LockedPath.run(&mut run),
            Path::Inferred => InferredPath.run(&mut run),
        };
        match progress {
            Ok(Progress::Done) => break Ok(()),
            Ok(Progress::NotPayments) => {}
            Ok(Progress::IsChain) => facts.is_chain = true,
            Err(error) => break Err(error),
        }
    };
    let (block, stats) = run.finish();
    (block, result.map(|()| stats))
}

/// The payments of the block, if the payments path may be chosen.
fn payments<T, E, I>(run: &mut BlockRun<'_, T, E, I>) -> Option<Range<usize>>
where
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: 'static,
{
    let config = run.stage.config();
    let at_least = match config.path {
        Some(Path::Payments) => 1,
        _ => config.payments_from,
    };
    let transactions = run.block().transactions().len();
    if transactions < at_least {
        return None;
    }
    let (executor, inferrer) = run.take_executors();
    let transactions = run.block().transactions();
    let found = find_payments(transactions.len(), at_least, |task| {
        executor.payment(&transactions[task].transaction).is_some()
    });
    run.put_executors((executor, inferrer));
    found
}

/// The gas limits of all transactions but the longest, or [`PREFETCH_GAS_SURE`] if they sum up to more.
fn gas_of_others<T>(block: &OpenBlock<T>, cost: fn(&T) -> u64) -> u64 {
    let transactions = block.transactions().iter();
    let mut costs = transactions.map(|sanitized| cost(&sanitized.transaction));
    let (mut longest, mut others) = (0_u64, 0_u64);
    // Ends as soon as the sum is large enough.
    let is_less = costs.all(|cost| {
        others = others.saturating_add(cost.min(longest));
        longest = longest.max(cost);
        others < PREFETCH_GAS_SURE
    });
    if is_less { others } else { PREFETCH_GAS_SURE }
}

/// Infers nothing, as all sets are known.
struct NothingToInfer;

impl<T> Infer<T> for NothingToInfer {
    fn infer(&mut self, _: &T, _: &mut SimulatedState) -> Result<Inference, StateError> {
        Ok(Inference::Known)
    }
}
