//! Makes alloy recover signatures (authorities of EIP-7702) with the newest libsecp256k1.
//!
//! alloy is bound to a release of 2023, which calls its field arithmetic; the newest release inlines it.

use alloy_consensus::crypto::{
    RecoveryError,
    backend::{CryptoProvider, install_default_provider},
};
use alloy_primitives::{Address, B256};
use lockweave_signatures::{Signed, recover_one, verify};
use std::sync::Arc;

/// Installs the newest release for all recoveries of the process.
pub fn install_libsecp256k1() {
    // An error means that it is installed already.
    let _ = install_default_provider(Arc::new(Newest));
}

struct Newest;

impl CryptoProvider for Newest {
    fn recover_signer_unchecked(
        &self,
        signature: &[u8; 65],
        message: &[u8; 32],
    ) -> Result<Address, RecoveryError> {
        let signed = Signed {
            hash: message.into(),
            r: B256::from_slice(&signature[..32]),
            s: B256::from_slice(&signature[32..64]),
            odd: match signature[64] {
                0 => false,
                1 => true,
                // An r beyond the group order: practically impossible, and invalid in Ethereum.
                _ => return Err(RecoveryError::new()),
            },
        };
        // The error has no details, as in alloy's own implementation.
        recover_one(&signed).map_err(|_| RecoveryError::new())
    }

    fn verify_and_compute_signer_unchecked(
        &self,
        key: &[u8; 65],
        signature: &[u8; 64],
        message: &[u8; 32],
    ) -> Result<Address, RecoveryError> {
        verify(key, signature, *message).map_err(|_| RecoveryError::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::crypto::secp256k1 as alloy;
    use alloy_primitives::{Signature, U256, keccak256};
    use alloy_signer::SignerSync;
    use alloy_signer_local::PrivateKeySigner;
    use proptest::prelude::*;

    fn compact(signature: &Signature) -> [u8; 65] {
        let mut bytes = [0; 65];
        bytes[..32].copy_from_slice(&signature.r().to_be_bytes::<32>());
        bytes[32..64].copy_from_slice(&signature.s().to_be_bytes::<32>());
        bytes[64] = signature.v().into();
        bytes
    }

    fn sign(key: [u8; 32], message: B256) -> (PrivateKeySigner, Signature) {
        let signer = PrivateKeySigner::from_bytes(&key.into()).unwrap();
        let signature = signer.sign_hash_sync(&message).unwrap();
        (signer, signature)
    }

    proptest! {
        #[test]
        fn it_finds_who_signed(seed in 1_u64.., message: [u8; 32]) {
            let key = keccak256(seed.to_be_bytes()).0;
            let (signer, signature) = sign(key, message.into());
            let found = Newest.recover_signer_unchecked(&compact(&signature), &message);
            prop_assert_eq!(found.unwrap(), signer.address());
        }

        /// The provider is not installed in this test, so alloy goes its own way.
        #[test]
        fn it_agrees_with_alloy_on_any_bytes(r: [u8; 32], s: [u8; 32], parity: bool, message: [u8; 32]) {
            let signature = Signature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), parity);
            let found = Newest.recover_signer_unchecked(&compact(&signature), &message);
            let expected = alloy::recover_signer_unchecked(&signature, message.into());
            prop_assert_eq!(found.ok(), expected.ok());
        }
    }

    #[test]
    fn keys_are_verified() {
        let message = B256::repeat_byte(9);
        let (signer, signature) = sign([7; 32], message);
        let key = signer.credential().verifying_key().to_encoded_point(false);
        let key: [u8; 65] = key.as_bytes().try_into().unwrap();
        let bytes = compact(&signature);
        let rs: [u8; 64] = bytes[..64].try_into().unwrap();
        let found = Newest.verify_and_compute_signer_unchecked(&key, &rs, &message.0);
        assert_eq!(found.unwrap(), signer.address());
        assert!(
            Newest
                .verify_and_compute_signer_unchecked(&key, &rs, &[8; 32])
                .is_err()
        );
    }
}
