//! Proofs at every block kept, checked by `alloy-trie`.

mod support;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount, proof::verify_proof};
use lockweave_accounts_db::{CheckpointMode, Db, Options};
use rand::Rng;
use support::{Generator, ModelBlock, SMALL, Shape, extend, newest_state};

const SHAPE: Shape = Shape {
    accounts: 60,
    slots: 40,
    changes: 60,
    ..SMALL
};
const BLOCKS: usize = 24;
const KEPT: u64 = 16;
/// Accounts proven at each block, each with some slots.
const ACCOUNTS: usize = 150;
const SLOTS: usize = 4;

fn options() -> Options {
    Options {
        history_blocks: KEPT,
        segment_bytes: 64 << 10,
        shard_bits: 3,
        checkpoint_bytes: 60 << 10,
        checkpoint_mode: CheckpointMode::Inline,
        // Nodes are freed and read again.
        trie_memory_bytes: 8 << 10,
        threads: 2,
        ..Options::default()
    }
}

/// Proves random accounts and slots after a block; returns how many proofs were checked.
fn check(db: &Db, generator: &mut Generator, block: &ModelBlock) -> usize {
    let reader = db.reader_at(block.number).expect("a retained block");
    let mut checked = 0;
    for _ in 0..ACCOUNTS {
        // Some accounts and slots were never there.
        let address = Address::repeat_byte(generator.random.random_range(1..=SHAPE.accounts + 10));
        let slots: Vec<U256> = (0..SLOTS)
            .map(|_| U256::from(generator.random.random_range(0..SHAPE.slots + 10)))
            .collect();
        let proof = reader.proof(address, &slots).expect("a sound trie");
        assert_eq!(proof.root, block.state_root, "block {}", block.number);
        let account = block.state.accounts.get(&address);
        let found = proof.account.map(|(nonce, ..)| nonce);
        assert_eq!(found, account.map(|account| account.nonce));
        let leaf = account.map(|account| {
            alloy_rlp::encode(TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: proof.storage_root,
                code_hash: account.code_hash,
            })
        });
        let path = Nibbles::unpack(keccak256(address));
        verify_proof(proof.root, path, leaf, &proof.proof).expect("the account is proven");
        for slot in &proof.slots {
            // Slots of an account that does not exist are not part of the state.
            let value = block.state.slots.get(&(address, slot.slot)).copied();
            let value = value.filter(|_| account.is_some());
            assert_eq!(slot.value, value.unwrap_or_default());
            if proof.storage_root == EMPTY_ROOT_HASH {
                assert!(slot.proof.is_empty(), "an empty trie has no nodes");
                continue;
            }
            let path = Nibbles::unpack(keccak256(B256::from(slot.slot)));
            let leaf = value.map(alloy_rlp::encode);
            verify_proof(proof.storage_root, path, leaf, &slot.proof).expect("the slot is proven");
        }
        checked += 1 + SLOTS;
    }
    checked
}

#[test]
fn accounts_and_slots_are_proven_at_every_block_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(folder.path(), options()).expect("a new database");
    let mut generator = Generator::new(17, SHAPE);
    let mut blocks: Vec<ModelBlock> = Vec::new();
    extend(&db, &mut generator, &mut blocks, BLOCKS);
    let mut checked = 0;
    for block in &blocks[blocks.len() - usize::try_from(KEPT).expect("small")..] {
        checked += check(&db, &mut generator, block);
    }
    // Versions of earlier blocks end with the next block, and after reopening there are none.
    extend(&db, &mut generator, &mut blocks, 1);
    checked += check(&db, &mut generator, &blocks[blocks.len() - 9]);
    drop(db);
    let db = Db::open(folder.path(), options()).expect("what was written");
    checked += check(&db, &mut generator, &blocks[blocks.len() - 9]);
    checked += check(&db, &mut generator, &blocks[blocks.len() - 1]);
    db.undo_to(newest_number(&blocks) - 5)
        .expect("a retained block");
    blocks.truncate(blocks.len() - 5);
    checked += check(&db, &mut generator, &blocks[blocks.len() - 1]);
    assert!(checked > 10_000, "{checked} proofs");
    assert!(!newest_state(&blocks).accounts.is_empty());
}

fn newest_number(blocks: &[ModelBlock]) -> u64 {
    blocks.last().expect("there are blocks").number
}
