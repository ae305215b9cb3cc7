//! Proofs at every block kept, checked by `alloy-trie`.

mod support;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{EMPTY_ROOT_HASH, Nibbles, TrieAccount, proof::verify_proof};
use lockweave_accounts_db::{CheckpointMode, Db, Options, Reader};
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
const ACCOUNTS: usize = 40;
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
    check_with(&reader, generator, block)
}

fn check_with(reader: &Reader, generator: &mut Generator, block: &ModelBlock) -> usize {
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

/// Proves accounts and slots at all blocks that are kept.
fn check_all(db: &Db, generator: &mut Generator, blocks: &[ModelBlock]) -> usize {
    let oldest = db.oldest().expect("there are blocks");
    let kept = blocks.iter().filter(|block| block.number >= oldest);
    kept.map(|block| check(db, generator, block)).sum()
}

#[test]
fn accounts_and_slots_are_proven_at_every_block_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(folder.path(), options()).expect("a new database");
    let mut generator = Generator::new(17, SHAPE);
    let mut blocks: Vec<ModelBlock> = Vec::new();
    let mut checked = 0;
    for _ in 0..BLOCKS / 8 {
        extend(&db, &mut generator, &mut blocks, 8);
        let before = db.trie_memory_bytes();
        checked += check_all(&db, &mut generator, &blocks);
        assert_eq!(before, db.trie_memory_bytes(), "no key was set back");
    }
    assert!(db.reader_at(newest_number(&blocks) - KEPT - 1).is_err());
    // A block is pinned: its reader stays when the block leaves the history.
    let pinned = blocks[blocks.len() - 12].clone();
    let reader = db.reader_at(pinned.number).expect("a retained block");
    // Blocks are undone, and others follow.
    db.undo_to(newest_number(&blocks) - 5)
        .expect("a retained block");
    blocks.truncate(blocks.len() - 5);
    checked += check_all(&db, &mut generator, &blocks);
    extend(&db, &mut generator, &mut blocks, 3);
    checked += check_all(&db, &mut generator, &blocks);
    extend(&db, &mut generator, &mut blocks, 10);
    checked += check_with(&reader, &mut generator, &pinned);
    drop(reader);
    // After reopening, the keys that changed since the blocks before are set back.
    drop(db);
    let db = Db::open(folder.path(), options()).expect("what was written");
    let old = blocks.len() - 7;
    checked += check(&db, &mut generator, &blocks[old]);
    let before = db.trie_memory_bytes();
    checked += check(&db, &mut generator, &blocks[old]);
    assert_eq!(before, db.trie_memory_bytes(), "they are set back once");
    extend(&db, &mut generator, &mut blocks, 4);
    checked += check(&db, &mut generator, &blocks[old]);
    checked += check_all(&db, &mut generator, &blocks);
    assert!(checked > 10_000, "{checked} proofs");
    assert!(!newest_state(&blocks).accounts.is_empty());
}

#[test]
fn blocks_that_memory_does_not_hold_are_proven_by_setting_keys_back() {
    for trie_history_bytes in [0, 40 << 10] {
        let options = Options {
            trie_history_bytes,
            ..options()
        };
        let folder = tempfile::tempdir().expect("a folder");
        let db = Db::open(folder.path(), options).expect("a new database");
        let mut generator = Generator::new(18, SHAPE);
        let mut blocks: Vec<ModelBlock> = Vec::new();
        extend(&db, &mut generator, &mut blocks, BLOCKS);
        check_all(&db, &mut generator, &blocks);
        let old = blocks.len() - 6;
        extend(&db, &mut generator, &mut blocks, 1);
        check(&db, &mut generator, &blocks[old]);
    }
}

fn newest_number(blocks: &[ModelBlock]) -> u64 {
    blocks.last().expect("there are blocks").number
}
