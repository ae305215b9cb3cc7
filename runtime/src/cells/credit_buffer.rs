//! Credits that a worker keeps for itself for a while.
//!
//! Almost every transaction credits the block's beneficiary, and in some blocks most transactions pay one
//! account. The cell's atomics make that correct, but it is slow when all cores write one cache line. If a
//! block's key table shows that a key is only ever credited, no transaction reads its balance before the
//! block is over. So each worker sums up on its own and adds the sum when it leaves.

use super::cell::StateCell;
use crate::model::KeyId;
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
pub(super) struct Sum {
    pub(super) key: KeyId,
    /// What the account has as last written, which is before the block.
    pub(super) balance: U256,
    amount: U256,
    /// How many credits were of nothing.
    touches: u64,
}

impl CreditBuffer {
    #[inline]
    pub(super) fn find(&self, key: KeyId) -> Option<usize> {
        self.sums.iter().position(|sum| sum.key == key)
    }

    #[inline]
    pub(super) fn at(&mut self, place: usize) -> &mut Sum {
        &mut self.sums[place]
    }

    /// Begins a sum. Returns its place, and the sum that it replaces.
    pub(super) fn begin(&mut self, key: KeyId, balance: U256) -> (usize, Option<Sum>) {
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

    pub(super) fn pop(&mut self) -> Option<Sum> {
        self.sums.pop()
    }
}

impl Sum {
    #[inline]
    pub(super) fn add(&mut self, amount: U256) {
        // 2^62 safe credits do not overflow.
        self.amount += amount;
        self.touches += u64::from(amount.is_zero());
    }

    pub(super) fn hand_in(&self, cell: &StateCell) {
        let credits = &cell.account().credits;
        if !self.amount.is_zero() {
            credits.add(self.amount);
        }
        credits.touch(self.touches);
    }
}
