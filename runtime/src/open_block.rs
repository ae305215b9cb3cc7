//! The open block: transactions in order, their cells, and what became of them.

use crate::{
    access::{AccessSet, KeyAccess},
    delta::StateDelta,
    id::{DenseId, TaskId},
    outcome::{GasOverflow, Outcome, Receipt, receipts},
    state::{StateError, StateView},
    state_cells::{StateCells, StateRules},
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
    resolved: Vec<OnceLock<Option<Box<[KeyAccess]>>>>,
    outcomes: Vec<OnceLock<Outcome>>,
}

impl<T> OpenBlock<T> {
    /// Opens a block of these transactions, in this order, on the state before it.
    pub fn new(
        view: Arc<dyn StateView>,
        rules: StateRules,
        transactions: Vec<Sanitized<T>>,
    ) -> Self {
        Self {
            cells: StateCells::new(view, rules),
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
    pub fn resolve(&self, task: TaskId) -> Result<(), StateError> {
        let resolved = &self.resolved[task.index()];
        if resolved.get().is_none() {
            let keys = self.cells.resolve(self.access(task))?;
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

    /// Seals the block: receipts in block order, credits folded in, changes gathered.
    pub fn seal(mut self) -> Result<SealedBlock, SealError> {
        let delta = self.cells.delta()?;
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
        Ok(SealedBlock { outcomes, delta })
    }
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
