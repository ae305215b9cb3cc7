//! Limits of the pool.

use crate::config::PoolLimits;

/// Limits of the pool, in total and per sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Transactions at most.
    pub transactions_max: usize,
    /// Bytes of encoded transactions at most.
    pub bytes_max: usize,
    /// Transactions of one sender at most.
    pub transactions_per_sender_max: usize,
    /// Transactions of one sender behind a nonce gap at most.
    pub queued_per_sender_max: usize,
    /// By how much, in percent, a replacement has to outbid what it replaces.
    pub price_bump_percent: u32,
    /// Bytes of one encoded transaction at most.
    pub transaction_bytes_max: usize,
    /// Whether transactions without a chain id (from before EIP-155) are accepted.
    pub allow_unprotected: bool,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self::from(&PoolLimits::default())
    }
}

impl From<&PoolLimits> for PoolConfig {
    fn from(limits: &PoolLimits) -> Self {
        Self {
            transactions_max: limits.transactions_max,
            transactions_per_sender_max: limits.per_sender_max,
            queued_per_sender_max: limits.queued_per_sender_max,
            price_bump_percent: limits.price_bump,
            allow_unprotected: limits.allow_unprotected,
            bytes_max: 256 << 20,
            transaction_bytes_max: 128 << 10,
        }
    }
}
