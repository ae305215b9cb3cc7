//! The open block: transactions in order, their cells, and what became of them.

use crate::{
    access::{AccessSet, KeyAccess},
    delta::{DeltaPart, StateDelta},
    id::{DenseId, TaskId},
    interner::{RecentKeys, SHARDS},
    key::StateKey,
    outcome::{GasOverflow, Outcome, Receipt, receipts},
    state::{StateError, StateView},
    state_cells::{SettledCells, StateCells, StateRules},
    transaction::Sanitized,
};
use std::{
    fmt,
    sync::{Arc, OnceLock},
};

/// A block while its transactions run.
///
/// The order of the transactions is the block order: whatever the threads do, the block ends as if
/// they had run one after another in it.
pub struct OpenBlock<T> {
    cells: StateCells,
    transactions: Vec<Sanitized<T>>,
    /// Dense ids of each access set; `None` inside for the whole state.
    resolved: ResolvedSets,
    outcomes: Vec<OnceLock<Outcome>>,
}

impl<T> OpenBlock<T> {
    /// Opens a block of these transactions, in this order, on the state before it.
    pub fn new(
        view: Arc<dyn StateView>,
        rules: StateRules,
        transactions: Vec<Sanitized<T>>,
    ) -> Self {
        Self::with_cells(StateCells::new(view, rules), transactions)
    }

    /// Opens a block on cells that are new or were [reset](StateCells::reset).
    pub fn with_cells(cells: StateCells, transactions: Vec<Sanitized<T>>) -> Self {
        Self {
            cells,
            resolved: transactions.iter().map(|_| OnceLock::new()).collect(),
            outcomes: transactions.iter().map(|_| OnceLock::new()).collect(),
            transactions,
        }
    }

    /// The block's cells.
    pub const fn cells(&self) -> &StateCells {
        &self.cells
    }

    /// The transactions in block order.
    pub fn transactions(&self) -> &[Sanitized<T>] {
        &self.transactions
    }

    /// The access set of a transaction.
    #[inline]
    pub fn access(&self, task: TaskId) -> &AccessSet {
        &self.transactions[task.index()].access
    }

    /// Gives the keys of a transaction's access set their dense ids. Idempotent, from any thread.
    ///
    /// `recent` belongs to the calling thread and to this block.
    pub fn resolve(
        &self,
        recent: &mut RecentKeys<StateKey>,
        task: TaskId,
    ) -> Result<(), StateError> {
        let resolved = &self.resolved[task.index()];
        if resolved.get().is_none() {
            let keys = self.cells.resolve(recent, self.access(task))?;
            // Lost races hold the same ids.
            let _ = resolved.set(keys);
        }
        Ok(())
    }

    /// The dense ids of a transaction's keys, in the order of its set: `None` before
    /// [`resolve`](Self::resolve), and where it holds the whole state.
    #[inline]
    pub fn resolved(&self, task: TaskId) -> Option<&[KeyAccess]> {
        self.resolved[task.index()].get()?.as_deref()
    }

    /// Notes what became of a transaction.
    ///
    /// # Panics
    ///
    /// If it was noted before: a transaction runs to its outcome once.
    pub fn finish(&self, task: TaskId, outcome: Outcome) {
        let first = self.outcomes[task.index()].set(outcome);
        assert!(first.is_ok(), "transaction {task} was finished twice");
    }

    /// Seals the block on this thread: outcomes in block order, credits folded in, changes gathered.
    pub fn seal(self) -> Result<SealedBlock, SealError> {
        let settled = self.settle()?;
        let parts: Vec<_> = (0..settled.shards())
            .map(|shard| settled.collect(shard))
            .collect();
        Ok(settled.seal(parts)?.0)
    }

    /// Ends the block's execution, so that its changes can be gathered on many threads.
    pub fn settle(self) -> Result<SettledBlock<T>, SealError> {
        let outcomes = self
            .outcomes
            .into_iter()
            .enumerate()
            .map(|(index, outcome)| {
                outcome.into_inner().ok_or_else(|| SealError::Unfinished {
                    transaction: TaskId::from_index(index),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(SettledBlock {
            cells: self.cells.settle(),
            outcomes,
            spent: (self.transactions, self.resolved),
        })
    }
}

type ResolvedSets = Vec<OnceLock<Option<Box<[KeyAccess]>>>>;

/// A block whose transactions are done and whose changes are being gathered.
#[derive(Debug)]
pub struct SettledBlock<T> {
    cells: SettledCells,
    outcomes: Vec<Outcome>,
    spent: (Vec<Sanitized<T>>, ResolvedSets),
}

impl<T> SettledBlock<T> {
    /// How many cells there are to look at.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// How many parts the changes are gathered in.
    pub const fn shards(&self) -> usize {
        SHARDS
    }

    /// The changes in one part. From any thread.
    pub fn collect(&self, shard: usize) -> DeltaPart {
        self.cells.collect(shard)
    }

    /// Seals the block; `parts` are those of all shards, in any order.
    ///
    /// What the block was made of is given back, to be reset and used again, or dropped elsewhere.
    pub fn seal(
        self,
        parts: impl IntoIterator<Item = DeltaPart>,
    ) -> Result<(SealedBlock, SpentBlock<T>), SealError> {
        let (delta, cells) = self.cells.finish(parts)?;
        let outcomes = self.outcomes;
        let (transactions, resolved) = self.spent;
        let spent = SpentBlock {
            cells,
            transactions,
            _resolved: resolved,
        };
        Ok((SealedBlock { outcomes, delta }, spent))
    }
}

/// What is left of a block that was sealed.
#[derive(Debug)]
pub struct SpentBlock<T> {
    /// Its cells; [reset](StateCells::reset) them to open another block on their memory.
    pub cells: StateCells,
    /// Its transactions.
    pub transactions: Vec<Sanitized<T>>,
    _resolved: ResolvedSets,
}

impl<T> fmt::Debug for OpenBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenBlock")
            .field("transactions", &self.transactions.len())
            .field("cells", &self.cells)
            .finish_non_exhaustive()
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

/// A block that ran: what became of each transaction, and what changed. Not durable yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedBlock {
    /// Outcomes in block order, system steps included.
    pub outcomes: Vec<Outcome>,
    /// What the block changed.
    pub delta: StateDelta,
}

impl SealedBlock {
    /// Receipts of the transactions, in block order, with cumulative gas and log indexes.
    pub fn receipts(&self) -> Result<Vec<Receipt>, GasOverflow> {
        receipts(self.outcomes.iter().cloned())
    }
}
