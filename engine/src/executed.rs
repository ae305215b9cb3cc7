//! The result of an execution.

use ahash::AHashMap;
use alloy_eips::eip7928::BlockAccessList;
use alloy_primitives::{B256, Bloom};
use lockweave_banking_stage::InferredStats;
use lockweave_evm_adapter::{InvalidStep, logs_bloom, receipts_root};
use lockweave_runtime::{AccessSet, GasOverflow, OutcomeKind, Receipt, SealedBlock, StateDelta};
use std::time::Duration;

/// Why transactions were skipped, by hash; see
/// [`Run::skip_invalid`](crate::Run::skip_invalid).
pub type SkippedTransactions = AHashMap<B256, Box<InvalidStep>>;

/// The result of a block: the same for every number of workers and every path.
#[derive(Debug)]
#[non_exhaustive]
pub struct Executed {
    /// The outcome of every step, in block order, and what the block changed.
    pub sealed: SealedBlock,
    /// The access set of every step, if [`Run::keep_access`](crate::Run::keep_access) asked for them;
    /// else empty.
    pub access: Vec<AccessSet>,
    /// The block's access list (EIP-7928), if
    /// [`Run::build_access_list`](crate::Run::build_access_list) asked for it.
    pub access_list: Option<BlockAccessList>,
    /// Transactions that were skipped, and why.
    pub skipped: SkippedTransactions,
    /// How the execution went.
    pub statistics: Statistics,
}

/// How an execution went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Time from opening the block to its changes gathered.
    pub elapsed: Duration,
    /// How access sets were inferred, and what was repaired. All zero where nothing was inferred.
    pub inference: InferredStats,
}

impl Executed {
    pub(crate) fn new(sealed: SealedBlock, elapsed: Duration) -> Self {
        Self {
            sealed,
            access: Vec::new(),
            access_list: None,
            skipped: SkippedTransactions::default(),
            statistics: Statistics {
                elapsed,
                inference: InferredStats::default(),
            },
        }
    }

    /// A receipt for every transaction, in block order.
    pub fn receipts(&self) -> Result<Vec<Receipt>, GasOverflow> {
        self.sealed.receipts()
    }

    /// The root of the receipts' trie, for blocks from Byzantium on.
    pub fn receipts_root(&self) -> Result<B256, GasOverflow> {
        Ok(receipts_root(&self.receipts()?))
    }

    /// The bloom filter over all logs.
    pub fn logs_bloom(&self) -> Result<Bloom, GasOverflow> {
        Ok(logs_bloom(&self.receipts()?))
    }

    /// Gas used by all transactions.
    pub fn gas_used(&self) -> u64 {
        let outcomes = self.sealed.outcomes.iter();
        outcomes
            .filter(|outcome| matches!(outcome.kind, OutcomeKind::Transaction(_)))
            .fold(0, |gas, outcome| gas.saturating_add(outcome.gas_used))
    }

    /// What the block changed, sorted by key.
    pub const fn changes(&self) -> &StateDelta {
        &self.sealed.delta
    }
}
