//! Sealing: the changes of a block whose transactions are done.

use super::{
    open_block::{OpenBlock, PRIVATE, ReplacedSet},
    settled_cells::SettledCells,
    state_cells::StateCells,
};
use crate::{
    model::{DenseId, Outcome, Sanitized, SealedBlock, StateError, TaskId},
    speculation::SpeculativeTransaction,
};
use ahash::AHashMap;
use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

impl<T> OpenBlock<T> {
    /// Seals the block on this thread: outcomes in block order, credits folded in, changes gathered.
    pub fn seal(self) -> Result<SealedBlock, SealError> {
        Ok(self.into_executed()?.seal()?.0)
    }

    /// Ends the block's execution, so that its changes can be gathered on many threads.
    pub fn into_executed(self) -> Result<ExecutedBlock<T>, SealError> {
        let outcomes = self.outcomes.into_vec();
        let outcomes = outcomes.map_err(|transaction| SealError::Unfinished { transaction })?;
        Ok(ExecutedBlock {
            cells: self.cells.settle(),
            outcomes,
            spent: Spent {
                transactions: self.transactions,
                introduced: self.introduced,
                replaced: self.replaced,
                speculative: self.speculative,
            },
        })
    }
}

/// A block whose transactions are done and whose changes are being gathered.
#[derive(derive_more::Debug)]
#[debug("ExecutedBlock {{ cells: {} }}", self.cells())]
pub struct ExecutedBlock<T> {
    cells: SettledCells,
    outcomes: Vec<Outcome>,
    spent: Spent<T>,
}

/// What a block no longer needs when its transactions are done. It is dropped after sealing, because dropping
/// takes time.
struct Spent<T> {
    transactions: Arc<Vec<Sanitized<T>>>,
    introduced: Vec<AtomicU8>,
    replaced: AHashMap<TaskId, ReplacedSet>,
    speculative: Vec<SpeculativeTransaction>,
}

impl<T> Spent<T> {
    /// The speculative transaction, if its effects are private.
    fn private_effects(&self, task: TaskId) -> Option<&SpeculativeTransaction> {
        let speculative = self.speculative.get(task.index())?;
        let state = self.introduced[task.index()].load(Ordering::Relaxed);
        (state == PRIVATE).then_some(speculative)
    }
}

impl<T> ExecutedBlock<T> {
    /// How many cells there are.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// How many parts the changes are gathered in.
    pub fn shards(&self) -> usize {
        self.cells.parts()
    }

    /// Gathers the changes in one part, unless another call has. From any thread.
    pub fn collect(&self, shard: usize) {
        self.cells
            .collect(shard, |task| self.spent.private_effects(task));
    }

    /// Seals the block, and gathers the changes of the remaining parts.
    ///
    /// What the block was made of is given back, to be reset and used again, or dropped elsewhere.
    ///
    /// # Panics
    ///
    /// If [`collect`](Self::collect) panicked.
    pub fn seal(self) -> Result<(SealedBlock, RecycledBlock<T>), SealError> {
        (0..self.shards()).for_each(|shard| self.collect(shard));
        let (delta, cells) = self.cells.finish()?;
        let outcomes = self.outcomes;
        let Spent {
            transactions,
            replaced,
            speculative,
            introduced: _,
        } = self.spent;
        let spent = RecycledBlock {
            cells,
            speculative,
            transactions,
            _replaced: replaced,
        };
        Ok((SealedBlock { outcomes, delta }, spent))
    }
}

/// What is left of a block that was sealed.
#[derive(Debug)]
pub struct RecycledBlock<T> {
    cells: StateCells,
    speculative: Vec<SpeculativeTransaction>,
    transactions: Arc<Vec<Sanitized<T>>>,
    _replaced: AHashMap<TaskId, ReplacedSet>,
}

impl<T> RecycledBlock<T> {
    /// The cells, with all memory that another block can use.
    pub fn into_cells(self) -> StateCells {
        let Self {
            mut cells,
            mut speculative,
            transactions,
            ..
        } = self;
        if !speculative.is_empty() {
            let used = speculative.iter_mut().take(transactions.len());
            used.for_each(SpeculativeTransaction::clear);
            cells.spare.speculative = speculative;
        }
        cells
    }
}

/// Why a block cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A transaction has not run.
    #[error("transaction {transaction} has no outcome; run the whole block before sealing it")]
    Unfinished {
        /// Its place in the block.
        transaction: TaskId,
    },
    /// The state before the block failed.
    #[error(transparent)]
    State(#[from] StateError),
}
