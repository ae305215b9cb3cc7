//! One sender's transactions in nonce order.

use super::{SenderContent, transaction::PooledTransaction};
use alloy_primitives::{Address, B256, U256};
use std::{collections::BTreeMap, sync::Arc};

/// Transactions of one sender, none below its nonce.
#[derive(Debug)]
pub(super) struct SenderQueue {
    /// The nonce of the sender's next transaction in a block.
    nonce: u64,
    /// The first nonce from `nonce` on that is missing.
    pending_end: u64,
    transactions: BTreeMap<u64, Arc<PooledTransaction>>,
    /// The most that all of them may cost, in wei.
    cost: U256,
}

impl SenderQueue {
    pub(super) const fn new(nonce: u64) -> Self {
        Self {
            nonce,
            pending_end: nonce,
            transactions: BTreeMap::new(),
            cost: U256::ZERO,
        }
    }

    pub(super) const fn nonce(&self) -> u64 {
        self.nonce
    }

    pub(super) const fn pending_end(&self) -> u64 {
        self.pending_end
    }

    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// Transactions before the first nonce gap.
    pub(super) fn pending(&self) -> usize {
        usize::try_from(self.pending_end - self.nonce).unwrap_or(usize::MAX)
    }

    /// Transactions after a nonce gap.
    pub(super) fn queued(&self) -> usize {
        self.len() - self.pending()
    }

    pub(super) fn get(&self, nonce: u64) -> Option<&Arc<PooledTransaction>> {
        self.transactions.get(&nonce)
    }

    /// The most that all but the one with this nonce may cost.
    pub(super) fn cost_without(&self, nonce: u64) -> U256 {
        let own = self.get(nonce).map_or(U256::ZERO, |own| own.cost);
        self.cost.saturating_sub(own)
    }

    /// Adds one whose nonce is free and not below the sender's; the hashes of those that became
    /// pending.
    pub(super) fn insert(&mut self, transaction: Arc<PooledTransaction>) -> Vec<B256> {
        self.cost = self.cost.saturating_add(transaction.cost);
        self.transactions.insert(transaction.nonce, transaction);
        self.extend_pending()
    }

    fn extend_pending(&mut self) -> Vec<B256> {
        let mut joined = Vec::new();
        while let Some(next) = self.transactions.get(&self.pending_end) {
            joined.push(next.hash);
            self.pending_end += 1;
        }
        joined
    }

    pub(super) fn remove(&mut self, nonce: u64) {
        if let Some(gone) = self.transactions.remove(&nonce) {
            self.cost = self.cost.saturating_sub(gone.cost);
            self.pending_end = self.pending_end.min(nonce);
        }
    }

    /// Moves on to a nonce and returns the transactions below it. The nonce never moves back, because blocks
    /// are final.
    pub(super) fn advance(&mut self, nonce: u64) -> Vec<Arc<PooledTransaction>> {
        if nonce <= self.nonce {
            return Vec::new();
        }
        let kept = self.transactions.split_off(&nonce);
        let gone: Vec<_> = std::mem::replace(&mut self.transactions, kept)
            .into_values()
            .collect();
        for transaction in &gone {
            self.cost = self.cost.saturating_sub(transaction.cost);
        }
        self.nonce = nonce;
        self.pending_end = self.pending_end.max(nonce);
        self.extend_pending();
        gone
    }

    pub(super) fn content(&self, sender: Address) -> SenderContent {
        let clone = |(_, transaction): (&u64, &Arc<PooledTransaction>)| Arc::clone(transaction);
        SenderContent {
            sender,
            pending: self
                .transactions
                .range(..self.pending_end)
                .map(clone)
                .collect(),
            queued: self
                .transactions
                .range(self.pending_end..)
                .map(clone)
                .collect(),
        }
    }
}
