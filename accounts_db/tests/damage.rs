//! Flipped bits, truncated files and contradictions are found when the database is opened, read or
//! scrubbed, and reported with file and offset.

mod support;

use lockweave_accounts_db::{CheckpointMode, Db, OpenError, Options, ReadError, ScrubReport};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};
use support::{
    Generator, ModelBlock, SMALL, check_db, extend,
    faulty::{Fault, FaultyStorage},
};

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        shard_bits: 2,
        history_blocks: 5,
        checkpoint_mode: CheckpointMode::Manual,
        threads: 1,
        seed: Some(1),
        ..Options::default()
    }
}

fn read_only() -> Options {
    Options {
        create: false,
        read_only: true,
        ..options()
    }
}

/// A database of a few segments, with a checkpoint in the middle, closed cleanly.
fn database() -> (FaultyStorage, Vec<ModelBlock>) {
    let storage = FaultyStorage::new(5);
    let mut generator = Generator::new(9, SMALL);
    let mut blocks = Vec::new();
    let db = Db::open_on(Box::new(storage.clone()), options()).expect("a new database");
    extend(&db, &mut generator, &mut blocks, 12);
    db.checkpoint().expect("a sound medium");
    extend(&db, &mut generator, &mut blocks, 12);
    (storage, blocks)
}

fn scrub(db: &Db) -> Result<ScrubReport, ReadError> {
    db.scrub(|_, _| ControlFlow::Continue(()))
}

/// Number of used bytes of a file.
fn used(storage: &FaultyStorage, name: &str) -> usize {
    storage.used_bytes(name).expect("it is there").len()
}

const FILES: [&str; 4] = ["MANIFEST", "index.checkpoint", "log.0", "log.1"];
/// Nodes begin behind the first unit of space.
const TRIE_START: usize = 32;

#[test]
fn a_sound_database_is_found_sound() {
    let (storage, blocks) = database();
    let db = Db::open_on(Box::new(storage), read_only()).expect("a sound database");
    check_db(&db, SMALL, &blocks).expect("what was written");
    let report = scrub(&db).expect("readable");
    assert!(report.is_sound(), "{:?}", report.damages);
    assert_eq!(report.records, 24);
    let verified = (db.verify(|_, _| ControlFlow::Continue(()), |_, _| {})).expect("sound");
    let state = &blocks.last().expect("there are blocks").state;
    assert_eq!(verified.state.accounts, state.accounts.len() as u64);
    assert_eq!(verified.state.slots, state.slots.len() as u64);
}

#[test]
fn every_flipped_bit_is_reported_with_file_and_offset() {
    let (storage, _) = database();
    let mut random = StdRng::seed_from_u64(11);
    for name in FILES.into_iter().chain(["trie.0"]) {
        let used = used(&storage, name);
        let start = if name == "trie.0" { TRIE_START } else { 0 };
        for _ in 0..400 {
            let at = random.random_range(start..used);
            let bit = random.random_range(0..8);
            let fork = storage.fork(1);
            let mut bytes = fork.bytes(name).expect("it is there");
            bytes[at] ^= 1 << bit;
            fork.set_bytes(name, bytes);
            let told = match Db::open_on(Box::new(fork), read_only()) {
                Ok(db) => {
                    let report = scrub(&db).expect("readable");
                    let Some(damage) = report.damages.first() else {
                        panic!("bit {bit} of byte {at} of {name} flipped unseen");
                    };
                    Some(damage.clone())
                }
                Err(OpenError::Damaged(damage) | OpenError::Trie(damage)) => Some(damage),
                Err(OpenError::NewerVersion { file, .. } | OpenError::Missing { file, .. }) => {
                    assert!(file.ends_with(name), "{name}: {file}");
                    None
                }
                Err(error) => panic!("byte {at} of {name}: {error}"),
            };
            if let Some(damage) = told {
                assert!(damage.file.ends_with(name), "byte {at} of {name}: {damage}");
                assert!(damage.offset <= at as u64, "byte {at} of {name}: {damage}");
            }
        }
    }
}

/// Distance between flipped bytes. `LOCKWEAVE_DAMAGE_STRIDE=1` flips a bit of every byte of every
/// file, which takes minutes.
fn stride() -> usize {
    std::env::var("LOCKWEAVE_DAMAGE_STRIDE").map_or(211, |stride| {
        let stride = stride.parse().expect("LOCKWEAVE_DAMAGE_STRIDE is a number");
        assert!(stride > 0, "LOCKWEAVE_DAMAGE_STRIDE is at least 1");
        stride
    })
}

#[test]
fn no_byte_of_any_file_changes_unnoticed() {
    let (storage, _) = database();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let stride = stride();
    for name in FILES {
        let used = used(&storage, name);
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(stride, Ordering::Relaxed);
                        if at >= used {
                            break;
                        }
                        let fork = storage.fork(1);
                        let mut bytes = fork.bytes(name).expect("it is there");
                        bytes[at] ^= 1 << (at % 8);
                        fork.set_bytes(name, bytes);
                        let Ok(db) = Db::open_on(Box::new(fork), read_only()) else {
                            continue;
                        };
                        let damages = scrub(&db).expect("readable").damages;
                        let is_reported = damages
                            .iter()
                            .any(|it| it.file.ends_with(name) && it.offset <= at as u64);
                        assert!(is_reported, "byte {at} of {name}: {damages:?}");
                    }
                });
            }
        });
        println!("{name}: {used} bytes, every {stride}th");
    }
}

#[test]
fn random_bytes_in_any_file_never_panic() {
    let (storage, blocks) = database();
    let mut random = StdRng::seed_from_u64(12);
    for round in 0..1500 {
        let name = FILES[round % FILES.len()];
        let fork = storage.fork(1);
        let mut bytes = fork.bytes(name).expect("it is there");
        for _ in 0..random.random_range(1..4) {
            match random.random_range(0..3) {
                0 => {
                    let length = random.random_range(0..=bytes.len());
                    bytes.truncate(length);
                }
                1 => {
                    let start = random.random_range(0..=bytes.len());
                    let end = (start + random.random_range(0..64)).min(bytes.len());
                    random.fill(&mut bytes[start..end]);
                }
                _ => {
                    // A page in the place of another.
                    let pages = bytes.len() / 4096;
                    if pages > 1 {
                        let (from, to) =
                            (random.random_range(0..pages), random.random_range(0..pages));
                        bytes.copy_within(from * 4096..(from + 1) * 4096, to * 4096);
                    }
                }
            }
        }
        let is_same = storage.bytes(name).as_ref() == Some(&bytes);
        fork.set_bytes(name, bytes);
        if let Ok(db) = Db::open_on(Box::new(fork), read_only()) {
            let report = scrub(&db);
            if let Ok(report) = &report
                && report.is_sound()
            {
                // Then no byte in use was changed.
                check_db(&db, SMALL, &blocks)
                    .unwrap_or_else(|error| panic!("round {round}, {name}: {error}"));
            }
            assert!(!is_same || report.is_ok_and(|report| report.is_sound()));
        }
    }
}

#[test]
fn newer_versions_are_refused_and_left_alone() {
    for name in FILES {
        let (storage, _) = database();
        let mut bytes = storage.bytes(name).expect("it is there");
        bytes[8] = 3;
        let sum = xxhash_rust::xxh3::xxh3_128(&bytes[..240]);
        bytes[240..256].copy_from_slice(&sum.to_le_bytes());
        storage.set_bytes(name, bytes.clone());
        match Db::open_on(Box::new(storage.clone()), options()) {
            Err(OpenError::NewerVersion {
                file,
                found: 3,
                supported: 2,
            }) => {
                assert!(file.ends_with(name), "{file}");
            }
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(storage.bytes(name), Some(bytes), "{name} was changed");
    }
}

#[test]
fn a_damaged_or_missing_trie_is_rebuilt() {
    let (storage, blocks) = database();
    let used = used(&storage, "trie.0");
    for at in (0..=used).step_by(97) {
        let fork = storage.fork(1);
        let mut bytes = fork.bytes("trie.0").expect("it is there");
        if at < TRIE_START {
            lockweave_accounts_db::storage::Storage::remove(&fork, "trie.0").expect("it is there");
        } else if at % 2 == 0 {
            bytes[at..].fill(0xa5);
            fork.set_bytes("trie.0", bytes);
        } else {
            bytes.truncate(at);
            fork.set_bytes("trie.0", bytes);
        }
        let error = match Db::open_on(Box::new(fork.clone()), read_only()) {
            Ok(db) => {
                let verified = db.verify(|_, _| ControlFlow::Continue(()), |_, _| {});
                let text = verified.expect_err("damage").to_string();
                assert!(text.contains("rebuild-trie"), "{text}");
                scrub(&db).expect("readable").damages[0].to_string()
            }
            Err(error @ OpenError::Trie(_)) => {
                let text = error.to_string();
                assert!(text.contains("rebuild-trie"), "{text}");
                text
            }
            Err(error) => panic!("byte {at}: {error}"),
        };
        assert!(error.contains("trie.0"), "byte {at}: {error}");
        Db::rebuild_trie_on(Box::new(fork.clone()), options(), |_, _| {}).expect("sound accounts");
        let db = Db::open_on(Box::new(fork), options()).expect("a rebuilt trie");
        assert!(scrub(&db).expect("readable").is_sound());
        check_db(&db, SMALL, &blocks).expect("what was written");
    }
}

#[test]
fn a_rebuild_can_be_killed_at_any_moment() {
    let (storage, blocks) = database();
    let small = || Options {
        trie_memory_bytes: 1024,
        ..options()
    };
    for operation in 0.. {
        let fork = storage.fork(operation);
        fork.set_fault(operation, Fault::Crash);
        let result = Db::rebuild_trie_on(Box::new(fork.clone()), small(), |_, _| {});
        let is_whole = result.is_ok();
        fork.restart();
        match Db::open_on(Box::new(fork.clone()), small()) {
            Ok(db) => check_db(&db, SMALL, &blocks).expect("what was written"),
            Err(OpenError::Trie(_)) => {
                Db::rebuild_trie_on(Box::new(fork.clone()), small(), |_, _| {}).expect("again");
                let db = Db::open_on(Box::new(fork), small()).expect("a rebuilt trie");
                check_db(&db, SMALL, &blocks).expect("what was written");
            }
            Err(error) => panic!("operation {operation}: {error}"),
        }
        if is_whole {
            assert!(operation > 10, "{operation} operations");
            break;
        }
    }
}

#[test]
fn an_older_version_is_refused_with_what_to_do() {
    let (storage, _) = database();
    let mut bytes = storage.bytes("MANIFEST").expect("it is there");
    bytes[8] = 1;
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes[..240]);
    bytes[240..256].copy_from_slice(&sum.to_le_bytes());
    storage.set_bytes("MANIFEST", bytes.clone());
    let error = Db::open_on(Box::new(storage.clone()), options()).expect_err("an older format");
    let text = error.to_string();
    assert!(text.contains("export") && text.contains("import"), "{text}");
    assert_eq!(storage.bytes("MANIFEST"), Some(bytes), "it was changed");
}

#[test]
fn a_missing_file_is_reported() {
    let (storage, _) = database();
    for name in ["log.0", "index.checkpoint", "MANIFEST"] {
        let fork = storage.fork(1);
        lockweave_accounts_db::storage::Storage::remove(&fork, name).expect("it is there");
        let opened = Db::open_on(Box::new(fork), options());
        if name == "index.checkpoint" {
            // The log is complete, so the index is rebuilt.
            assert!(opened.is_ok(), "{:?}", opened.err());
        } else {
            match opened {
                Err(OpenError::Missing { file, .. }) => assert!(file.ends_with(name), "{file}"),
                other => panic!("{name}: {other:?}"),
            }
        }
    }
}
