//! Why a step is invalid.

use alloy_primitives::Address;
use lockweave_runtime::AccessSetError;
use revm::{context::result::InvalidTransaction, primitives::Bytes};
use thiserror::Error;

/// Why a step may not stand at its position in the block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidStep {
    /// The signed declaration is not a valid access set.
    #[error(transparent)]
    Declaration(#[from] AccessSetError),
    /// The beneficiary's balance is so large that adding the fee could overflow.
    #[error("the balance of the beneficiary {beneficiary} is too large to be credited")]
    BeneficiaryBalance {
        /// The block's beneficiary.
        beneficiary: Address,
    },
    /// The transaction is invalid.
    #[error("invalid transaction: {0}")]
    Transaction(InvalidTransaction),
    /// The block's header lacks what the fork requires.
    #[error("invalid header: {0}")]
    Header(String),
    /// A system call that must succeed failed (EIP-7002, EIP-7251).
    #[error("the system call to {contract} failed: {reason}")]
    SystemCall {
        /// The called contract.
        contract: Address,
        /// Its status.
        reason: String,
        /// Its output.
        output: Bytes,
    },
    /// Another error of revm.
    #[error("the executor refused: {0}")]
    Other(String),
}
