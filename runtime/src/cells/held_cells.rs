//! The cells that a thread holds.

// Reaches cells by plain reference: the one place in which a grant of a block becomes a reference.
#![allow(unsafe_code)]

use super::{cell::StateCell, key_cells::KeyCells};
use crate::model::{KeyId, is_credit_safe};
use alloy_primitives::U256;
use std::ptr;

/// The cells that a thread holds, and its own sums of credits.
pub(crate) struct HeldCells<'a> {
    cells: &'a KeyCells,
    credits: &'a mut CreditBuffer,
}

impl<'a> HeldCells<'a> {
    /// # Safety
    ///
    /// Every key that is passed to a method, and every key summed up in `credits`, is one of `cells` that the
    /// thread may know: its cell is filled, and that happened before. For the length of the call, or as long
    /// as the reference lives, no other thread uses a cell given to [`write`](Self::write), and no other
    /// thread writes one given to another method; others may add to its atomics.
    #[inline]
    pub(crate) const unsafe fn new(cells: &'a KeyCells, credits: &'a mut CreditBuffer) -> Self {
        Self { cells, credits }
    }

    /// Looks at a cell held for reading or writing.
    #[inline]
    pub(crate) fn read<R>(&self, key: KeyId, look: impl FnOnce(&StateCell) -> R) -> R {
        look(self.cell(key))
    }

    /// The same, for as long as the thread writes no cell.
    #[inline]
    pub(crate) fn into_cell(self, key: KeyId) -> &'a StateCell {
        self.cell(key)
    }

    /// Changes a cell held for writing.
    #[inline]
    pub(crate) fn write<R>(&mut self, key: KeyId, change: impl FnOnce(&mut StateCell) -> R) -> R {
        // SAFETY: by the contract of `new` no other thread uses the cell. References that this thread has
        // from `cell` borrow this value or have consumed it.
        unsafe { self.cells.arena.write(key, change) }
    }

    /// Whether an account held for credit or writing can take a credit. The same for every interleaving: the
    /// value as last written does not change while credits are granted.
    #[inline]
    pub(crate) fn is_credit_safe(&mut self, key: KeyId, amount: U256) -> bool {
        let balance = if self.cells.is_popular_credit(key) {
            self.sum(key).balance
        } else {
            self.cell(key).account().value.balance
        };
        is_credit_safe(balance, amount)
    }

    /// Adds a credit that [is safe](Self::is_credit_safe): to this worker's sum, if the key is popular, else
    /// to the account.
    #[inline]
    pub(crate) fn credit(&mut self, key: KeyId, amount: U256) {
        if self.cells.is_popular_credit(key) {
            self.sum(key).add(amount);
        } else {
            self.cell(key).account().credits.add(amount);
        }
    }

    pub(crate) fn flush(&mut self) {
        while let Some(sum) = self.credits.pop() {
            sum.hand_in(self.cell(sum.key));
        }
    }

    /// This worker's sum for a popular key.
    #[inline]
    fn sum(&mut self, key: KeyId) -> &mut Sum {
        let known = self.credits.find(key);
        let place = known.unwrap_or_else(|| self.begin_sum(key));
        self.credits.at(place)
    }

    #[cold]
    fn begin_sum(&mut self, key: KeyId) -> usize {
        let balance = self.cell(key).account().value.balance;
        let (place, replaced) = self.credits.begin(key, balance);
        if let Some(sum) = replaced {
            sum.hand_in(self.cell(sum.key));
        }
        place
    }

    #[inline]
    fn cell(&self, key: KeyId) -> &'a StateCell {
        // SAFETY: by the contract of `new` no other thread writes the cell. This thread does so by `write`
        // only, and callers keep the reference while they borrow this value, or after they consumed it. The
        // arena never moves a cell.
        unsafe { &*self.cells.arena.read(key, ptr::from_ref) }
    }
}

/// Keys kept at a time: the beneficiary, and a few that are popular.
const KEYS: usize = 4;

/// Sums of credits to keys that the whole block only credits.
///
/// Almost every transaction credits the block's beneficiary, and in some blocks most transactions pay one
/// account. The cell's atomics make that correct, but it is slow when all cores write one cache line. If a
/// block's key table shows that a key is only ever credited, no transaction reads its balance before the
/// block is over. So each worker sums up on its own and adds the sum when it leaves.
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
    #[inline]
    fn find(&self, key: KeyId) -> Option<usize> {
        self.sums.iter().position(|sum| sum.key == key)
    }

    #[inline]
    fn at(&mut self, place: usize) -> &mut Sum {
        &mut self.sums[place]
    }

    /// Begins a sum. Returns its place, and the sum that it replaces.
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

    fn pop(&mut self) -> Option<Sum> {
        self.sums.pop()
    }
}

impl Sum {
    #[inline]
    fn add(&mut self, amount: U256) {
        // 2^62 safe credits do not overflow.
        self.amount += amount;
        self.touches += u64::from(amount.is_zero());
    }

    fn hand_in(&self, cell: &StateCell) {
        let credits = &cell.account().credits;
        if !self.amount.is_zero() {
            credits.add(self.amount);
        }
        credits.touch(self.touches);
    }
}
