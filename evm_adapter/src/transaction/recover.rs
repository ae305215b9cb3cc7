//! Senders from signatures.

use super::envelope::LockweaveTxEnvelope;
use alloy_consensus::{TxEnvelope, crypto::SECP256K1N_HALF};
use alloy_primitives::{Address, B256, Signature};
use lockweave_signatures::{RecoveryError, Signed, recover};
use thiserror::Error;

/// A signature without a valid sender.
#[derive(Debug, Error)]
#[error("the signature of transaction {hash} is not valid: {source}")]
pub struct RecoverError {
    /// Hash of the transaction.
    pub hash: B256,
    /// What is wrong with it.
    #[source]
    pub source: SignatureFault,
}

/// What is wrong with a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureFault {
    /// EIP-2 allows only one of the two valid signatures.
    #[error("s is in the upper half of the curve's order (EIP-2)")]
    UpperHalf,
    /// No key can have made the signature.
    #[error(transparent)]
    NoKey(#[from] RecoveryError),
}

/// A signed transaction.
pub trait SignedTransaction {
    /// The transaction's hash.
    fn hash(&self) -> B256;
    /// Its signature.
    fn signature(&self) -> &Signature;
    /// The signed hash.
    fn signature_hash(&self) -> B256;
}

impl SignedTransaction for TxEnvelope {
    fn hash(&self) -> B256 {
        *self.tx_hash()
    }

    fn signature(&self) -> &Signature {
        self.signature()
    }

    fn signature_hash(&self) -> B256 {
        self.signature_hash()
    }
}

impl SignedTransaction for LockweaveTxEnvelope {
    fn hash(&self) -> B256 {
        *self.tx_hash()
    }

    fn signature(&self) -> &Signature {
        match self {
            Self::Ethereum(transaction) => transaction.signature(),
            Self::Declared(transaction) => transaction.signature(),
        }
    }

    fn signature_hash(&self) -> B256 {
        match self {
            Self::Ethereum(transaction) => transaction.signature_hash(),
            Self::Declared(transaction) => transaction.signature_hash(),
        }
    }
}

/// Recovers the senders of transactions, in order.
///
/// With `homestead`, signatures must be in the lower half of the curve's order (EIP-2). A batch is faster than single
/// recoveries ([`lockweave_signatures`]). Recover senders before execution, not while locks are held.
pub fn recover_senders<'t, T: SignedTransaction + 't>(
    transactions: impl IntoIterator<Item = &'t T>,
    homestead: bool,
) -> Vec<Result<Address, RecoverError>> {
    let transactions: Vec<_> = transactions.into_iter().collect();
    let signed: Vec<_> = (transactions.iter())
        .map(|transaction| {
            let signature = transaction.signature();
            Signed {
                hash: transaction.signature_hash(),
                r: signature.r().into(),
                s: signature.s().into(),
                odd: signature.v(),
            }
        })
        .collect();
    (transactions.into_iter().zip(recover(&signed)))
        .map(|(transaction, sender)| {
            let sender = if homestead && transaction.signature().s() > SECP256K1N_HALF {
                Err(SignatureFault::UpperHalf)
            } else {
                sender.map_err(SignatureFault::from)
            };
            sender.map_err(|source| RecoverError {
                hash: transaction.hash(),
                source,
            })
        })
        .collect()
}

/// Recovers the sender of one transaction; see [`recover_senders`].
pub fn recover_sender(
    transaction: &impl SignedTransaction,
    homestead: bool,
) -> Result<Address, RecoverError> {
    let mut senders = recover_senders([transaction], homestead);
    senders.pop().expect("a sender of one transaction")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::{SignableTransaction, TxLegacy};
    use alloy_primitives::{U256, uint};
    use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

    const ORDER: U256 =
        uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

    /// A transaction with both of its valid signatures, and the sender.
    fn signed(nonce: u64) -> ([TxEnvelope; 2], Address) {
        let transaction = TxLegacy {
            nonce,
            ..TxLegacy::default()
        };
        let key = SecretKey::from_secret_bytes([7; 32]).expect("below the order");
        let message = Message::from_digest(transaction.signature_hash().0);
        let (id, bytes) =
            RecoverableSignature::sign_ecdsa_recoverable(message, &key).serialize_compact();
        let (r, s) = (
            U256::from_be_slice(&bytes[..32]),
            U256::from_be_slice(&bytes[32..]),
        );
        let odd = id.to_u8() == 1;
        let signatures = [
            Signature::new(r, s, odd),
            Signature::new(r, ORDER - s, !odd),
        ];
        let key = PublicKey::from_secret_key(&key).serialize_uncompressed();
        let sender = Address::from_raw_public_key(&key[1..]);
        let envelopes =
            signatures.map(|signature| transaction.clone().into_signed(signature).into());
        (envelopes, sender)
    }

    #[test]
    fn the_upper_half_is_refused_from_homestead_on() {
        for nonce in 0..4 {
            let (envelopes, sender) = signed(nonce);
            let frontier = recover_senders(&envelopes, false);
            assert!(
                frontier
                    .iter()
                    .all(|found| found.as_ref().ok() == Some(&sender))
            );
            let [lower, upper] = &recover_senders(&envelopes, true)[..] else {
                panic!("two in, two out");
            };
            assert_eq!(*lower.as_ref().expect("the lower half"), sender);
            let error = upper.as_ref().expect_err("the upper half");
            assert_eq!(error.source, SignatureFault::UpperHalf);
            assert_eq!(error.hash, *envelopes[1].tx_hash());
        }
    }

    #[test]
    fn senders_are_in_the_transactions_order() {
        let (mut envelopes, senders): (Vec<_>, Vec<_>) = (0..40)
            .map(|nonce| {
                let ([envelope, _], sender) = signed(nonce);
                (envelope, sender)
            })
            .unzip();
        // No signature has a zero for r.
        let wrong = Signature::new(U256::ZERO, U256::ONE, false);
        envelopes[17] = TxLegacy::default().into_signed(wrong).into();
        for (place, (found, sender)) in recover_senders(&envelopes, true)
            .iter()
            .zip(senders)
            .enumerate()
        {
            match found {
                Ok(found) => assert_eq!(*found, sender),
                Err(error) => {
                    assert_eq!((place, error.hash), (17, *envelopes[17].tx_hash()));
                    assert!(matches!(error.source, SignatureFault::NoKey(_)));
                }
            }
            assert_eq!(found.is_err(), place == 17);
        }
    }
}
