//! A batch has the results of libsecp256k1, and hardly uses it.

use super::*;
use alloy_primitives::{U256, keccak256, uint};
use proptest::prelude::*;
use secp256k1::{Message, PublicKey, SecretKey, ecdsa::RecoverableSignature};

const ORDER: U256 = uint!(0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141_U256);
const PRIME: U256 = uint!(0xfffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f_U256);

fn check(signed: &[Signed]) {
    let expected: Vec<_> = signed.iter().map(recover_one).collect();
    assert_eq!(recover(signed), expected);
    // What the lanes recover is correct by itself.
    for (together, expected) in recover_in_lanes(signed).into_iter().zip(expected) {
        assert!(together.is_none_or(|address| Ok(address) == expected));
    }
}

fn sign(key: B256, hash: B256) -> Signed {
    let key = SecretKey::from_secret_bytes(key.0).expect("a key");
    let signature =
        RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(hash.0), &key);
    let (id, bytes) = signature.serialize_compact();
    Signed {
        hash,
        r: B256::from_slice(&bytes[..32]),
        s: B256::from_slice(&bytes[32..]),
        odd: id.to_u8() == 1,
    }
}

fn numbered(number: u64) -> Signed {
    let hash = keccak256(number.to_be_bytes());
    sign(keccak256(hash), hash)
}

/// Numbers near boundaries (the order, p, words and limbs), and random ones.
fn number() -> impl Strategy<Value = B256> {
    let beside = |number: U256| {
        (0_u64..5).prop_map(move |beside| {
            number
                .wrapping_add(U256::from(beside))
                .wrapping_sub(U256::from(2))
        })
    };
    let edge = (0_usize..256).prop_flat_map(move |bit| beside(U256::from(1) << bit));
    prop_oneof![
        8 => any::<[u8; 32]>().prop_map(U256::from_be_bytes),
        1 => beside(ORDER),
        1 => beside(ORDER >> 1),
        1 => beside(PRIME),
        1 => edge,
    ]
    .prop_map(B256::from)
}

fn any_signed() -> impl Strategy<Value = Signed> {
    let random = (number(), number(), number(), any::<bool>())
        .prop_map(|(hash, r, s, odd)| Signed { hash, r, s, odd });
    // With an r that belongs to a point, and random other numbers.
    let lifted =
        (any::<u64>(), number(), number(), any::<bool>()).prop_map(|(seed, hash, s, odd)| Signed {
            hash,
            s,
            odd,
            ..numbered(seed)
        });
    let right =
        (any::<u64>(), number()).prop_map(|(seed, hash)| sign(keccak256(seed.to_be_bytes()), hash));
    prop_oneof![1 => random, 1 => lifted, 2 => right]
}

proptest! {
    #[test]
    fn a_batch_equals_single_recoveries(signed in prop::collection::vec(any_signed(), 0..40)) {
        check(&signed);
    }
}

#[test]
fn signers_are_recovered_in_lanes() {
    for count in [0, 1, 2, 7, 8, 9, 500] {
        let keys: Vec<_> = (0..count)
            .map(|number: u64| keccak256(number.to_be_bytes()))
            .collect();
        let signed: Vec<_> = keys.iter().map(|key| sign(*key, keccak256(key))).collect();
        check(&signed);
        assert!(recover(&signed).iter().all(Result::is_ok));
        #[cfg(target_arch = "x86_64")]
        if lanes::Available::detect().is_some() && count > 1 {
            assert!(recover_in_lanes(&signed).iter().all(Option::is_some));
        }
    }
}

/// A hash of zero removes the generator's term; a term that is the negative of `s R` makes the sum zero.
#[test]
fn zero_sums_are_refused() {
    let nothing = Signed {
        hash: B256::ZERO,
        ..numbered(1)
    };
    // R = G, whose x is r: with s = z the key is (z / r) (R - G), the point at infinity.
    let mut one = [0; 32];
    one[31] = 1;
    let generator = PublicKey::from_secret_key(&SecretKey::from_secret_bytes(one).expect("one"));
    let bytes = generator.serialize_uncompressed();
    let infinite = Signed {
        hash: B256::repeat_byte(9),
        r: B256::from_slice(&bytes[1..33]),
        s: B256::repeat_byte(9),
        odd: bytes[64] % 2 == 1,
    };
    let mirrored = Signed {
        odd: !infinite.odd,
        ..infinite
    };
    let mut signed = vec![nothing, infinite, mirrored];
    signed.extend((0..30).map(numbered));
    check(&signed);
    let found: Vec<_> = recover(&signed).into_iter().map(Result::ok).collect();
    let missing: Vec<_> = (found.iter()).map(Option::is_none).collect();
    assert!(missing[1] && missing.into_iter().filter(|missing| *missing).count() == 1);
    #[cfg(target_arch = "x86_64")]
    if lanes::Available::detect().is_some() {
        // One invalid signature does not affect the others.
        assert_eq!(recover_in_lanes(&signed), found);
    }
}

/// Numbers that are small or close to the order have mostly zero digits.
#[test]
fn sparse_multiples_are_recovered() {
    let signed: Vec<_> = (1..200_u64)
        .flat_map(|number| {
            let numbered = numbered(number);
            // z = u r and s = v r, so the digits are those of u and v.
            let times = |by: U256| B256::from(U256::from_be_bytes(numbered.r.0).mul_mod(by, ORDER));
            let (small, shifted) = (U256::from(number), U256::from(1) << number);
            [
                (small, small),
                (shifted, small),
                (small, shifted),
                (shifted, ORDER - small),
            ]
            .map(|(u, v)| Signed {
                hash: times(u),
                s: times(v),
                ..numbered
            })
        })
        .collect();
    check(&signed);
}
