//! Certificates made with commonware's own scheme: all are accepted, and what is changed in any way is refused.

mod handover;
mod network;
mod strange_keys;

use alloy_primitives::{B256, Bytes};
use commonware_consensus::simplex::types::{Attributable as _, Notarize};
use lockweave_finality::{
    FinalBlock, FinalityProof, HEADERS_MAX, InvalidProof, MalformedHeader, ValidatorSet,
};
use network::{ID, Network, encoded, headers, proposal};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;
use std::{env, fs, path::Path};

/// The parts of a network and a proof as JSON: the example of the documentation, and a seed of the fuzz target.
const PROOF_FILE: &str = "tests/proof.json";

#[test]
fn every_quorum_is_accepted() {
    for count in [1, 2, 4, 7, 31, 100] {
        let network = Network::new(count);
        let quorum = network.validators.quorum();
        let block = &headers(9, 1)[0];
        for signers in [(0..quorum), (count - quorum..count), (0..count)] {
            let proof = network.proof(&headers(9, 1), &signers.collect::<Vec<_>>());
            let proven = FinalBlock {
                number: 9,
                hash: block.hash_slow(),
                state_root: block.state_root,
            };
            assert_eq!(
                proof.verify(&network.validators),
                Ok(proven),
                "{count} validators"
            );
        }
    }
}

#[test]
fn large_numbers_are_encoded_as_commonware_does() {
    let network = Network::new(4);
    for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 32, u64::MAX] {
        let proposal = proposal(number, number, number, B256::repeat_byte(7));
        let certificate = network.certificate(&proposal, &[0, 1, 2]);
        assert_eq!(certificate.verify(&network.validators), Ok(()), "{number}");
    }
}

#[test]
fn a_block_is_final_with_a_later_one() {
    let network = Network::new(4);
    let blocks = headers(40, 3);
    let proof = network.proof(&blocks, &[1, 2, 3]);
    let proven = proof.verify(&network.validators).unwrap();
    assert_eq!((proven.number, proven.hash), (40, blocks[0].hash_slow()));

    // One block is missing, the order is wrong, or the last block is not the certified one.
    let with = |headers: &[usize]| FinalityProof {
        certificate: proof.certificate.clone(),
        headers: (headers.iter())
            .map(|index| proof.headers[*index].clone())
            .collect(),
        handovers: Vec::new(),
    };
    let check = |headers: &[usize]| with(headers).verify(&network.validators);
    assert_eq!(check(&[0, 2]), Err(InvalidProof::NotLinked { index: 1 }));
    assert_eq!(check(&[1, 0, 2]), Err(InvalidProof::NotLinked { index: 1 }));
    assert_eq!(check(&[0, 1, 1]), Err(InvalidProof::NotLinked { index: 2 }));
    assert_eq!(check(&[]), Err(InvalidProof::NoHeader));
    let too_short = check(&[0, 1]);
    assert!(
        matches!(too_short, Err(InvalidProof::OtherBlock { .. })),
        "{too_short:?}"
    );
}

#[test]
fn numbers_must_follow_each_other() {
    let network = Network::new(4);
    for (first, second) in [(5, 7), (5, 5), (u64::MAX, 0)] {
        let mut blocks = headers(5, 2);
        blocks[0].number = first;
        blocks[1].number = second;
        blocks[1].parent_hash = blocks[0].hash_slow();
        // The number of the certificate's view does not matter.
        let proposal = proposal(0, 3, 2, blocks[1].hash_slow());
        let proof = FinalityProof {
            certificate: network.certificate(&proposal, &[0, 1, 2]),
            headers: blocks.iter().map(encoded).collect(),
            handovers: Vec::new(),
        };
        assert_eq!(
            proof.verify(&network.validators),
            Err(InvalidProof::NotLinked { index: 1 })
        );
    }
}

#[test]
fn the_number_of_headers_is_limited() {
    let network = Network::new(4);
    let longest = network.proof(&headers(1, HEADERS_MAX), &[0, 1, 2]);
    assert_eq!(longest.verify(&network.validators).unwrap().number, 1);
    let longer = network.proof(&headers(1, HEADERS_MAX + 1), &[0, 1, 2]);
    let expected = Err(InvalidProof::TooManyHeaders(HEADERS_MAX + 1));
    assert_eq!(longer.verify(&network.validators), expected);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let network = Network::new(4);
    let proof = network.proof(&headers(7, 2), &[0, 2, 3]);
    assert!(proof.verify(&network.validators).is_ok());
    let refused = |proof: &FinalityProof, what: &str| {
        assert!(proof.verify(&network.validators).is_err(), "{what}");
    };
    for (index, header) in proof.headers.iter().enumerate() {
        for bit in 0..header.len() * 8 {
            let mut changed = proof.clone();
            let mut bytes = header.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            changed.headers[index] = Bytes::from(bytes);
            refused(&changed, &format!("bit {bit} of header {index}"));
        }
    }
    for (index, signature) in proof.certificate.signatures.iter().enumerate() {
        for bit in 0..signature.len() * 8 {
            let mut changed = proof.clone();
            changed.certificate.signatures[index][bit / 8] ^= 1 << (bit % 8);
            refused(&changed, &format!("bit {bit} of signature {index}"));
        }
    }
    for bit in 0..64 {
        let flip = |number: &mut u64| *number ^= 1 << bit;
        let mut changed = proof.clone();
        flip(&mut changed.certificate.epoch);
        refused(&changed, "epoch");
        let mut changed = proof.clone();
        flip(&mut changed.certificate.view);
        refused(&changed, "view");
        let mut changed = proof.clone();
        flip(&mut changed.certificate.parent_view);
        refused(&changed, "parent's view");
    }
    for bit in 0..256 {
        let mut changed = proof.certificate.clone();
        changed.block_hash[bit / 8] ^= 1 << (bit % 8);
        assert!(
            changed.verify(&network.validators).is_err(),
            "bit {bit} of the hash"
        );
    }
}

#[test]
fn other_signers_are_refused() {
    let network = Network::new(4);
    let proof = network.proof(&headers(7, 1), &[0, 1, 2]);
    let check = |signers: &[u32], signatures: &[usize]| {
        let mut changed = proof.certificate.clone();
        changed.signers = signers.to_vec();
        changed.signatures = (signatures.iter())
            .map(|index| proof.certificate.signatures[*index])
            .collect();
        assert!(!network.accepts(&changed), "commonware accepts {signers:?}");
        changed.verify(&network.validators).unwrap_err()
    };
    let too_few = |signers| InvalidProof::TooFewSigners { signers, quorum: 3 };
    assert_eq!(check(&[], &[]), too_few(0));
    assert_eq!(check(&[0, 1], &[0, 1]), too_few(2));
    let counts = |signers, signatures| InvalidProof::SignatureCount {
        signers,
        signatures,
    };
    assert_eq!(check(&[0, 1, 2, 3], &[0, 1, 2]), counts(4, 3));
    assert_eq!(check(&[0, 1, 2], &[0, 1, 2, 0]), counts(3, 4));
    let order = |signer| InvalidProof::SignerOrder { signer };
    assert_eq!(check(&[0, 1, 1], &[0, 1, 1]), order(1));
    assert_eq!(check(&[0, 0, 0], &[0, 0, 0]), order(0));
    assert_eq!(check(&[1, 0, 2], &[1, 0, 2]), order(0));
    let unknown = |signer| InvalidProof::UnknownSigner {
        signer,
        validators: 4,
    };
    assert_eq!(check(&[0, 1, 4], &[0, 1, 2]), unknown(4));
    assert_eq!(check(&[0, 1, u32::MAX], &[0, 1, 2]), unknown(u32::MAX));
    let wrong = |signer| InvalidProof::WrongSignature { signer };
    assert_eq!(check(&[0, 1, 3], &[0, 1, 2]), wrong(3));
    assert_eq!(check(&[0, 1, 2], &[1, 0, 2]), wrong(0));
}

#[test]
fn other_votes_are_refused() {
    let network = Network::new(4);
    let mut certificate = network.proof(&headers(7, 1), &[0, 1, 2]).certificate;
    let voted = proposal(
        certificate.epoch,
        certificate.view,
        certificate.parent_view,
        certificate.block_hash,
    );
    // A vote to notarize the same block is not one to finalize it.
    for key in 0..3 {
        let vote = Notarize::sign(&network.signer(key), voted.clone()).unwrap();
        assert_eq!(vote.signer().get() as usize, key);
        let signature = vote.attestation.signature.get().unwrap();
        certificate.signatures[key].copy_from_slice(signature);
    }
    let expected = Err(InvalidProof::WrongSignature { signer: 0 });
    assert_eq!(certificate.verify(&network.validators), expected);
}

#[test]
fn other_networks_are_refused() {
    let network = Network::new(4);
    let proof = network.proof(&headers(7, 1), &[0, 1, 2]);
    let keys = |network: &Network| -> Vec<[u8; 32]> {
        let keys = network.participants.iter();
        keys.map(|key| key.as_ref().try_into().unwrap()).collect()
    };
    let other = lockweave_finality::Network {
        id: B256::repeat_byte(0x12),
        ..ID
    };
    let other = ValidatorSet::new(other, keys(&network)).unwrap();
    let wrong = |signer| Err(InvalidProof::WrongSignature { signer });
    assert_eq!(proof.verify(&other), wrong(0));
    // Five validators, of whom four are the same, and a quorum of four.
    let larger = Network::new(5);
    assert!(proof.verify(&larger.validators).is_err());
}

#[test]
fn malformed_headers_are_refused() {
    let network = Network::new(4);
    let mut proof = network.proof(&headers(7, 1), &[0, 1, 2]);
    let header = proof.headers[0].clone();
    let expected = |source| Err(InvalidProof::MalformedHeader { index: 0, source });
    proof.headers[0] = [&header[..], &[0, 0]].concat().into();
    assert_eq!(
        proof.verify(&network.validators),
        expected(MalformedHeader::TrailingBytes(2))
    );
    proof.headers[0] = Bytes::new();
    assert!(proof.verify(&network.validators).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is changed in a certificate, commonware and this crate say the same of it.
    #[test]
    fn commonware_agrees(
        count in 1_usize..8,
        numbers in any::<[u64; 3]>(),
        hash in any::<[u8; 32]>(),
        chosen in any::<u8>(),
        changes in vec((0_u8..5, any::<Index>(), any::<Index>()), 0..3),
    ) {
        let network = Network::new(count);
        let [epoch, view, parent] = numbers;
        let all: Vec<usize> = (0..count).collect();
        let mut certificate =
            network.certificate(&proposal(epoch, view, parent, hash.into()), &all);
        // Some validators did not sign.
        let is_chosen = |index: usize| chosen & (1 << index) != 0;
        let signatures = std::mem::take(&mut certificate.signatures);
        certificate.signers.retain(|signer| is_chosen(*signer as usize));
        certificate.signatures = signatures.into_iter().enumerate()
            .filter(|(index, _)| is_chosen(*index))
            .map(|(_, signature)| signature)
            .collect();
        for (kind, place, bit) in changes {
            match kind {
                0 => certificate.view ^= 1 << bit.index(64),
                1 => certificate.block_hash[place.index(32)] ^= 1 << bit.index(8),
                _ if certificate.signers.is_empty() => {}
                2 => {
                    let place = place.index(certificate.signers.len());
                    certificate.signers.remove(place);
                }
                3 => {
                    let place = place.index(certificate.signers.len());
                    certificate.signers.remove(place);
                    certificate.signatures.remove(place);
                }
                _ if certificate.signatures.is_empty() => {}
                _ => {
                    let place = place.index(certificate.signatures.len());
                    let bit = bit.index(512);
                    certificate.signatures[place][bit / 8] ^= 1 << (bit % 8);
                }
            }
        }
        let verdict = certificate.verify(&network.validators);
        prop_assert_eq!(verdict.is_ok(), network.accepts(&certificate), "{:?}", verdict);
    }

    /// A proof comes back from its JSON.
    #[test]
    fn json_comes_back(view in any::<u64>(), count in 1_usize..4) {
        let network = Network::new(4);
        let mut proof = network.proof(&headers(view / 2, count), &[0, 1, 3]);
        proof.certificate.view = view;
        let text = serde_json::to_string(&proof).unwrap();
        prop_assert_eq!(serde_json::from_str::<FinalityProof>(&text).unwrap(), proof);
    }
}

/// The example is what commonware makes of the same keys today. `LOCKWEAVE_WRITE_FIXTURES=1` writes it.
#[test]
fn the_example_is_current() {
    let network = Network::new(4);
    let proof = network.proof(&headers(7, 2), &[0, 1, 3]);
    let text = format!("{:#}\n", json!(proof));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PROOF_FILE);
    if env::var_os("LOCKWEAVE_WRITE_FIXTURES").is_some() {
        fs::write(&path, &text).unwrap();
        let keys = network.participants.iter();
        println!("{:#?}", keys.map(ToString::to_string).collect::<Vec<_>>());
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}
