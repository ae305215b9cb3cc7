//! Why transactions left the pool without being in a block.

use ahash::AHashMap;
use alloy_primitives::B256;
use std::collections::VecDeque;
use thiserror::Error;

/// Reasons that are kept at most.
const REMEMBERED_MAX: usize = 65_536;

/// Why a transaction left the pool without being in a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DropReason {
    /// Replaced by a transaction with the same nonce and a higher bid.
    #[error("replaced by {by}, which bid more")]
    Replaced {
        /// Hash of the other.
        by: B256,
    },
    /// The pool was full and other transactions bid more.
    #[error("the pool was full and others bid more")]
    Evicted,
    /// Its nonce was used by another transaction in a block.
    #[error("its nonce was used by another transaction")]
    NonceUsed,
    /// It cannot be in a block: the executor's reason.
    #[error("it cannot be in a block: {0}")]
    Invalid(String),
}

/// The last reasons; the oldest are dropped.
#[derive(Debug, Default)]
pub(super) struct Drops {
    reasons: AHashMap<B256, DropReason>,
    order: VecDeque<B256>,
}

impl Drops {
    pub(super) fn note(&mut self, hash: B256, reason: DropReason) {
        if self.reasons.insert(hash, reason).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.reasons.remove(&oldest);
            }
        }
    }

    /// The transaction was submitted again.
    pub(super) fn forget(&mut self, hash: B256) {
        // Its entry in `order` stays; when it comes up, there is nothing to remove.
        self.reasons.remove(&hash);
    }

    pub(super) fn get(&self, hash: B256) -> Option<DropReason> {
        self.reasons.get(&hash).cloned()
    }
}
