//! A block on its way through a path.

use super::{
    counters::{Counters, InferredStats},
    executors::{InferringWorker, MakeExecutors, keep_executors, kept_executors},
};
use crate::stage::{BankingStage, StageError};
use lockweave_runtime::{
    AccessError, AccessMode, DenseId, ExecutionError, Executor, GrantedState, KeyAccess, KeyId,
    OpenBlock, StateError, TaskId,
};
use std::{error::Error, sync::Arc};

/// A transaction with this gas limit may take longer than all others together.
pub(crate) const LONG_TRANSACTION_GAS: u64 = 1_000_000;

pub(crate) type BlockError<I> = StageError<ExecutionError<I>>;

/// A path: one way to execute a block.
pub(crate) trait RunPath<T, E: Executor<GrantedState<T>>, I> {
    /// Executes the block. On an error, everything in front of the transaction that failed has an outcome.
    fn run(self, run: &mut BlockRun<'_, T, E, I>) -> Result<Progress, BlockError<E::Invalid>>;
}

/// What came of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The block is executed.
    Done,
    /// A payment is not as simple as it seemed. The block is as if nothing had run.
    NotPayments,
    /// The first transactions are a chain. Nothing has run.
    IsChain,
}

/// A block that is being executed, and what its path needs.
pub(crate) struct BlockRun<'s, T, E, I> {
    pub(crate) stage: &'s BankingStage,
    /// `None` only while a function of the path owns the block.
    block: Option<Arc<OpenBlock<T>>>,
    pub(crate) make: Arc<MakeExecutors<E, I>>,
    /// Roughly what a transaction costs, in gas.
    pub(crate) cost: fn(&T) -> u64,
    pub(crate) counters: Arc<Counters>,
    pub(crate) stats: InferredStats,
    /// The executors of the calling thread, while they are in use.
    executors: Option<InferringWorker<E, I>>,
}

impl<'s, T, E: 'static, I: 'static> BlockRun<'s, T, E, I> {
    pub(crate) fn new(
        stage: &'s BankingStage,
        block: OpenBlock<T>,
        make: Arc<MakeExecutors<E, I>>,
        cost: fn(&T) -> u64,
        counters: Counters,
    ) -> Self {
        Self {
            stage,
            block: Some(Arc::new(block)),
            make,
            cost,
            counters: Arc::new(counters),
            stats: InferredStats::default(),
            executors: None,
        }
    }

    pub(crate) fn finish(mut self) -> (OpenBlock<T>, InferredStats) {
        self.release_executors();
        let block = self.take_block();
        self.counters.add_to(&mut self.stats);
        (block, self.stats)
    }

    pub(crate) const fn block(&self) -> &Arc<OpenBlock<T>> {
        self.block.as_ref().expect("the block is not lent out")
    }

    /// The block, while no run is on.
    pub(crate) fn block_mut(&mut self) -> &mut OpenBlock<T> {
        Arc::get_mut(self.shared_block_mut()).expect("no run is on, and workers drop their states")
    }

    /// The reference to the block, for functions that need to see that it is the only one.
    pub(crate) const fn shared_block_mut(&mut self) -> &mut Arc<OpenBlock<T>> {
        self.block.as_mut().expect("the block is not lent out")
    }

    /// Takes the block, which is to be [put back](Self::put_block), while no run is on.
    pub(crate) fn take_block(&mut self) -> OpenBlock<T> {
        let block = self.block.take().and_then(Arc::into_inner);
        block.expect("no run is on, and workers drop their states")
    }

    pub(crate) fn put_block(&mut self, block: Arc<OpenBlock<T>>) {
        self.block = Some(block);
    }

    pub(crate) fn cost_of(&self, task: TaskId) -> u64 {
        (self.cost)(transaction(self.block(), task))
    }

    /// Takes the executors of the calling thread, which are to be [put back](Self::put_executors).
    pub(crate) fn take_executors(&mut self) -> InferringWorker<E, I> {
        let make = &self.make;
        (self.executors.take()).unwrap_or_else(|| make(kept_executors()))
    }

    pub(crate) fn put_executors(&mut self, executors: InferringWorker<E, I>) {
        self.executors = Some(executors);
    }

    /// Keeps the executors for the calling thread, which becomes a worker of a run.
    pub(crate) fn release_executors(&mut self) {
        if let Some(executors) = self.executors.take() {
            keep_executors(executors);
        }
    }
}

pub(crate) fn transaction<T>(block: &OpenBlock<T>, task: TaskId) -> &T {
    &block.transactions()[task.index()].transaction
}

/// The error of a transaction whose state cannot be read.
pub(crate) const fn state_error<I>(task: TaskId, error: StateError) -> BlockError<I>
where
    I: Error + 'static,
{
    StageError::Task {
        task,
        source: ExecutionError::Access(AccessError::State(error)),
    }
}

// The pieces of a round of a workload need no order among each other, but all come before those of the next
// round. So every piece holds one key, in a mode that is compatible with itself and not with that of the
// rounds before and behind.

/// What the pieces of the first round and the third hold.
pub(crate) const ODD_ROUND: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Credit,
}];
/// What those of the second and the fourth hold.
pub(crate) const EVEN_ROUND: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Read,
}];
