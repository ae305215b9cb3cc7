//! Changes of the validators.

use crate::network::{ID, Network, encoded, headers, proposal};
use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use commonware_cryptography::{Signer as _, ed25519::PrivateKey};
use lockweave_finality::{Handover, InvalidProof, InvalidSet, contract};
use std::collections::BTreeMap;

/// A trie of some values, and the nodes on the way to some keys.
fn trie(values: &BTreeMap<B256, Vec<u8>>, wanted: &[B256]) -> (B256, Vec<Bytes>) {
    let paths = wanted.iter().map(Nibbles::unpack);
    let retainer = ProofRetainer::new(paths.collect());
    let mut builder = HashBuilder::default().with_proof_retainer(retainer);
    for (key, value) in values {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes().into_inner();
    (root, nodes.into_values().collect())
}

/// A state with a contract that has these slots, and some other accounts.
fn state(slots: &[(B256, U256)]) -> (B256, Vec<Bytes>) {
    let slots = (slots.iter()).map(|(slot, value)| (keccak256(slot), alloy_rlp::encode(value)));
    let slots: BTreeMap<_, _> = slots.collect();
    let wanted: Vec<B256> = slots.keys().copied().collect();
    let (storage_root, mut nodes) = trie(&slots, &wanted);
    let account = TrieAccount {
        storage_root,
        ..TrieAccount::default()
    };
    let mut accounts: BTreeMap<B256, Vec<u8>> = (0..40_u64)
        .map(|number| (keccak256(number.to_be_bytes()), vec![1; 40]))
        .collect();
    accounts.insert(keccak256(contract::ADDRESS), alloy_rlp::encode(account));
    let (root, others) = trie(&accounts, &[keccak256(contract::ADDRESS)]);
    nodes.extend(others);
    (root, nodes)
}

fn slots(keys: &[PrivateKey]) -> Vec<(B256, U256)> {
    let keys = keys.iter().map(|key| {
        let bytes: [u8; 32] = key.public_key().as_ref().try_into().unwrap();
        U256::from_be_bytes(bytes)
    });
    let mut slots: Vec<_> = (0..).map(contract::key_slot).zip(keys).collect();
    slots.push((contract::KEY_COUNT, U256::from(slots.len())));
    slots
}

/// The last block of an epoch, with this state.
fn last_block(epoch: u64, state_root: B256) -> Header {
    let mut header = headers(ID.last_block(epoch).unwrap(), 1).remove(0);
    header.state_root = state_root;
    header
}

/// Some validators hand over at a block, with a state of these slots.
fn handover(before: &Network, header: &Header, nodes: Vec<Bytes>, signers: &[usize]) -> Handover {
    let epoch = ID.epoch(header.number);
    let proposal = proposal(epoch, 90, 89, header.hash_slow());
    Handover {
        header: encoded(header),
        certificate: before.certificate(&proposal, signers),
        nodes,
    }
}

fn network(seeds: std::ops::Range<u64>) -> Network {
    Network::with_keys(seeds.map(PrivateKey::from_seed).collect(), Vec::new())
}

#[test]
fn validators_hand_over_again_and_again() {
    let sets = [
        network(0..4),
        network(2..9),
        network(50..150),
        network(3..4),
    ];
    let epochs = [0, 3, 4];
    let handovers: Vec<Handover> = (sets.windows(2).zip(epochs))
        .map(|(pair, epoch)| {
            let (root, nodes) = state(&slots(&pair[1].keys));
            let header = last_block(epoch, root);
            let all: Vec<usize> = (0..pair[0].validators.quorum()).collect();
            handover(&pair[0], &header, nodes, &all)
        })
        .collect();
    let genesis = &sets[0].validators;
    for (count, set) in sets.iter().enumerate() {
        let after = genesis.after(&handovers[..count]).unwrap();
        assert!(after.keys().eq(set.validators.keys()));
        let first = if count == 0 { 0 } else { epochs[count - 1] + 1 };
        assert_eq!(after.first_epoch(), first);
        // A block of their first epoch, and one much later.
        for epoch in [first, first + 7] {
            let block = headers(ID.epoch_blocks.get() * epoch + 5, 1);
            let all: Vec<usize> = (0..set.validators.count()).collect();
            let mut proof = set.proof(&block, &all);
            proof.handovers = handovers[..count].to_vec();
            assert_eq!(proof.verify(genesis).unwrap().number, block[0].number);
            // Somebody who has the set already needs no handover.
            proof.handovers.clear();
            assert!(proof.verify(&after).is_ok());
            assert!(count == 0 || proof.verify(genesis).is_err());
        }
    }
    // One is missing, or they are in another order.
    assert!(genesis.after(&handovers[1..]).is_err());
    let swapped = [handovers[1].clone(), handovers[0].clone()];
    assert!(genesis.after(&swapped).is_err());
    // Those who handed over sign nothing any more.
    let mut late = sets[0].proof(&headers(ID.epoch_blocks.get() + 1, 1), &[0, 1, 2]);
    late.handovers = handovers[..1].to_vec();
    assert!(late.verify(genesis).is_err());
    // The new ones sign nothing of an epoch before.
    let mut early = sets[1].proof(&headers(3, 1), &[0, 1, 2, 3, 4]);
    early.handovers = handovers[..1].to_vec();
    let wrong = InvalidProof::WrongEpoch {
        number: 3,
        epoch: 0,
        first: 1,
    };
    assert_eq!(early.verify(genesis), Err(wrong));
}

#[test]
fn what_is_no_handover_is_refused() {
    let (before, after) = (network(0..4), network(1..6));
    let (root, nodes) = state(&slots(&after.keys));
    let header = last_block(2, root);
    let right = handover(&before, &header, nodes.clone(), &[0, 1, 2]);
    let check = |handover: &Handover| handover.verify(&before.validators);
    assert!(check(&right).is_ok());

    // A block in the middle of an epoch, though it is final.
    let mut middle = header.clone();
    middle.number -= 1;
    let middle = handover(&before, &middle, nodes.clone(), &[0, 1, 2]);
    let (number, epoch) = (ID.last_block(2).unwrap() - 1, 2);
    let expected = InvalidProof::NotTheLastBlock { number, epoch };
    assert_eq!(check(&middle), Err(expected));

    // Too few signatures.
    let mut few = right.clone();
    few.certificate.signers.pop();
    few.certificate.signatures.pop();
    assert!(matches!(
        check(&few),
        Err(InvalidProof::TooFewSigners { .. })
    ));

    // Each node is needed, and each bit of it.
    for index in 0..nodes.len() {
        let mut handover = right.clone();
        let removed = handover.nodes.remove(index);
        let missing = InvalidProof::MissingNode(keccak256(&removed));
        assert_eq!(check(&handover), Err(missing.clone()));
        let mut bytes = removed.to_vec();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            handover.nodes.push(bytes.clone().into());
            assert_eq!(check(&handover), Err(missing.clone()));
            handover.nodes.pop();
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    let mut none = right.clone();
    none.nodes.clear();
    assert_eq!(check(&none), Err(InvalidProof::MissingNode(root)));

    // No contract, no keys, a key that is none, too many.
    let with = |slots: &[(B256, U256)]| {
        let (root, nodes) = state(slots);
        let header = last_block(2, root);
        check(&handover(&before, &header, nodes, &[0, 1, 2]))
    };
    let count = |count: u64| (contract::KEY_COUNT, U256::from(count));
    let set = |error| Err(InvalidProof::Set(error));
    assert_eq!(
        with(&[(contract::OWNER, U256::ONE)]),
        set(InvalidSet::Empty)
    );
    assert_eq!(with(&[count(101)]), set(InvalidSet::TooMany));
    assert_eq!(with(&[count(u64::MAX)]), set(InvalidSet::TooMany));
    let mut twice = slots(&after.keys);
    twice[0].1 = twice[1].1;
    assert!(matches!(
        with(&twice),
        Err(InvalidProof::Set(InvalidSet::Twice(_)))
    ));
    let (root, nodes) = trie(&BTreeMap::from([(B256::ZERO, vec![1; 40])]), &[B256::ZERO]);
    let empty = handover(&before, &last_block(2, root), nodes, &[0, 1, 2]);
    assert_eq!(check(&empty), Err(InvalidProof::NoContract));
}
