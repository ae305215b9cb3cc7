//! Credits that a worker keeps for itself for a while.
//!
//! Almost every transaction credits the block's beneficiary, and in some blocks most transactions pay one
//! account. The cell's atomics make that correct, but it is slow when all cores write one cache line. If a
//! block's key table shows that a key is only ever credited, no transaction reads its balance before the
//! block is over. So each worker sums up on its own and adds the sum when it leaves.

// Adds sums through cells that no thread writes.
#![allow(unsafe_code)]

use super::{cell::StateCell, key_cells::KeyCells};
use crate::model::{KeyId, is_credit_safe};
use alloy_primitives::U256;

/// Keys kept at a time: the beneficiary, and a few that are popular.
const KEYS: usize = 4;

/// Sums of credits to keys that the whole block only credits.
#[derive(Debug, Default)]
pub(crate) struct CreditBuffer {
    sums: Vec<Sum>,
    /// Where the next new key goes when all places are taken.
    next: usize,
}

#[derive(Debug)]
struct Sum {
    key: KeyId,
    /// What the account has as last written, which is before the block.
    balance: U256,
    amount: U256,
    /// How many credits were of nothing.
    touches: u64,
}

impl CreditBuffer {
    /// Whether a key can take a credit. The same for every interleaving: the value as last written does not
    /// change while credits are granted.
    ///
    /// # Safety
    ///
    /// `key` is one of `cells` that the calling thread may know, and it holds it for credit or writing.
    pub(crate) unsafe fn is_safe(&mut self, cells: &KeyCells, key: KeyId, amount: U256) -> bool {
        // SAFETY: by this function's contract no thread writes the cell; others may add to its atomics.
        let balance = unsafe {
            if cells.is_popular_credit(key) {
                self.sum(cells, key).balance
            } else {
                (cells.arena).read(key, |cell| cell.account().value.balance)
            }
        };
        is_credit_safe(balance, amount)
    }

    /// Adds a credit that [is safe](Self::is_safe): to this worker's sum, if the key is popular, else to
    /// the account.
    ///
    /// # Safety
    ///
    /// As of [`is_safe`](Self::is_safe).
    pub(crate) unsafe fn add(&mut self, cells: &KeyCells, key: KeyId, amount: U256) {
        // SAFETY: as in `is_safe`.
        let sum = unsafe {
            if !cells.is_popular_credit(key) {
                (cells.arena).read(key, |cell| cell.account().credits.add(amount));
                return;
            }
            self.sum(cells, key)
        };
        // 2^62 safe credits do not overflow.
        sum.amount += amount;
        sum.touches += u64::from(amount.is_zero());
    }

    /// Hands all sums in.
    ///
    /// # Safety
    ///
    /// `cells` is what all keys were named with since the last call.
    pub(crate) unsafe fn flush(&mut self, cells: &KeyCells) {
        for sum in self.sums.drain(..) {
            // SAFETY: a sum is of a key that all transactions only credit, so no thread writes the cell before the block is
            // over. The key is one of `cells` by this function's contract.
            unsafe { (cells.arena).read(sum.key, |cell| sum.hand_in(cell)) };
        }
        self.next = 0;
    }

    /// This worker's sum for a popular key.
    ///
    /// # Safety
    ///
    /// As of [`is_safe`](Self::is_safe).
    #[inline]
    unsafe fn sum(&mut self, cells: &KeyCells, key: KeyId) -> &mut Sum {
        let known = self.sums.iter().position(|sum| sum.key == key);
        let place = known.unwrap_or_else(|| {
            // SAFETY: no thread writes the cell of a key that all transactions only credit before the block is over.
            // That is `key`, by this function's contract, and the key of every sum.
            unsafe {
                let balance = (cells.arena).read(key, |cell| cell.account().value.balance);
                let (place, replaced) = self.begin(key, balance);
                if let Some(sum) = replaced {
                    (cells.arena).read(sum.key, |cell| sum.hand_in(cell));
                }
                place
            }
        });
        &mut self.sums[place]
    }

    /// Begins a sum. Returns its place, and the sum that it replaces.
    #[cold]
    fn begin(&mut self, key: KeyId, balance: U256) -> (usize, Option<Sum>) {
        let sum = Sum {
            key,
            balance,
            amount: U256::ZERO,
            touches: 0,
        };
        if self.sums.len() < KEYS {
            self.sums.push(sum);
            return (self.sums.len() - 1, None);
        }
        let place = self.next;
        self.next = (place + 1) % KEYS;
        (place, Some(std::mem::replace(&mut self.sums[place], sum)))
    }
}

impl Sum {
    /// Adds the sum to its account.
    fn hand_in(&self, cell: &StateCell) {
        let credits = &cell.account().credits;
        if !self.amount.is_zero() {
            credits.add(self.amount);
        }
        credits.touch(self.touches);
    }
}
