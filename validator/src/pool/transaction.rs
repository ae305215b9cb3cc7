//! A transaction as the pool holds it.

use super::{EvictionKey, error::PoolError};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256};
use lockweave_evm_adapter::EvmTransaction;
use std::cmp::Reverse;

/// A transaction that passed the stateless checks, with the fields that the pool uses.
#[derive(Clone, Debug)]
pub struct PooledTransaction {
    /// The transaction and its sender.
    pub transaction: EvmTransaction,
    /// Its hash.
    pub hash: B256,
    /// Its sender.
    pub sender: Address,
    /// Its nonce.
    pub nonce: u64,
    /// Most it pays per gas, in wei.
    pub max_fee: u128,
    /// Most of that it leaves to the beneficiary, in wei per gas.
    pub max_tip: u128,
    /// Its gas limit.
    pub gas_limit: u64,
    /// Most it can cost its sender: gas and value, in wei.
    pub cost: U256,
    /// Length of its encoding in bytes.
    pub size: usize,
    /// Its position in the order of arrival, set by the pool.
    pub(super) sequence: u64,
}

impl PooledTransaction {
    /// A transaction whose encoding has `size` bytes.
    pub fn new(transaction: EvmTransaction, size: usize) -> Self {
        let envelope = transaction.envelope();
        let max_fee = envelope.max_fee_per_gas();
        let gas_limit = envelope.gas_limit();
        let gas_cost = U256::from(max_fee) * U256::from(gas_limit);
        Self {
            hash: transaction.hash(),
            sender: transaction.sender(),
            nonce: envelope.nonce(),
            max_fee,
            max_tip: envelope.max_priority_fee_per_gas().unwrap_or(max_fee),
            gas_limit,
            cost: gas_cost.saturating_add(envelope.value()),
            size,
            sequence: 0,
            transaction,
        }
    }

    /// What the beneficiary gets per gas in a block with this base fee, in wei; `None` if the
    /// transaction does not pay the base fee.
    pub fn effective_tip(&self, base_fee: u128) -> Option<u128> {
        let over = self.max_fee.checked_sub(base_fee)?;
        Some(over.min(self.max_tip))
    }

    /// Its bid for staying in the pool, in wei per gas.
    pub(super) fn bid(&self) -> u128 {
        self.max_tip.min(self.max_fee)
    }

    pub(super) fn eviction_key(&self) -> EvictionKey {
        (self.bid(), Reverse(self.sequence))
    }

    /// Whether another one may replace it: fee cap and tip must both rise by `percent`.
    pub(super) fn check_replacement(&self, other: &Self, percent: u32) -> Result<(), PoolError> {
        let raised = |value: u128| {
            let bump = value.saturating_mul(u128::from(percent)).div_ceil(100);
            value.saturating_add(bump.max(1))
        };
        if other.max_fee < raised(self.max_fee) || other.max_tip < raised(self.max_tip) {
            return Err(PoolError::Underpriced {
                fee: self.max_fee,
                tip: self.max_tip,
                percent,
            });
        }
        Ok(())
    }
}
