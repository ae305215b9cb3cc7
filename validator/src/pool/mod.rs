//! The priority pool: transactions that wait for a block.
//!
//! Each sender's transactions are kept in nonce order; those before the first nonce gap are *pending*, the
//! others *queued*. Between senders the highest effective tip goes first, then the earliest arrival. Limits
//! apply to the whole pool, to each sender, and to each sender's queued transactions. A full pool drops the
//! lowest bid, which may be the new one.
//!
//! **Architecture invariant:** the pool has no access to the state. The caller of `insert` supplies the
//! sender's nonce and balance; the caller of `advance` supplies the new ones after a block. No block may be
//! published between the lookup of a sender and its insertion: the pool does not remember senders without
//! waiting transactions, so an outdated nonce would not be corrected.

mod config;
mod drops;
mod error;
mod journal;
mod queue;
mod transaction;
mod validate;

pub use config::PoolConfig;
pub use drops::DropReason;
pub use error::PoolError;
pub use journal::Journal;
pub use transaction::PooledTransaction;
pub use validate::{Admission, DecodeError, validate};

use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256};
use drops::Drops;
use parking_lot::Mutex;
use queue::SenderQueue;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    sync::Arc,
};

/// Nonce and balance of a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderState {
    /// Nonce its next transaction has to have.
    pub nonce: u64,
    /// Balance in wei.
    pub balance: U256,
}

/// How many transactions wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStatus {
    /// Before the first nonce gap.
    pub pending: usize,
    /// After a nonce gap.
    pub queued: usize,
}

/// A sender's waiting transactions in nonce order: pending, then queued ones.
#[derive(Clone, Debug)]
pub struct SenderContent {
    /// The sender.
    pub sender: Address,
    /// Before the first nonce gap.
    pub pending: Vec<Arc<PooledTransaction>>,
    /// After a nonce gap.
    pub queued: Vec<Arc<PooledTransaction>>,
}

/// The order of eviction: the lowest bid first, among equals the newest.
type EvictionKey = (u128, Reverse<u64>);

#[derive(Debug, Default)]
struct Inner {
    by_hash: AHashMap<B256, Arc<PooledTransaction>>,
    senders: AHashMap<Address, SenderQueue>,
    /// By bid, to find the next one to drop.
    bids: BTreeMap<EvictionKey, B256>,
    pending: usize,
    bytes: usize,
    next_sequence: u64,
    drops: Drops,
}

/// The pool. Can be used from many threads; every call holds the lock for a short time.
#[derive(Debug)]
pub struct Pool {
    config: PoolConfig,
    inner: Mutex<Inner>,
}

impl Pool {
    /// An empty pool.
    pub fn new(config: PoolConfig) -> Self {
        Self {
            config,
            inner: Mutex::default(),
        }
    }

    /// The limits.
    pub const fn config(&self) -> &PoolConfig {
        &self.config
    }

    /// Adds transactions in this order, each with the nonce and balance of its sender.
    ///
    /// Returns for each the hashes that can go into a block now and could not before: its own, if there is no
    /// gap before it, and those after a gap that it closed.
    pub fn insert(
        &self,
        transactions: impl IntoIterator<Item = (PooledTransaction, SenderState)>,
    ) -> Vec<Result<Vec<B256>, PoolError>> {
        let mut inner = self.inner.lock();
        transactions
            .into_iter()
            .map(|(transaction, state)| inner.insert(&self.config, transaction, state))
            .collect()
    }

    /// A waiting transaction.
    pub fn get(&self, hash: B256) -> Option<Arc<PooledTransaction>> {
        self.inner.lock().by_hash.get(&hash).cloned()
    }

    /// Whether a transaction waits.
    pub fn contains(&self, hash: B256) -> bool {
        self.inner.lock().by_hash.contains_key(&hash)
    }

    /// Why a transaction that was in the pool left it without being in a block, if that is still
    /// remembered.
    pub fn drop_reason(&self, hash: B256) -> Option<DropReason> {
        self.inner.lock().drops.get(hash)
    }

    /// The nonce after the sender's pending transactions; `None` if it has none here.
    pub fn next_nonce(&self, sender: Address) -> Option<u64> {
        let inner = self.inner.lock();
        inner.senders.get(&sender).map(SenderQueue::pending_end)
    }

    /// How many transactions wait.
    pub fn status(&self) -> PoolStatus {
        let inner = self.inner.lock();
        PoolStatus {
            pending: inner.pending,
            queued: inner.by_hash.len() - inner.pending,
        }
    }

    /// All waiting transactions, by sender.
    pub fn content(&self) -> Vec<SenderContent> {
        let inner = self.inner.lock();
        let mut content: Vec<_> = (inner.senders.iter())
            .map(|(sender, queue)| queue.content(*sender))
            .collect();
        content.sort_unstable_by_key(|content| content.sender);
        content
    }

    /// The waiting transactions of one sender.
    pub fn content_of(&self, sender: Address) -> Option<SenderContent> {
        let inner = self.inner.lock();
        (inner.senders.get(&sender)).map(|queue| queue.content(sender))
    }

    /// The best transactions for a block, best first, each sender's in nonce order.
    ///
    /// Calls `take` for each in turn, which decides what to do with it. All stay in the pool until
    /// [`advance`](Self::advance) removes them.
    pub fn best(&self, base_fee: u64, mut take: impl FnMut(&Arc<PooledTransaction>) -> Take) {
        let inner = self.inner.lock();
        let base_fee = u128::from(base_fee);
        let mut heads: BinaryHeap<(u128, Reverse<u64>, Address, u64)> = inner
            .senders
            .iter()
            .filter_map(|(sender, queue)| {
                let head = queue.get(queue.nonce())?;
                let tip = head.effective_tip(base_fee)?;
                Some((tip, Reverse(head.sequence), *sender, head.nonce))
            })
            .collect();
        while let Some((_, _, sender, nonce)) = heads.pop() {
            let queue = &inner.senders[&sender];
            let transaction = queue.get(nonce).expect("a head is in its queue");
            match take(transaction) {
                Take::Yes => {
                    if let Some(next) = queue.get(nonce + 1)
                        && let Some(tip) = next.effective_tip(base_fee)
                    {
                        heads.push((tip, Reverse(next.sequence), sender, next.nonce));
                    }
                }
                Take::SkipSender => {}
                Take::Stop => break,
            }
        }
    }

    /// Whether anything can go into a block with this base fee.
    pub fn has_executable(&self, base_fee: u64) -> bool {
        let inner = self.inner.lock();
        if inner.pending == 0 {
            return false;
        }
        let base_fee = u128::from(base_fee);
        inner.senders.values().any(|queue| {
            let head = queue.get(queue.nonce());
            head.is_some_and(|head| head.effective_tip(base_fee).is_some())
        })
    }

    /// Moves the pool past a block, given the senders' states after it. Transactions below the new nonces
    /// leave the pool. `included` tells whether one is in the block; otherwise another transaction used its
    /// nonce.
    pub fn advance(
        &self,
        senders: impl IntoIterator<Item = (Address, SenderState)>,
        included: impl Fn(B256) -> bool,
    ) {
        let mut inner = self.inner.lock();
        for (sender, state) in senders {
            inner.advance(sender, state.nonce, &included);
        }
    }

    /// Drops a transaction that cannot be in a block, and records why. The sender's later transactions stay,
    /// after a gap.
    pub fn drop_transaction(&self, hash: B256, reason: DropReason) {
        self.inner.lock().remove(hash, reason);
    }
}

/// What to do with a transaction offered for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Take it; the sender's next one is offered in its turn.
    Yes,
    /// Leave it and the sender's others.
    SkipSender,
    /// The block is full.
    Stop,
}

impl Inner {
    fn insert(
        &mut self,
        config: &PoolConfig,
        mut transaction: PooledTransaction,
        state: SenderState,
    ) -> Result<Vec<B256>, PoolError> {
        let (hash, sender, nonce) = (transaction.hash, transaction.sender, transaction.nonce);
        if self.by_hash.contains_key(&hash) {
            return Err(PoolError::AlreadyKnown);
        }
        let known = self.senders.get(&sender);
        let next = known.map_or(state.nonce, |queue| queue.nonce().max(state.nonce));
        if nonce < next {
            return Err(PoolError::NonceTooLow { nonce, next });
        }
        if transaction.cost > state.balance {
            return Err(PoolError::InsufficientFunds {
                sender,
                balance: state.balance,
                cost: transaction.cost,
            });
        }
        let replaced = known.and_then(|queue| queue.get(nonce)).cloned();
        if let Some(known) = known {
            let others = known.cost_without(nonce);
            if others.saturating_add(transaction.cost) > state.balance {
                return Err(PoolError::Overdraft {
                    balance: state.balance,
                    waiting: others,
                    cost: transaction.cost,
                });
            }
        }
        match &replaced {
            Some(old) => old.check_replacement(&transaction, config.price_bump_percent)?,
            None => self.check_room_of(config, sender, nonce, next)?,
        }
        transaction.sequence = self.next_sequence;
        self.next_sequence += 1;
        if replaced.is_none() {
            self.make_room(config, &transaction)?;
        }
        if let Some(old) = replaced {
            self.remove_entry(&old);
            let reason = DropReason::Replaced { by: hash };
            self.drops.note(old.hash, reason);
        }
        Ok(self.add(transaction, next))
    }

    /// Limits per sender.
    fn check_room_of(
        &self,
        config: &PoolConfig,
        sender: Address,
        nonce: u64,
        next: u64,
    ) -> Result<(), PoolError> {
        let queue = self.senders.get(&sender);
        let waiting = queue.map_or(0, SenderQueue::len);
        if waiting >= config.transactions_per_sender_max {
            return Err(PoolError::SenderFull {
                limit: config.transactions_per_sender_max,
            });
        }
        let pending_end = queue.map_or(next, |queue| queue.pending_end().max(next));
        if nonce > pending_end {
            let gapped = queue.map_or(0, SenderQueue::queued);
            if gapped >= config.queued_per_sender_max {
                return Err(PoolError::TooManyGapped {
                    limit: config.queued_per_sender_max,
                    next: pending_end,
                });
            }
        }
        Ok(())
    }

    /// Drops lower bids until there is room for the new transaction.
    fn make_room(
        &mut self,
        config: &PoolConfig,
        newcomer: &PooledTransaction,
    ) -> Result<(), PoolError> {
        while self.by_hash.len() >= config.transactions_max
            || self.bytes.saturating_add(newcomer.size) > config.bytes_max
        {
            let Some((&(bid, _), &lowest)) = self.bids.first_key_value() else {
                return Err(PoolError::Full { bid: 0 });
            };
            if bid >= newcomer.bid() {
                return Err(PoolError::Full { bid });
            }
            self.remove(lowest, DropReason::Evicted);
        }
        Ok(())
    }

    fn add(&mut self, transaction: PooledTransaction, next: u64) -> Vec<B256> {
        let transaction = Arc::new(transaction);
        let (hash, sender) = (transaction.hash, transaction.sender);
        self.bids.insert(transaction.eviction_key(), hash);
        self.bytes += transaction.size;
        self.drops.forget(hash);
        let queue = self
            .senders
            .entry(sender)
            .or_insert_with(|| SenderQueue::new(next));
        let before = queue.pending();
        let executable = queue.insert(Arc::clone(&transaction));
        self.pending = self.pending - before + queue.pending();
        self.by_hash.insert(hash, transaction);
        executable
    }

    /// Removes a transaction everywhere; its sender's queue may be left empty.
    fn remove_entry(&mut self, transaction: &PooledTransaction) {
        self.by_hash.remove(&transaction.hash);
        self.bids.remove(&transaction.eviction_key());
        self.bytes -= transaction.size;
        if let Some(queue) = self.senders.get_mut(&transaction.sender) {
            let before = queue.pending();
            queue.remove(transaction.nonce);
            self.pending = self.pending - before + queue.pending();
        }
    }

    fn remove(&mut self, hash: B256, reason: DropReason) {
        let Some(transaction) = self.by_hash.get(&hash).cloned() else {
            return;
        };
        self.remove_entry(&transaction);
        self.drops.note(hash, reason);
        self.forget_if_empty(transaction.sender);
    }

    fn forget_if_empty(&mut self, sender: Address) {
        if self.senders.get(&sender).is_some_and(SenderQueue::is_empty) {
            self.senders.remove(&sender);
        }
    }

    fn advance(&mut self, sender: Address, nonce: u64, included: &impl Fn(B256) -> bool) {
        let Some(queue) = self.senders.get_mut(&sender) else {
            return;
        };
        let before = queue.pending();
        let gone = queue.advance(nonce);
        self.pending = self.pending - before + queue.pending();
        for transaction in gone {
            self.by_hash.remove(&transaction.hash);
            self.bids.remove(&transaction.eviction_key());
            self.bytes -= transaction.size;
            if !included(transaction.hash) {
                self.drops.note(transaction.hash, DropReason::NonceUsed);
            }
        }
        self.forget_if_empty(sender);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
