//! The outcome of a transaction, and the receipts of a block.

use alloy_primitives::{Address, Bloom, Bytes, Log};

/// What kind of step in the block order an outcome belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// A transaction of this EIP-2718 type; it has a receipt and counts towards the block's gas.
    Transaction(u8),
    /// Part of the protocol (a system call, withdrawals, rewards): no receipt, no gas.
    System,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It ran to its end.
    Succeeded,
    /// It undid itself and said why in its output.
    Reverted,
    /// It was stopped by the machine; the reason as the executor calls it.
    Halted(String),
}

/// The outcome of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Transaction or system step.
    pub kind: OutcomeKind,
    /// How it ended.
    pub status: Status,
    /// Gas used, after refunds.
    pub gas_used: u64,
    /// Logs in the order they were emitted.
    pub logs: Vec<Log>,
    /// Return data, or the reason of a revert.
    pub output: Bytes,
    /// The contract that a creating transaction made.
    pub created: Option<Address>,
}

impl Outcome {
    /// The outcome of a system step that succeeded, or did nothing: no receipt, no gas.
    pub const fn system() -> Self {
        Self {
            kind: OutcomeKind::System,
            status: Status::Succeeded,
            gas_used: 0,
            logs: Vec::new(),
            output: Bytes::new(),
            created: None,
        }
    }

    /// Whether the transaction ran to its end.
    pub const fn is_success(&self) -> bool {
        matches!(self.status, Status::Succeeded)
    }
}

/// A transaction's receipt, with its place in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// EIP-2718 type.
    pub transaction_type: u8,
    /// Whether it ran to its end (EIP-658).
    pub succeeded: bool,
    /// Gas used by this transaction.
    pub gas_used: u64,
    /// Gas used by the block up to and with this transaction.
    pub cumulative_gas_used: u64,
    /// Index of the receipt's first log within the block.
    pub first_log_index: usize,
    /// Logs.
    pub logs: Vec<Log>,
    /// The contract it created.
    pub created: Option<Address>,
}

impl Receipt {
    /// The bloom filter over the receipt's logs.
    pub fn bloom(&self) -> Bloom {
        self.logs.iter().collect()
    }
}

/// The block's gas counter would not fit in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gas used by the block's transactions does not fit in 64 bits")]
pub struct GasOverflow;

/// Receipts of a block's outcomes, in block order.
pub fn receipts(outcomes: impl IntoIterator<Item = Outcome>) -> Result<Vec<Receipt>, GasOverflow> {
    let mut cumulative_gas_used = 0_u64;
    let mut first_log_index = 0;
    let mut receipts = Vec::new();
    for outcome in outcomes {
        let OutcomeKind::Transaction(transaction_type) = outcome.kind else {
            continue;
        };
        cumulative_gas_used = cumulative_gas_used
            .checked_add(outcome.gas_used)
            .ok_or(GasOverflow)?;
        let logs_count = outcome.logs.len();
        receipts.push(Receipt {
            transaction_type,
            succeeded: outcome.is_success(),
            gas_used: outcome.gas_used,
            cumulative_gas_used,
            first_log_index,
            logs: outcome.logs,
            created: outcome.created,
        });
        first_log_index += logs_count;
    }
    Ok(receipts)
}
