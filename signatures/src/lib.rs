//! ECDSA public key recovery on secp256k1 (SEC 1, 4.1.6) for many signatures at once.
//!
//! A recovery by libsecp256k1 takes some 28 µs, two thirds of a node's work for a transaction. [`recover`] takes a batch.
//! On processors with AVX-512 and IFMA, it processes eight signatures in parallel in the lanes of vector registers, in a
//! fifth of that time each. Everything else, and unusual signatures, are left to libsecp256k1; tests compare every
//! result with it. Signatures, hashes and keys are public, so nothing here runs in constant time: do not use it for
//! secrets.
//!
//! ```
//! use lockweave_signatures::{Signed, recover};
//! # use alloy_primitives::{address, b256};
//! let signed = Signed {
//!     hash: b256!("0x18c547e4f7b0f325ad1e56f57e26c745b09a3e503d86e00e5255ff7f715d3d1c"),
//!     r: b256!("0x73b1693892219d736caba55bdb67216e485557ea6b6af75f37096c9aa6a5a75f"),
//!     s: b256!("0xeeb940b1d03b21e36b0e47e79769f095fe2ab855bd91e3a38756b7d75a9c4549"),
//!     odd: true,
//! };
//! let sender = recover(&[signed]).pop().unwrap();
//! assert_eq!(sender.unwrap(), address!("0xa94f5374fce5edbc8e2a8697c15331677e6ebf0b"));
//! ```

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod scalar;
mod single;

use alloy_primitives::{Address, B256};
use thiserror::Error;

pub use single::{recover_one, verify};

/// A signature over a hash, whose signer is to be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signed hash.
    pub hash: B256,
    /// The x coordinate of the point R.
    pub r: B256,
    /// The signature's second number.
    pub s: B256,
    /// Whether the y coordinate of R is odd.
    pub odd: bool,
}

/// The signature is invalid: no key can have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct RecoveryError(#[from] secp256k1::Error);

/// Recovers the address of each signer, in order.
///
/// Values of `s` in the upper half of the order are accepted; the caller checks EIP-2.
pub fn recover(signed: &[Signed]) -> Vec<Result<Address, RecoveryError>> {
    let recovered = recover_in_lanes(signed);
    (recovered.into_iter().zip(signed))
        .map(|(recovered, signed)| recovered.map_or_else(|| recover_one(signed), Ok))
        .collect()
}

/// Recovers signers in parallel lanes; `None` where libsecp256k1 must decide.
#[cfg(target_arch = "x86_64")]
fn recover_in_lanes(signed: &[Signed]) -> Vec<Option<Address>> {
    /// Eight lanes take longer than libsecp256k1 does for one signature.
    const BATCH_MIN: usize = 2;

    let mut found = vec![None; signed.len()];
    let Some(available) = lanes::Available::detect() else {
        return found;
    };
    let (places, numbers): (Vec<_>, Vec<_>) = (signed.iter().map(scalar::Numbers::of).enumerate())
        .filter_map(|(place, numbers)| Some((place, numbers?)))
        .unzip();
    if numbers.len() < BATCH_MIN {
        return found;
    }
    let multiples = scalar::multiples(&numbers);
    let jobs: Vec<_> = (places.iter().zip(&numbers).zip(multiples))
        .map(|((place, numbers), multiples)| lanes::Job {
            x: *numbers.r.as_limbs(),
            odd: signed[*place].odd,
            multiples,
        })
        .collect();
    for (place, key) in places.into_iter().zip(lanes::recover(available, &jobs)) {
        found[place] = key.map(address_of);
    }
    found
}

#[cfg(not(target_arch = "x86_64"))]
fn recover_in_lanes(signed: &[Signed]) -> Vec<Option<Address>> {
    vec![None; signed.len()]
}

/// The last 20 bytes of the hash of the key's coordinates.
#[cfg(target_arch = "x86_64")]
fn address_of(key: lanes::Key) -> Address {
    let mut bytes = [0; 64];
    let words = key.into_iter().flat_map(|number| number.into_iter().rev());
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_be_bytes();
    }
    Address::from_raw_public_key(&bytes)
}

#[cfg(test)]
mod tests;
