//! Batches of signatures: for any numbers a batch has the results of libsecp256k1 for each signature.
//!
//! Numbers are a few bits set among zeros or ones, so that ends of limbs, of words and of digits are met, plain or times `r`;
//! `r` is any number or that of a real signature.

#![no_main]

use alloy_primitives::{B256, U256, keccak256, uint};
use libfuzzer_sys::fuzz_target;
use lockweave_signatures::{Signed, recover, recover_one};
use secp256k1::{Message, SecretKey, ecdsa::RecoverableSignature};

const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);

/// An `r` of a point, and the parity of its y.
fn real(seed: u8) -> (U256, bool) {
    let hash = keccak256([seed]);
    let key = SecretKey::from_secret_bytes(hash.0).expect("below the order");
    let signature =
        RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
    let (id, bytes) = signature.serialize_compact();
    (U256::from_be_slice(&bytes[..32]), id.to_u8() == 1)
}

fn number([flags, place, length, more]: [u8; 4], r: U256) -> U256 {
    let ones = (U256::from(1) << (usize::from(length) % 64)).wrapping_sub(U256::from(1));
    let mut number = (ones << usize::from(place)).wrapping_add(U256::from(more % 4));
    if flags & 1 != 0 {
        number = !number;
    }
    if flags & 2 != 0 {
        number = number.add_mod(ORDER, ORDER).mul_mod(r, ORDER);
    }
    if flags & 4 != 0 {
        keccak256(number.to_be_bytes::<32>()).into()
    } else {
        number
    }
}

fuzz_target!(|bytes: &[u8]| {
    let signed: Vec<_> = (bytes.chunks_exact(14).take(24))
        .map(|bytes| {
            let (mut r, odd) = real(bytes[1]);
            let quarter = |index: usize| bytes[index..index + 4].try_into().expect("four bytes");
            if bytes[0] & 7 == 0 {
                r = number(quarter(10), r);
            }
            Signed {
                hash: B256::from(number(quarter(2), r)),
                r: B256::from(r),
                s: B256::from(number(quarter(6), r)),
                odd: odd ^ (bytes[0] & 8 != 0),
            }
        })
        .collect();
    let expected: Vec<_> = signed.iter().map(recover_one).collect();
    assert_eq!(recover(&signed), expected);
});
