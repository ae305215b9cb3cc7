//! Readers, scrubs, snapshots and checkpoints, concurrent with commits that grow, move and free
//! what they read, on real files and several threads.
//!
//! The value of a key at a block follows from both by arithmetic, so every read is checked. Under a
//! sanitizer this covers the concurrency of a node.

use alloy_primitives::{Address, B256, U256};
use lockweave_accounts_db::{CheckpointMode, Db, Options, ReadError, Reader, Sharing};
use lockweave_runtime::{Account, KeyPart, StateDelta, StateKey};
use std::{
    ops::ControlFlow,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

/// Blocks are large enough for all threads of the database.
const KEYS: u64 = 7_000;
const KEYS_ADDED: u64 = 60;
/// A key is written once in this many blocks.
const TURNS: u64 = 3;
const ACCOUNTS: u64 = 40;
const BLOCKS: u64 = 90;

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        shard_bits: 4,
        history_blocks: 6,
        payload_blocks: 10,
        checkpoint_bytes: 512 << 10,
        checkpoint_mode: CheckpointMode::Background,
        space_amplification: 1.2,
        threads: 4,
        ..Options::default()
    }
}

/// `SplitMix64`'s output function.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn account_address(index: u64) -> Address {
    Address::left_padding_from(&(index + 1).to_be_bytes())
}

/// Slots belong to accounts that do not exist.
fn key(number: u64) -> (Address, U256) {
    let owner = mix(number) % 200;
    let address = Address::left_padding_from(&(1 << 32 | owner).to_be_bytes());
    (address, U256::from(number))
}

/// Number of keys written up to a block.
const fn keys_at(block: u64) -> u64 {
    KEYS + block * KEYS_ADDED
}

/// The first block that writes a key.
const fn birth(number: u64) -> u64 {
    if number < KEYS {
        return 0;
    }
    (number - KEYS) / KEYS_ADDED + 1
}

const fn is_written_by(number: u64, block: u64) -> bool {
    block == birth(number) || (block > birth(number) && block % TURNS == number % TURNS)
}

/// The value that a block writes to a key, sometimes zero.
fn written(number: u64, block: u64) -> U256 {
    let word = mix(number << 16 | block);
    if word.is_multiple_of(8) {
        U256::ZERO
    } else {
        U256::from(word)
    }
}

/// The value of a key after a block.
fn value(number: u64, block: u64) -> U256 {
    if number >= keys_at(block) {
        return U256::ZERO;
    }
    let mut by = (birth(number)..=block).rev();
    let by = by.find(|by| is_written_by(number, *by));
    by.map_or(U256::ZERO, |by| written(number, by))
}

fn delta(block: u64) -> StateDelta {
    let mut delta = StateDelta::default();
    for number in 0..keys_at(block) {
        if is_written_by(number, block) && birth(number) <= block {
            let (address, slot) = key(number);
            delta.slots.push((address, slot, written(number, block)));
        }
    }
    delta.slots.sort_unstable();
    for index in (0..ACCOUNTS).filter(|index| index % TURNS == block % TURNS) {
        let account = Account {
            nonce: block,
            balance: U256::from(mix(block)),
            ..Account::default()
        };
        delta.accounts.push((account_address(index), Some(account)));
    }
    delta
}

fn payload(block: u64) -> Vec<u8> {
    block.to_le_bytes().repeat(1 + (mix(block) % 4000) as usize)
}

fn check_reader(reader: &Reader, random: &mut u64) {
    let block = reader.number();
    let mut numbers = Vec::new();
    for _ in 0..400 {
        *random = mix(*random);
        // Some do not exist yet.
        numbers.push(*random % (keys_at(block) + 2 * KEYS_ADDED));
    }
    let keys: Vec<(Address, U256)> = numbers.iter().map(|number| key(*number)).collect();
    let declared = keys.iter().map(|(address, slot)| StateKey {
        address: *address,
        part: KeyPart::Slot(*slot),
    });
    reader.prefetch(&declared.take(32).collect::<Vec<_>>());
    let at_once = reader.read_slots(&keys).expect("sound files");
    for ((number, (address, slot)), found) in numbers.iter().zip(&keys).zip(at_once) {
        let expected = value(*number, block);
        assert_eq!(
            found, expected,
            "key {number} at block {block}, with others"
        );
        let found = reader.slot(*address, *slot).expect("sound files");
        assert_eq!(found, expected, "key {number} at block {block}");
    }
    for index in 0..ACCOUNTS {
        let by = (0..=block).rev().find(|by| index % TURNS == by % TURNS);
        let found = reader.account(account_address(index)).expect("sound files");
        let found = found.map(|account| account.nonce);
        assert_eq!(found, by, "account {index} at block {block}");
    }
}

/// Sets the flag however a thread ends, so that the other threads end as well.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn readers_concurrent_with_commits_see_one_block() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open(&folder.path().join("db"), options()).expect("a new database");
    db.commit(0, &delta(0), &payload(0))
        .expect("space on the disk");
    let is_over = AtomicBool::new(false);
    let (reads, scrubs) = (AtomicU64::new(0), AtomicU64::new(0));
    let snapshots = Mutex::new(Vec::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ending = Ending(&is_over);
            for block in 1..BLOCKS {
                if is_over.load(Ordering::Relaxed) {
                    return;
                }
                let changes = delta(block);
                if block % 5 == 0 {
                    // Prepared and never committed, like a proposal that another one overtakes.
                    let other = StateDelta::default();
                    db.prepare(block, &other).expect("sound changes");
                }
                let prepared = db.prepare(block, &changes).expect("sound changes");
                (db.commit_prepared(prepared, B256::from(U256::from(block)), &payload(block)))
                    .expect("space on the disk");
            }
        });
        for thread in 0..3_u64 {
            let (db, is_over, reads) = (&db, &is_over, &reads);
            scope.spawn(move || {
                let _ending = Ending(is_over);
                let mut random = thread;
                let mut held: Option<Reader> = None;
                while !is_over.load(Ordering::Relaxed) {
                    let newest = db.latest().map_or(0, |latest| latest.number);
                    random = mix(random);
                    let number = newest.saturating_sub(random % 6);
                    match db.reader_at(number) {
                        Ok(reader) => check_reader(&reader, &mut random),
                        // Blocks were committed meanwhile.
                        Err(ReadError::NotRetained { .. }) => {}
                        Err(error) => panic!("block {number}: {error}"),
                    }
                    // A block is pinned for long, while segments are emptied and retired.
                    if let Some(reader) = &held {
                        check_reader(reader, &mut random);
                    }
                    if random.is_multiple_of(16) || held.is_none() {
                        held = Some(db.reader_latest().expect("a block"));
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let _ending = Ending(&is_over);
            while !is_over.load(Ordering::Relaxed) {
                let report = (db.scrub(|_, _| ControlFlow::Continue(()))).expect("sound files");
                assert!(report.damages.is_empty(), "{:?}", report.damages);
                let newest = db.latest().map_or(0, |latest| latest.number);
                let found = db.payload(newest).expect("sound files");
                assert_eq!(found, Some(payload(newest).into()), "block {newest}");
                let mut snapshots = snapshots.lock().expect("no panic under it");
                if snapshots.len() < 4 {
                    let name = folder.path().join(format!("snapshot {}", snapshots.len()));
                    (db.snapshot(&name, Sharing::Links, |_, _| {})).expect("space on the disk");
                    snapshots.push(name);
                } else {
                    db.checkpoint().expect("space on the disk");
                }
                scrubs.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    assert!(reads.into_inner() > 20, "readers had their turns");
    assert!(scrubs.into_inner() > 0, "the scrub had its turn");
    // Files were reused.
    let names = std::fs::read_dir(folder.path().join("db")).expect("the folder");
    let numbers = names.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_prefix("log.")?.parse::<u64>().ok()
    });
    let oldest = numbers.min().expect("there are segments");
    assert!(oldest > 5, "the oldest segment is {oldest}");
    check_whole(&db, BLOCKS - 1);
    drop(db);
    let db = Db::open(&folder.path().join("db"), options()).expect("what was written");
    check_whole(&db, BLOCKS - 1);
    for name in snapshots.into_inner().expect("no panic under it") {
        let db = Db::open(&name, Options::read_only()).expect("a snapshot");
        let block = db.latest().expect("a block").number;
        check_whole(&db, block);
    }
}

/// Compares the whole database with the arithmetic.
fn check_whole(db: &Db, block: u64) {
    assert_eq!(db.latest().map(|latest| latest.number), Some(block));
    let verified = db.verify(|_, _| ControlFlow::Continue(()), |_, _| {});
    let verified = verified.expect("a sound database");
    let there = (0..keys_at(block)).filter(|number| !value(*number, block).is_zero());
    assert_eq!(verified.state.slots, there.count() as u64);
    let reader = db.reader_latest().expect("a block");
    for number in 0..keys_at(block) {
        let (address, slot) = key(number);
        let found = reader.slot(address, slot).expect("sound files");
        assert_eq!(found, value(number, block), "key {number} at block {block}");
    }
}
