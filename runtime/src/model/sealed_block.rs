//! A block that ran.

use super::{
    outcome::{GasOverflow, Outcome, Receipt, receipts},
    state_delta::StateDelta,
};

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
