//! The libraries, beside the crates that validators use.

use crate::{
    chain::{Chain, account},
    interface::{self, Harness},
};
use alloy_primitives::{Address, B256, hex};
use commonware_codec::DecodeExt as _;
use commonware_cryptography::ed25519::PublicKey;
use curve25519_dalek::{EdwardsPoint, Scalar, constants::EIGHT_TORSION, scalar::clamp_integer};
use ed25519_zebra::{Signature, SigningKey, VerificationKey};
use revm::primitives::hardfork::SpecId;
use sha2::{Digest as _, Sha512};

const HARNESS: Address = Address::repeat_byte(0x77);
/// The order of the base point, from its first byte on.
const ORDER: [u8; 32] = hex!("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");

fn chain() -> Chain {
    let mut chain = Chain::new(SpecId::CANCUN);
    chain.install(HARNESS, interface::harness().deployed_bytecode);
    chain
}

/// What the contract says of a signature. It must agree with the crate.
fn verify(chain: &mut Chain, key: B256, signature: [u8; 64], message: &[u8]) -> bool {
    let call = Harness::verifyCall {
        key,
        r: B256::from_slice(&signature[..32]),
        s: B256::from_slice(&signature[32..]),
        message: message.to_vec().into(),
    };
    let ours = chain.view_of(HARNESS, &call);
    let theirs = VerificationKey::try_from(key.0)
        .is_ok_and(|key| key.verify(&Signature::from(signature), message).is_ok());
    let input = (key, hex::encode(signature), hex::encode(message));
    assert_eq!(ours, theirs, "{input:?}");
    ours
}

fn is_key(chain: &mut Chain, key: B256) -> bool {
    chain.view_of(HARNESS, &Harness::isKeyCall { key })
}

/// Numbers that look random and are the same each time.
struct Random(Vec<u8>);

impl Random {
    fn new(name: &str) -> Self {
        Self(Sha512::digest(name).to_vec())
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        self.0 = Sha512::digest(&self.0).to_vec();
        self.0[..N].try_into().unwrap()
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(u64::from_le_bytes(self.bytes()) % limit as u64).unwrap()
    }
}

#[test]
fn hashes_are_those_of_sha2() {
    let mut chain = chain();
    let text: Vec<u8> = (0..300_u32).map(|i| (i * 7 + 1).to_le_bytes()[0]).collect();
    for length in 0..=300 {
        let message = &text[..length];
        let hash = chain.view_of(
            HARNESS,
            &Harness::sha512Call {
                message: message.to_vec().into(),
            },
        );
        let expected = Sha512::digest(message);
        assert_eq!([hash.high, hash.low].concat(), *expected, "{length} bytes");
    }
    // FIPS 180-4.
    let abc = hex!(
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    );
    let hash = chain.view_of(
        HARNESS,
        &Harness::sha512Call {
            message: b"abc".to_vec().into(),
        },
    );
    assert_eq!([hash.high, hash.low].concat(), abc);
}

#[test]
fn signatures_of_rfc_8032() {
    let hash = Sha512::digest(b"abc").to_vec();
    let cases: [([u8; 32], &[u8], [u8; 64]); 4] = [
        (
            hex!("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"),
            b"",
            hex!(
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            hex!("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"),
            &[0x72],
            hex!(
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
        (
            hex!("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7"),
            &[0xaf, 0x82],
            hex!(
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
                "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
            ),
        ),
        (
            hex!("833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"),
            &hash,
            hex!(
                "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
                "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
            ),
        ),
    ];
    let mut chain = chain();
    for (seed, message, signature) in cases {
        let key = VerificationKey::from(&SigningKey::from(seed));
        let key = B256::from_slice(key.as_ref());
        assert!(verify(&mut chain, key, signature, message));
        assert!(is_key(&mut chain, key));
        assert!(!verify(&mut chain, key, signature, b"another"));
    }
}

/// The encodings of the points whose order is small: the eight canonical ones, and six that are not.
fn small_points() -> Vec<B256> {
    let mut points: Vec<B256> = EIGHT_TORSION
        .iter()
        .map(|point| point.compress().to_bytes().into())
        .collect();
    for (first, last) in [
        // 1 with the sign bit, p + 1, and p + 1 with the sign bit: the neutral point.
        (0x01, 0x80),
        (0xee, 0x7f),
        (0xee, 0xff),
        // -1 with the sign bit.
        (0xec, 0xff),
        // p, without and with the sign bit: y is 0.
        (0xed, 0x7f),
        (0xed, 0xff),
    ] {
        let mut bytes = [if first == 1 { 0 } else { 0xff }; 32];
        (bytes[0], bytes[31]) = (first, last);
        points.push(bytes.into());
    }
    points
}

#[test]
fn all_cases_of_zip_215_are_valid() {
    let mut chain = chain();
    let points = small_points();
    assert_eq!(points.len(), 14);
    for key in &points {
        for r in &points {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(r.as_slice());
            assert!(
                verify(&mut chain, *key, signature, b"Zcash"),
                "key {key}, r {r}"
            );
            // s must be less than the order, although the order times B is zero.
            signature[32..].copy_from_slice(&ORDER);
            assert!(!verify(&mut chain, *key, signature, b"Zcash"));
            // B is not zero.
            signature[32..].fill(0);
            signature[32] = 1;
            assert!(!verify(&mut chain, *key, signature, b"Zcash"));
        }
    }
}

/// A signature whose key and nonce points have parts of small order.
fn sign_with_torsion(
    secret: Scalar,
    message: &[u8],
    of_key: EdwardsPoint,
    of_nonce: EdwardsPoint,
) -> (B256, [u8; 64]) {
    let nonce = Scalar::from(123_456_789_u64);
    let r = (EdwardsPoint::mul_base(&nonce) + of_nonce).compress();
    let key = (EdwardsPoint::mul_base(&secret) + of_key).compress();
    let digest = Sha512::new()
        .chain_update(r.as_bytes())
        .chain_update(key.as_bytes())
        .chain_update(message)
        .finalize();
    let mut hash = [0; 64];
    hash.copy_from_slice(&digest);
    let s = nonce + Scalar::from_bytes_mod_order_wide(&hash) * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(r.as_bytes());
    signature[32..].copy_from_slice(s.as_bytes());
    (key.to_bytes().into(), signature)
}

#[test]
fn parts_of_small_order_do_not_matter() {
    let mut chain = chain();
    let secret = Scalar::from_bytes_mod_order(clamp_integer([0x5a; 32]));
    for of_key in EIGHT_TORSION {
        for of_nonce in EIGHT_TORSION {
            let (key, signature) = sign_with_torsion(secret, b"message", of_key, of_nonce);
            assert!(verify(&mut chain, key, signature, b"message"));
            assert!(!verify(&mut chain, key, signature, b"massage"));
            assert!(is_key(&mut chain, key));
        }
    }
}

#[test]
fn changed_signatures_are_judged_as_validators_do() {
    let mut chain = chain();
    let mut random = Random::new("mutations");
    for case in 0..150 {
        let signing = SigningKey::from(random.bytes::<32>());
        let key = VerificationKey::from(&signing);
        let mut key = B256::from_slice(key.as_ref());
        let length = random.below(200);
        let mut message: Vec<u8> = (0..length).map(|_| random.bytes::<1>()[0]).collect();
        let mut signature: [u8; 64] = signing.sign(&message).into();
        assert!(verify(&mut chain, key, signature, &message));
        match case % 6 {
            0 => signature[random.below(32)] ^= 1 << random.below(8),
            1 => signature[32 + random.below(32)] ^= 1 << random.below(8),
            2 => key[random.below(32)] ^= 1 << random.below(8),
            3 => message.push(0),
            // s plus the order, which is the same number for the equation.
            4 => {
                let mut carry = 0;
                for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
                    let sum = u16::from(*byte) + u16::from(order) + carry;
                    *byte = sum.to_le_bytes()[0];
                    carry = sum >> 8;
                }
            }
            _ => signature = random.bytes(),
        }
        assert!(!verify(&mut chain, key, signature, &message));
    }
}

#[test]
fn keys_are_those_that_validators_can_have() {
    let mut chain = chain();
    for key in small_points() {
        assert!(PublicKey::decode(key.to_vec()).is_ok());
        assert!(!is_key(&mut chain, key), "everybody can sign with {key}");
    }
    let mut random = Random::new("keys");
    let mut keys: Vec<B256> = (0..200).map(|_| random.bytes().into()).collect();
    // All encodings of y that are not canonical, and some around.
    for low in 0xe0..=0xff_u8 {
        for high in [0x7f, 0xff] {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (low, high);
            keys.push(bytes.into());
        }
    }
    for low in 0..32_u8 {
        for high in [0, 0x80] {
            let mut bytes = [0; 32];
            (bytes[0], bytes[31]) = (low, high);
            keys.push(bytes.into());
        }
    }
    let small = small_points();
    let mut valid = 0;
    for key in keys {
        let expected = PublicKey::decode(key.to_vec()).is_ok() && !small.contains(&key);
        assert_eq!(is_key(&mut chain, key), expected, "{key}");
        valid += usize::from(expected);
    }
    assert!(valid > 100, "{valid}");
}

#[test]
fn a_signature_costs_little_gas() {
    let mut random = Random::new("gas");
    for fork in [SpecId::CANCUN, SpecId::OSAKA] {
        let mut chain = Chain::new(fork);
        chain.install(HARNESS, interface::harness().deployed_bytecode);
        let mut most = 0;
        // A finalize vote has at most 155 bytes: with the points before them, the hash has two blocks.
        for length in [100, 155] {
            let signing = SigningKey::from(random.bytes::<32>());
            let message = vec![7; length];
            let signature: [u8; 64] = signing.sign(&message).into();
            let call = Harness::verifyCall {
                key: B256::from_slice(VerificationKey::from(&signing).as_ref()),
                r: B256::from_slice(&signature[..32]),
                s: B256::from_slice(&signature[32..]),
                message: message.into(),
            };
            let done = chain.call(account(0), HARNESS, &call).unwrap();
            assert!(done.value);
            most = most.max(done.gas);
        }
        let call = Harness::sha512Call {
            message: vec![7; 219].into(),
        };
        let hash = chain.call(account(0), HARNESS, &call).unwrap().gas;
        println!("{fork:?}: transaction with one signature {most} gas, with one hash {hash} gas");
        assert!(most < 300_000, "{most}");
    }
}
