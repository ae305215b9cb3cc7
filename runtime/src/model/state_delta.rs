//! What a block changed, and a block that ran.

use super::{
    outcome::{GasOverflow, Outcome, Receipt, receipts},
    state::{Account, Code},
};
use alloy_primitives::{Address, U256};
use std::{collections::BTreeSet, sync::Arc};

/// The difference between the state before a block and the state after it: each key once, and only
/// what differs.
///
/// The lists are in no order until [`sort`](Self::sort) is called; making the block durable
/// does not need one. Two deltas are equal if they say the same, in whatever order.
#[derive(Clone, Debug, Default)]
pub struct StateDelta {
    /// Accounts that changed, as they are after the block; `None` where the account is gone.
    pub accounts: Vec<(Address, Option<Account>)>,
    /// Accounts whose storage before the block is gone.
    pub cleared: Vec<Address>,
    /// Slots that changed. For a cleared account: every slot that is not zero after the block.
    pub slots: Vec<(Address, U256, U256)>,
    /// Code that accounts changed to.
    pub codes: Vec<Arc<Code>>,
}

impl StateDelta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.cleared.is_empty() && self.slots.is_empty()
    }

    /// These changes, and then others.
    #[must_use]
    pub fn followed_by(mut self, later: &Self) -> Self {
        let accounts: BTreeSet<Address> =
            later.accounts.iter().map(|(address, _)| *address).collect();
        self.accounts
            .retain(|(address, _)| !accounts.contains(address));
        self.accounts.extend_from_slice(&later.accounts);
        let cleared: BTreeSet<Address> = later.cleared.iter().copied().collect();
        let slots: BTreeSet<(Address, U256)> = later
            .slots
            .iter()
            .map(|(address, slot, _)| (*address, *slot))
            .collect();
        self.slots.retain(|(address, slot, _)| {
            !cleared.contains(address) && !slots.contains(&(*address, *slot))
        });
        self.slots.extend_from_slice(&later.slots);
        self.cleared.retain(|address| !cleared.contains(address));
        self.cleared.extend_from_slice(&later.cleared);
        for code in &later.codes {
            if self.codes.iter().all(|known| known.hash() != code.hash()) {
                self.codes.push(Arc::clone(code));
            }
        }
        self
    }

    pub(crate) fn clear(&mut self) {
        self.accounts.clear();
        self.cleared.clear();
        self.slots.clear();
        self.codes.clear();
    }

    /// Brings the lists into the order of their keys, in which a block's bytes can be made of them.
    pub fn sort(&mut self) {
        self.accounts.sort_unstable_by_key(|(address, _)| *address);
        self.cleared.sort_unstable();
        self.slots
            .sort_unstable_by_key(|(address, slot, _)| (*address, *slot));
        self.codes.sort_unstable_by_key(|code| code.hash());
    }
}

impl PartialEq for StateDelta {
    fn eq(&self, other: &Self) -> bool {
        let [left, right] = [self, other].map(|delta| {
            let mut delta = delta.clone();
            delta.sort();
            (delta.accounts, delta.cleared, delta.slots, delta.codes)
        });
        left == right
    }
}

impl Eq for StateDelta {}

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
