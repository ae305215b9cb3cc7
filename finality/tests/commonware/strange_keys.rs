//! Signatures that strict rules refuse. Validators accept them (ZIP-215), so a light client must too: otherwise one
//! liar among the validators could make certificates that the network takes and users cannot check.

use crate::network::{Network, headers};
use alloy_primitives::FixedBytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_cryptography::{Signer as _, ed25519::PrivateKey, ed25519::PublicKey};
use curve25519_dalek::{
    EdwardsPoint, Scalar, constants::EIGHT_TORSION, scalar::clamp_integer, traits::IsIdentity as _,
};
use lockweave_finality::{Certificate, InvalidProof};
use sha2::{Digest as _, Sha512};

/// What the validators of a network sign for a certificate's block.
fn message(network: &Network, certificate: &Certificate) -> Vec<u8> {
    let proposal = crate::network::proposal(
        certificate.epoch,
        certificate.view,
        certificate.parent_view,
        certificate.block_hash,
    );
    let namespace = [&network.validators.namespace()[..], b"_FINALIZE"].concat();
    commonware_utils::union_unique(&namespace, &proposal.encode())
}

/// A signature whose nonce point has a part of small order.
fn sign_with_torsion(key: &PrivateKey, message: &[u8], torsion: EdwardsPoint) -> [u8; 64] {
    let seed = key.encode();
    let expanded = Sha512::digest(&seed);
    let mut low = [0; 32];
    low.copy_from_slice(&expanded[..32]);
    let secret = Scalar::from_bytes_mod_order(clamp_integer(low));
    let nonce = Scalar::from(123_456_789_u64);
    let point = (EdwardsPoint::mul_base(&nonce) + torsion).compress();
    let mut hash = [0; 64];
    let public = key.public_key();
    let digest = Sha512::new()
        .chain_update(point.as_bytes())
        .chain_update(public.as_ref() as &[u8])
        .chain_update(message)
        .finalize();
    hash.copy_from_slice(&digest);
    let scalar = nonce + Scalar::from_bytes_mod_order_wide(&hash) * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(point.as_bytes());
    signature[32..].copy_from_slice(scalar.as_bytes());
    signature
}

#[test]
fn a_validator_cannot_make_certificates_that_only_light_clients_refuse() {
    let network = Network::new(4);
    let mut certificate = network.proof(&headers(7, 1), &[0, 1, 2]).certificate;
    let message = message(&network, &certificate);
    for torsion in EIGHT_TORSION {
        let signature = sign_with_torsion(&network.keys[1], &message, torsion);
        certificate.signatures[1] = FixedBytes(signature);
        assert!(network.accepts(&certificate));
        assert_eq!(certificate.verify(&network.validators), Ok(()));
        // The secret matters all the same.
        let forged = sign_with_torsion(&network.keys[2], &message, torsion);
        certificate.signatures[1] = FixedBytes(forged);
        assert!(!network.accepts(&certificate));
        let expected = Err(InvalidProof::WrongSignature { signer: 1 });
        assert_eq!(certificate.verify(&network.validators), expected);
    }
}

/// Encodings of points of small order, canonical and not, as keys and as nonces: commonware accepts exactly those
/// that this crate accepts.
#[test]
fn keys_of_small_order_are_taken_as_commonware_takes_them() {
    let mut encodings: Vec<[u8; 32]> = (EIGHT_TORSION.iter())
        .map(|point| point.compress().to_bytes())
        .collect();
    // y = 1 with the sign of a negative x, and y = p + 1.
    let mut negative_zero = [0; 32];
    (negative_zero[0], negative_zero[31]) = (1, 0x80);
    let mut over = [0xff; 32];
    (over[0], over[31]) = (0xee, 0x7f);
    encodings.extend([negative_zero, over]);
    assert!(EIGHT_TORSION[0].is_identity());
    let mut accepted = 0;
    for key in &encodings {
        let Ok(key) = PublicKey::decode(key.to_vec()) else {
            continue;
        };
        let keys: Vec<_> = (0..3).map(PrivateKey::from_seed).collect();
        let network = Network::with_keys(keys, vec![key.clone()]);
        let strange = network.participants.position(&key).unwrap();
        let mut certificate = network.proof(&headers(7, 1), &[0, 1, 2]).certificate;
        // Its signature in place of an honest one; three of four are a quorum.
        let strange = u32::try_from(strange).unwrap();
        certificate.signers[2] = strange;
        for nonce in &encodings {
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(nonce);
            certificate.signatures[2] = FixedBytes(signature);
            let mut pairs: Vec<_> = (certificate.signers.iter().copied())
                .zip(certificate.signatures.iter().copied())
                .collect();
            pairs.sort_by_key(|(signer, _)| *signer);
            let mut sorted = certificate.clone();
            (sorted.signers, sorted.signatures) = pairs.into_iter().unzip();
            let verdict = sorted.verify(&network.validators).is_ok();
            assert_eq!(verdict, network.accepts(&sorted));
            accepted += usize::from(verdict);
        }
    }
    assert!(
        accepted > 0,
        "the test has no case that strict rules refuse"
    );
}
