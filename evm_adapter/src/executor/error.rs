//! Errors on the way through revm.

use alloy_primitives::Address;
use lockweave_runtime::{AccessError, AccessSetError};
use revm::{
    context::result::InvalidTransaction, database_interface::DBErrorMarker, primitives::Bytes,
};
use thiserror::Error;

/// An [`AccessError`] in the form in which revm passes errors of its database along.
#[derive(Clone, Debug, Error)]
#[error(transparent)]
pub(crate) struct DbError(#[from] AccessError);

impl DBErrorMarker for DbError {}

impl From<DbError> for AccessError {
    fn from(error: DbError) -> Self {
        error.0
    }
}

/// Why a step may not be in its block at its place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidStep {
    /// What the transaction signed that it touches is not an access set.
    #[error(transparent)]
    Declaration(#[from] AccessSetError),
    /// The beneficiary has so much that its fee cannot be credited without looking.
    #[error("the balance of the beneficiary {beneficiary} is too large to be credited")]
    BeneficiaryBalance {
        /// The block's beneficiary.
        beneficiary: Address,
    },
    /// The transaction is refused.
    #[error("invalid transaction: {0}")]
    Transaction(InvalidTransaction),
    /// The block's header lacks what the fork requires.
    #[error("invalid header: {0}")]
    Header(String),
    /// A system call that must succeed did not (EIP-7002, EIP-7251).
    #[error("the system call to {contract} failed: {reason}")]
    SystemCall {
        /// The contract called.
        contract: Address,
        /// How it ended.
        reason: String,
        /// What it returned.
        output: Bytes,
    },
    /// revm refused for a reason of its own.
    #[error("the executor refused: {0}")]
    Other(String),
}
