//! The effects of a step: the accounts and slots that it touches, and its changes.

use alloy_primitives::{Address, U256};
use lockweave_runtime::WriteSet;

/// The accounts and slots that one step touches, and its changes.
#[derive(Clone, Debug, Default)]
pub struct StepEffects {
    /// Accounts that were read, called, paid or changed; in no order, with duplicates.
    pub accounts: Vec<Address>,
    /// Slots that were read or written, by reverted calls too; in no order.
    pub slots: Vec<(Address, U256)>,
    /// The changes.
    pub writes: WriteSet,
}

impl StepEffects {
    /// Adds every changed account to the touched ones.
    pub(crate) fn add_changed(&mut self) {
        let writes = &self.writes;
        let accounts = &mut self.accounts;
        accounts.extend(writes.accounts.iter().map(|(address, _)| address));
        accounts.extend(writes.credits.iter().map(|credit| credit.address));
    }
}
