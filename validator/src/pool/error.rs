//! Why a transaction is not taken into the pool.

use alloy_primitives::{Address, U256};
use thiserror::Error;

/// Why a transaction is not taken into the pool. The messages begin like geth's, because clients match on
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum PoolError {
    #[error("already known")]
    AlreadyKnown,
    #[error("nonce too low: next nonce {next}, tx nonce {nonce}")]
    NonceTooLow { nonce: u64, next: u64 },
    #[error(
        "insufficient funds for gas * price + value: address {sender} have {balance} want {cost}"
    )]
    InsufficientFunds {
        sender: Address,
        /// What it has, in wei.
        balance: U256,
        /// What it may need, in wei.
        cost: U256,
    },
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
    #[error(
        "replacement transaction underpriced: fee cap and tip must both rise by {percent} % \
         over {fee} and {tip} wei"
    )]
    Underpriced {
        /// Fee cap of the one that waits, in wei.
        fee: u128,
        /// Tip of the one that waits, in wei.
        tip: u128,
        percent: u32,
    },
    #[error(
        "account limit exceeded: the sender has {limit} transactions waiting; \
         send more when some are in a block"
    )]
    SenderFull { limit: usize },
    #[error(
        "too many transactions behind a nonce gap ({limit}); send the one with nonce {next} first"
    )]
    TooManyGapped { limit: usize, next: u64 },
    #[error("txpool is full: the lowest tip in it is {bid} wei; bid more or try later")]
    Full {
        /// The lowest bid in the pool, in wei per gas.
        bid: u128,
    },
}
