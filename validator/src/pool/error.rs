//! Why a transaction is not taken into the pool.

use alloy_primitives::{Address, U256};
use thiserror::Error;

/// Why a transaction is not taken into the pool. The messages begin like geth's, because clients match on
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PoolError {
    /// The same transaction is waiting.
    #[error("already known")]
    AlreadyKnown,
    /// The nonce was used.
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow {
        /// The transaction's.
        nonce: u64,
        /// The one the sender's next transaction has to have.
        next: u64,
    },
    /// The sender cannot pay for it.
    #[error(
        "insufficient funds for gas * price + value: address {sender} have {balance} want {cost}"
    )]
    InsufficientFunds {
        /// The sender.
        sender: Address,
        /// What it has, in wei.
        balance: U256,
        /// What it may need, in wei.
        cost: U256,
    },
    /// The sender cannot pay for it and its waiting transactions.
    #[error(
        "insufficient funds for gas * price + value: balance {balance}, \
         queued cost {waiting}, tx cost {cost}"
    )]
    Overdraft {
        /// What the sender has, in wei.
        balance: U256,
        /// What its waiting transactions may need, in wei.
        waiting: U256,
        /// What this one may need, in wei.
        cost: U256,
    },
    /// A transaction with this nonce waits, and the new one does not bid enough more.
    #[error(
        "replacement transaction underpriced: fee cap and tip must both rise by {percent} % \
         over {fee} and {tip} wei"
    )]
    Underpriced {
        /// Fee cap of the one that waits, in wei.
        fee: u128,
        /// Tip of the one that waits, in wei.
        tip: u128,
        /// Least rise.
        percent: u32,
    },
    /// The sender has too many transactions.
    #[error(
        "account limit exceeded: the sender has {limit} transactions waiting; \
         send more when some are in a block"
    )]
    SenderFull {
        /// The limit.
        limit: usize,
    },
    /// The sender has too many transactions after a nonce gap.
    #[error(
        "too many transactions behind a nonce gap ({limit}); send the one with nonce {next} first"
    )]
    TooManyGapped {
        /// The limit.
        limit: usize,
        /// The nonce that is missing.
        next: u64,
    },
    /// The pool is full, and no transaction in it bids less.
    #[error("txpool is full: the lowest tip in it is {bid} wei; bid more or try later")]
    Full {
        /// The lowest bid in the pool, in wei per gas.
        bid: u128,
    },
}
