//! The files of a small database, byte for byte, as FORMAT.md describes them.
//!
//! `LOCKWEAVE_BLESS=1` rewrites them, which is right only together with a new format version.

mod support;

use alloy_primitives::{Address, B256, Bytes, U256};
use lockweave_accounts_db::{CheckpointMode, Db, Options, storage::Storage};
use lockweave_runtime::{Account, Code, StateDelta};
use std::{env, fs, path::PathBuf, sync::Arc};
use support::faulty::FaultyStorage;

const FILES: [&str; 4] = ["MANIFEST", "index.checkpoint", "log.0", "trie.0"];
const SEGMENT_BYTES: usize = 64 << 10;

/// Whether a file is allocated in full, and zero at its end.
fn is_segment(name: &str) -> bool {
    name.starts_with("log.") || name.starts_with("trie.")
}

fn golden() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn options() -> Options {
    Options {
        segment_bytes: SEGMENT_BYTES as u64,
        shard_bits: 2,
        history_blocks: 2,
        checkpoint_mode: CheckpointMode::Manual,
        threads: 2,
        seed: Some(42),
        ..Options::default()
    }
}

fn account(nonce: u64, code_hash: B256) -> Account {
    Account {
        nonce,
        balance: U256::from(1_000_000_007_u64),
        code_hash,
    }
}

/// Every kind of entry except those that compaction writes; an undo; a checkpoint in between.
fn write(storage: &FaultyStorage) -> B256 {
    let db = Db::open_on(Box::new(storage.clone()), options()).expect("a new database");
    let (alice, bob) = (Address::repeat_byte(0xa1), Address::repeat_byte(0xb0));
    let code = Arc::new(Code::new(Bytes::from_static(&[
        0x60, 0x00, 0x60, 0x00, 0xf3,
    ])));
    let mut delta = StateDelta::default();
    delta.accounts.push((alice, Some(account(1, code.hash()))));
    delta
        .accounts
        .push((bob, Some(account(2, alloy_primitives::KECCAK256_EMPTY))));
    for slot in 0..5_u64 {
        delta
            .slots
            .push((alice, U256::from(slot), U256::from(slot * slot + 1)));
    }
    delta.codes.push(code);
    let mut block = db.prepare(7, &delta).expect("sound changes");
    block.add_ancestor(6, B256::repeat_byte(6));
    db.commit_prepared(block, B256::repeat_byte(7), b"payload of block 7")
        .expect("in memory");
    db.checkpoint().expect("in memory");
    let mut delta = StateDelta::default();
    delta.accounts.push((bob, None));
    delta.slots.push((alice, U256::from(2), U256::ZERO));
    delta.slots.push((bob, U256::MAX, U256::MAX));
    let block = db.prepare(8, &delta).expect("sound changes");
    db.commit_prepared(block, B256::repeat_byte(8), b"payload of block 8")
        .expect("in memory");
    db.undo_to(7).expect("a retained block");
    let mut delta = StateDelta::default();
    delta.cleared.push(alice);
    db.commit(8, &delta, &[]).expect("in memory")
}

#[test]
fn no_byte_of_the_files_changes() {
    let storage = FaultyStorage::new(0);
    write(&storage);
    for name in FILES {
        let bytes = if is_segment(name) {
            storage.used_bytes(name)
        } else {
            storage.bytes(name)
        };
        let bytes = bytes.expect("it is there");
        let path = golden().join(name);
        if env::var_os("LOCKWEAVE_BLESS").is_some() {
            fs::create_dir_all(golden()).expect("the source folder");
            fs::write(&path, &bytes).expect("the source folder");
        }
        let expected = fs::read(&path).expect("a golden file");
        let differs = expected
            .iter()
            .zip(&bytes)
            .position(|(left, right)| left != right);
        assert_eq!(differs, None, "{name} differs first at this offset");
        assert_eq!(expected.len(), bytes.len(), "{name} has another length");
    }
}

#[test]
fn the_golden_files_can_be_read() {
    let storage = FaultyStorage::new(0);
    for name in FILES {
        let mut bytes = fs::read(golden().join(name)).expect("a golden file");
        if is_segment(name) {
            bytes.resize(SEGMENT_BYTES, 0);
        }
        storage.create(name, 0).expect("in memory");
        storage.set_bytes(name, bytes);
    }
    let db = Db::open_on(Box::new(storage), options()).expect("a database of version 2");
    assert_eq!(db.latest().map(|block| block.number), Some(8));
    assert_eq!(
        db.payload(7).expect("readable").unwrap_or_default()[..],
        b"payload of block 7"[..]
    );
    assert_eq!(db.payload(8).expect("readable"), None);
    let alice = Address::repeat_byte(0xa1);
    let bob = Address::repeat_byte(0xb0);
    let now = db.reader_latest().expect("a block");
    assert_eq!(
        now.slot(alice, U256::from(3)).expect("readable"),
        U256::ZERO
    );
    assert_eq!(now.hash_of(6), Some(B256::repeat_byte(6)));
    let then = db.reader_at(7).expect("a retained block");
    assert_eq!(
        then.slot(alice, U256::from(2)).expect("readable"),
        U256::from(5)
    );
    assert_eq!(then.slot_count(alice).expect("readable"), 5);
    assert_eq!(
        then.account(bob).expect("readable").map(|it| it.nonce),
        Some(2)
    );
    let fresh = FaultyStorage::new(1);
    assert_eq!(
        db.latest().map(|block| block.state_root),
        Some(write(&fresh))
    );
}
