//! Signed transactions of every type: Ethereum's and `0x44`.

use super::declared::TxDeclared;
use alloy_consensus::{
    Signed, TransactionEnvelope, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy,
    crypto::RecoveryError,
    transaction::{SignerRecoverable, TxHashRef},
};
use alloy_primitives::{Address, B256};

/// A signed transaction: one of Ethereum's types, or of type `0x44` ([`TxDeclared`]).
///
/// It encodes, decodes and serialises as alloy's own envelopes do.
#[derive(Clone, Debug, TransactionEnvelope)]
#[envelope(tx_type_name = LockweaveTxType)]
pub enum LockweaveTxEnvelope {
    /// Types 0 to 4.
    #[envelope(flatten)]
    Ethereum(TxEnvelope),
    /// Type `0x44`.
    #[envelope(ty = 68)]
    Declared(Signed<TxDeclared>),
}

impl LockweaveTxEnvelope {
    /// The transaction's hash.
    pub fn tx_hash(&self) -> &B256 {
        match self {
            Self::Ethereum(transaction) => transaction.tx_hash(),
            Self::Declared(transaction) => transaction.hash(),
        }
    }

    /// The transaction of type `0x44`, if it is one.
    pub const fn as_declared(&self) -> Option<&Signed<TxDeclared>> {
        match self {
            Self::Declared(transaction) => Some(transaction),
            Self::Ethereum(_) => None,
        }
    }

    /// Ethereum's transaction, if it is one.
    pub const fn as_ethereum(&self) -> Option<&TxEnvelope> {
        match self {
            Self::Ethereum(transaction) => Some(transaction),
            Self::Declared(_) => None,
        }
    }
}

impl TxHashRef for LockweaveTxEnvelope {
    fn tx_hash(&self) -> &B256 {
        self.tx_hash()
    }
}

impl SignerRecoverable for LockweaveTxEnvelope {
    fn recover_signer(&self) -> Result<Address, RecoveryError> {
        match self {
            Self::Ethereum(transaction) => transaction.recover_signer(),
            Self::Declared(transaction) => SignerRecoverable::recover_signer(transaction),
        }
    }

    fn recover_signer_unchecked(&self) -> Result<Address, RecoveryError> {
        match self {
            Self::Ethereum(transaction) => transaction.recover_signer_unchecked(),
            Self::Declared(transaction) => SignerRecoverable::recover_signer_unchecked(transaction),
        }
    }
}

impl From<TxEnvelope> for LockweaveTxEnvelope {
    fn from(transaction: TxEnvelope) -> Self {
        Self::Ethereum(transaction)
    }
}

macro_rules! from_signed {
    ($($transaction:ty),*) => {$(
        impl From<Signed<$transaction>> for LockweaveTxEnvelope {
            fn from(transaction: Signed<$transaction>) -> Self {
                Self::Ethereum(transaction.into())
            }
        }
    )*};
}

from_signed!(TxLegacy, TxEip2930, TxEip1559, TxEip7702);

impl From<Signed<TxDeclared>> for LockweaveTxEnvelope {
    fn from(transaction: Signed<TxDeclared>) -> Self {
        Self::Declared(transaction)
    }
}
