//! Senders from signatures, with libsecp256k1.

use alloy_consensus::{
    crypto::RecoveryError,
    transaction::{SignerRecoverable, TxHashRef},
};
use alloy_primitives::{Address, B256};
use thiserror::Error;

/// A signature that names no sender.
#[derive(Debug, Error)]
#[error("the signature of transaction {hash} is not valid: {source}")]
pub struct RecoverError {
    /// Hash of the transaction.
    pub hash: B256,
    /// What the curve says.
    #[source]
    pub source: RecoveryError,
}

/// The address that signed a transaction.
///
/// `homestead` asks for signatures in the lower half of the curve's order, as EIP-2 does from
/// Homestead on. Takes some 25 to 40 µs, so recover on many threads and off the execution path.
pub fn recover_sender(
    transaction: &(impl SignerRecoverable + TxHashRef),
    homestead: bool,
) -> Result<Address, RecoverError> {
    let sender = if homestead {
        transaction.recover_signer()
    } else {
        transaction.recover_signer_unchecked()
    };
    sender.map_err(|source| RecoverError {
        hash: *transaction.tx_hash(),
        source,
    })
}
