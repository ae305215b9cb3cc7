//! Snapshots, restoring them, opening twice, and the Ethereum state root, on real files.

mod support;

use alloy_primitives::{Address, U256, b256};
use lockweave_accounts_db::{CheckpointMode, Db, OpenError, Options, Sharing, SnapshotError};
use lockweave_runtime::{Account, StateDelta};
use std::{collections::BTreeMap, os::unix::fs::MetadataExt, path::Path};
use support::{Generator, SMALL, check_db, check_state, extend};

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        shard_bits: 2,
        history_blocks: 4,
        checkpoint_bytes: 64 << 10,
        checkpoint_mode: CheckpointMode::Background,
        space_amplification: 1.2,
        threads: 2,
        ..Options::default()
    }
}

#[test]
fn a_snapshot_equals_the_database_and_does_not_change() {
    for sharing in [Sharing::Links, Sharing::Copies] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let mut generator = Generator::new(4, SMALL);
        let mut blocks = Vec::new();
        let db = Db::open(&path("db"), options()).expect("a new database");
        extend(&db, &mut generator, &mut blocks, 60);
        let then = blocks.clone();
        let mut last = (0, 0);
        db.snapshot(&path("snapshot"), sharing, |done, total| {
            last = (done, total);
        })
        .expect("space on the disk");
        assert_eq!(last.0, last.1, "progress ends at its end");
        assert!(matches!(
            db.snapshot(&path("snapshot"), sharing, |_, _| {}),
            Err(SnapshotError::NotEmpty { .. })
        ));
        // The database continues, and compaction frees segments that the snapshot shares.
        extend(&db, &mut generator, &mut blocks, 200);
        db.checkpoint().expect("space on the disk");
        check_db(&db, SMALL, &blocks).expect("the database");
        {
            let snapshot = Db::open(&path("snapshot"), Options::read_only()).expect("a snapshot");
            check_db(&snapshot, SMALL, &then).expect("the snapshot");
        }
        let restored =
            Db::restore(&path("snapshot"), &path("restored"), |_, _| {}).expect("a sound snapshot");
        check_db(&restored, SMALL, &then).expect("the restored database");
        // It continues on its own, and the snapshot does not change.
        let mut others = then.clone();
        extend(&restored, &mut generator, &mut others, 80);
        check_db(&restored, SMALL, &others).expect("the restored database, later");
        drop(restored);
        let snapshot = Db::open(&path("snapshot"), Options::read_only()).expect("a snapshot");
        check_db(&snapshot, SMALL, &then).expect("the snapshot, later");
    }
}

#[test]
fn a_damaged_snapshot_is_not_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let mut blocks = Vec::new();
    let db = Db::open(&path("db"), options()).expect("a new database");
    extend(&db, &mut Generator::new(5, SMALL), &mut blocks, 40);
    db.snapshot(&path("snapshot"), Sharing::Copies, |_, _| {})
        .expect("space on the disk");
    let segments = files(&path("snapshot")).into_values();
    let segment = path("snapshot").join(segments.min().expect("there are segments"));
    let mut bytes = std::fs::read(&segment).expect("a segment");
    bytes[8192] ^= 1;
    std::fs::write(&segment, bytes).expect("space on the disk");
    match Db::restore(&path("snapshot"), &path("restored"), |_, _| {}) {
        Err(SnapshotError::Damaged(damage)) => {
            assert_eq!(damage.file, segment.display().to_string());
            assert!(damage.offset <= 8192, "{damage}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!path("restored").join("MANIFEST").exists());
}

#[test]
fn compaction_frees_segments_and_bounds_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(
        folder.path(),
        Options {
            payload_blocks: 1,
            ..options()
        },
    )
    .expect("a new database");
    let mut blocks = Vec::new();
    extend(&db, &mut Generator::new(6, SMALL), &mut blocks, 600);
    db.checkpoint().expect("space on the disk");
    let stats = db.stats();
    let first = (files(folder.path()).values())
        .filter_map(|name| name.strip_prefix("log.")?.parse().ok())
        .min();
    assert!(first > Some(10_u64), "the oldest segment is {first:?}");
    assert!(stats.segments < 12, "{stats:?}");
}

/// The files of segments, by inode.
fn files(folder: &Path) -> BTreeMap<u64, String> {
    (std::fs::read_dir(folder).expect("the folder"))
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            // A file that is being reused or removed.
            let file = entry.metadata().ok()?.ino();
            name.starts_with("log.").then_some((file, name))
        })
        .collect()
}

#[test]
fn a_segment_reuses_a_file_without_readers() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        payload_blocks: 1,
        checkpoint_mode: CheckpointMode::Inline,
        ..options()
    };
    let mut db = Db::open(folder.path(), options.clone()).expect("a new database");
    let mut generator = Generator::new(7, SMALL);
    let mut blocks = Vec::new();
    extend(&db, &mut generator, &mut blocks, 60);
    let reader = db.reader_latest().expect("a block");
    let then = blocks.last().expect("a block").state.clone();
    extend(&db, &mut generator, &mut blocks, 100);
    check_state(&reader, SMALL, &then).expect("the block that is held");
    drop(reader);
    let mut known = files(folder.path());
    let mut taken_over = 0;
    for _ in 0..400 {
        extend(&db, &mut generator, &mut blocks, 1);
        for (file, name) in files(folder.path()) {
            let before = known.insert(file, name.clone());
            taken_over += usize::from(before.is_some_and(|before| before != name));
        }
    }
    // A removed file's inode may be reused too, but files are created only while none is free.
    assert!(taken_over > 10, "{taken_over} files were taken over");
    blocks
        .iter_mut()
        .rev()
        .skip(1)
        .for_each(|block| block.payload.clear());
    for _ in 0..3 {
        check_db(&db, SMALL, &blocks).expect("the database");
        drop(db);
        db = Db::open(folder.path(), options.clone()).expect("what was written");
        assert_eq!(db.recovery().unfinished, None, "the log's end is blank");
    }
}

#[test]
fn a_folder_is_open_once_for_writing_or_often_for_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(
        Db::open(folder.path(), Options::read_only()),
        Err(OpenError::NotADatabase { .. })
    ));
    let db = Db::open(folder.path(), options()).expect("a new database");
    for second in [options(), Options::read_only()] {
        match Db::open(folder.path(), second) {
            Err(error @ OpenError::Locked { .. }) => {
                assert!(error.to_string().contains("in use"), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    drop(db);
    let first = Db::open(folder.path(), Options::read_only()).expect("a database");
    let second = Db::open(folder.path(), Options::read_only()).expect("a database");
    assert!(matches!(
        first.commit(0, &StateDelta::default(), &[]),
        Err(lockweave_accounts_db::CommitError::ReadOnly)
    ));
    assert!(matches!(
        Db::open(folder.path(), options()),
        Err(OpenError::Locked { .. })
    ));
    drop((first, second));
}

/// The allocation of Ethereum's yellow-paper tests is not at hand, so these roots were computed with
/// another implementation: the empty trie's is well known, the other is of one account whose
/// leaf is the whole trie.
#[test]
fn the_state_root_is_ethereums() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(folder.path(), options()).expect("a new database");
    db.commit(0, &StateDelta::default(), &[])
        .expect("space on the disk");
    let root = || {
        let reader = db.reader_latest().expect("a block");
        reader.state_root()
    };
    assert_eq!(
        root(),
        b256!("56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421")
    );
    let mut delta = StateDelta::default();
    let address = Address::repeat_byte(0x42);
    let account = Account {
        nonce: 1,
        balance: U256::from(7),
        ..Account::default()
    };
    delta.accounts.push((address, Some(account)));
    delta.slots.push((address, U256::from(1), U256::from(0xff)));
    db.commit(1, &delta, &[]).expect("space on the disk");
    assert_eq!(root(), by_hand(address, &account));
}

/// The root of a trie of one leaf, by the yellow paper's formulas.
fn by_hand(address: Address, account: &Account) -> alloy_primitives::B256 {
    use alloy_primitives::keccak256;
    let bytes = |bytes: &[u8]| -> Vec<u8> {
        match bytes {
            [byte] if *byte < 0x80 => vec![*byte],
            _ if bytes.len() < 56 => {
                [&[0x80 + u8::try_from(bytes.len()).expect("short")], bytes].concat()
            }
            _ => [&[0xb8, u8::try_from(bytes.len()).expect("short")], bytes].concat(),
        }
    };
    let list = |items: &[Vec<u8>]| -> Vec<u8> {
        let body = items.concat();
        let length = u8::try_from(body.len()).expect("short");
        if body.len() < 56 {
            [&[0xc0 + length][..], &body].concat()
        } else {
            [&[0xf8, length][..], &body].concat()
        }
    };
    let leaf = |key: &[u8], value: &[u8]| {
        let path = [&[0x20], keccak256(key).as_slice()].concat();
        keccak256(list(&[bytes(&path), bytes(value)]))
    };
    let slot = U256::from(1).to_be_bytes::<32>();
    let storage = leaf(&slot, &bytes(&[0xff]));
    let value = list(&[
        bytes(&[u8::try_from(account.nonce).expect("small")]),
        bytes(&[account.balance.to::<u8>()]),
        bytes(storage.as_slice()),
        bytes(account.code_hash.as_slice()),
    ]);
    leaf(address.as_slice(), &value)
}
