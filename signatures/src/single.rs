//! One signature, by libsecp256k1.

use crate::{RecoveryError, Signed};
use alloy_primitives::Address;
use secp256k1::{
    Error, Message, PublicKey,
    ecdsa::{RecoverableSignature, RecoveryId, Signature},
};

/// Recovers the address of a signer.
pub fn recover_one(signed: &Signed) -> Result<Address, RecoveryError> {
    let key = key_of(signed)?;
    Ok(address_of(&key))
}

/// Verifies a signature (64 bytes: `r` and `s`) with a key; returns the key's address.
pub fn verify(
    key: &[u8; 65],
    signature: &[u8; 64],
    hash: [u8; 32],
) -> Result<Address, RecoveryError> {
    let key = PublicKey::from_slice(key)?;
    let signature = Signature::from_compact(signature)?;
    signature.verify(Message::from_digest(hash), &key)?;
    Ok(address_of(&key))
}

fn key_of(signed: &Signed) -> Result<PublicKey, Error> {
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(signed.r.as_slice());
    compact[32..].copy_from_slice(signed.s.as_slice());
    let id = RecoveryId::try_from(i32::from(signed.odd))?;
    let signature = RecoverableSignature::from_compact(&compact, id)?;
    signature.recover_ecdsa(Message::from_digest(signed.hash.0))
}

fn address_of(key: &PublicKey) -> Address {
    Address::from_raw_public_key(&key.serialize_uncompressed()[1..])
}
