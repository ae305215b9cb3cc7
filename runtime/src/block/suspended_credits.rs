//! Credits that are taken off accounts while an earlier transaction runs.

use super::open_block::OpenBlock;
use crate::{
    cells::StateCell,
    model::{KeyId, TaskId, is_credit_safe},
};
use alloy_primitives::U256;

/// Credits that transactions made and that are not on their accounts now, to be [put
/// back](OpenBlock::put_back).
#[derive(Debug, Default)]
#[must_use = "the credits are missing until they are put back"]
pub struct SuspendedCredits(Vec<(KeyId, U256)>);

impl<T> OpenBlock<T> {
    /// Takes off the credits that these finished transactions made to these accounts.
    ///
    /// A transaction that credits an account does not see it. So if an earlier transaction turns out to need
    /// the account, it can run without these credits, and no transaction is rolled back. None of these
    /// transactions may hold one of the accounts in another mode.
    pub fn suspend_credits(&mut self, tasks: &[TaskId], accounts: &[KeyId]) -> SuspendedCredits {
        let mut suspended = Vec::new();
        for task in tasks {
            if let Some(speculative) = self.speculative_mut(*task) {
                let credits = speculative.credits();
                suspended.extend(credits.filter(|(account, _)| accounts.contains(account)));
            }
        }
        for (account, amount) in &suspended {
            self.change(*account, |cell| {
                cell.account_mut().credits.subtract(*amount);
            });
        }
        SuspendedCredits(suspended)
    }

    /// Whether the accounts as they are now can take the credits, so that their transactions would have made
    /// them here too.
    pub fn can_put_back(&mut self, suspended: &SuspendedCredits) -> bool {
        let mut is_safe = true;
        for (account, amount) in &suspended.0 {
            self.change(*account, |cell| {
                is_safe &= is_credit_safe(cell.account().value.balance, *amount);
            });
        }
        is_safe
    }

    /// Puts credits back.
    pub fn put_back(&mut self, suspended: SuspendedCredits) {
        for (account, amount) in suspended.0 {
            self.change(account, |cell| cell.account().credits.add(amount));
        }
    }

    fn change(&mut self, key: KeyId, change: impl FnOnce(&mut StateCell)) {
        change(self.cells_mut().keys.arena.get_mut(key));
    }
}
