//! What is known about a block's accesses before it is executed.

use alloy_eips::eip7928::AccountChanges;
use lockweave_runtime::{AccessSet, KeyTable};
use std::sync::Arc;

/// Where the access sets of a block come from.
#[derive(Clone, Copy, Debug, Default)]
pub enum Access<'a> {
    /// Transactions that sign a set (type `0x44`) run under it. The sets of all others are inferred on
    /// the state before the block. A wrong inference costs time, never correctness.
    #[default]
    Inferred,
    /// Every transaction signs its set. One that leaves it fails and pays its gas limit.
    Signed,
    /// A set for each step, recorded in an earlier execution. A set that is too small is an error.
    Recorded(&'a RecordedAccess),
    /// The block's access list (EIP-7928). All transactions run at once without locks; afterwards the
    /// list must be the one that execution gives.
    Listed(&'a [AccountChanges]),
}

/// The access sets of a block's steps, and what else an earlier execution found.
#[derive(Clone, Debug, Default)]
pub struct RecordedAccess {
    sets: Vec<AccessSet>,
    gas_used: Vec<u64>,
    table: Option<Arc<KeyTable>>,
}

impl RecordedAccess {
    /// One set for each step, in block order. The workers number the keys when the block is executed.
    pub fn new(sets: Vec<AccessSet>) -> Self {
        Self {
            sets,
            ..Self::default()
        }
    }

    /// Numbers the keys now, so that executions do not have to.
    #[must_use]
    pub fn numbered(mut self) -> Self {
        self.table = Some(Arc::new(KeyTable::number(&self.sets)));
        self
    }

    /// Gas used by each step. It replaces gas limits as the estimate of a step's cost.
    #[must_use]
    pub fn with_gas_used(mut self, gas_used: Vec<u64>) -> Self {
        self.gas_used = gas_used;
        self
    }

    /// The sets in block order.
    pub fn sets(&self) -> &[AccessSet] {
        &self.sets
    }

    pub(crate) fn gas_used(&self, step: usize) -> Option<u64> {
        self.gas_used.get(step).copied()
    }

    pub(crate) const fn table(&self) -> Option<&Arc<KeyTable>> {
        self.table.as_ref()
    }
}
