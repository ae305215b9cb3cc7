//! The database against a model in ordered maps, on real files.

mod support;

use lockweave_accounts_db::{CheckpointMode, Db, Options};
use rand::Rng;
use support::{Generator, SMALL, check_db, check_state, newest_state};

fn options() -> Options {
    Options {
        history_blocks: 12,
        segment_bytes: 64 << 10,
        shard_bits: 3,
        checkpoint_bytes: 100 << 10,
        checkpoint_mode: CheckpointMode::Inline,
        space_amplification: 1.2,
        payload_blocks: u64::MAX,
        trie_memory_bytes: 4096,
        threads: 2,
        ..Options::default()
    }
}

#[test]
fn the_database_is_the_model_through_commits_undo_and_reopening() {
    for seed in 0..12 {
        let folder = tempfile::tempdir().expect("a folder");
        let mut generator = Generator::new(seed, SMALL);
        let mut db = Db::open(folder.path(), options()).expect("a new database");
        let mut blocks = Vec::new();
        let mut pinned = Vec::new();
        for round in 0..150_u64 {
            match generator.random.random_range(0..20_u8) {
                0 => {
                    pinned.clear();
                    drop(db);
                    db = Db::open(folder.path(), options()).expect("what was written");
                    assert_eq!(db.recovery().unfinished, None);
                    check_db(&db, SMALL, &blocks)
                        .unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
                }
                1 if blocks.len() > 1 => {
                    let oldest = db.oldest().expect("there are blocks");
                    let newest = blocks.len() as u64 - 1;
                    let target = generator.random.random_range(oldest..=newest);
                    db.undo_to(target).expect("a retained block");
                    blocks.truncate(usize::try_from(target).expect("small") + 1);
                }
                2 if !blocks.is_empty() => {
                    let reader = db.reader_latest().expect("a block");
                    pinned.push((reader, newest_state(&blocks)));
                }
                _ => {
                    let before = newest_state(&blocks);
                    let (delta, block) = generator.block(blocks.len() as u64, &before);
                    // Sometimes another block is prepared instead, before or after it, and never
                    // committed.
                    let (other, _) = generator.block(block.number, &before);
                    let prepare_other =
                        || drop(db.prepare(block.number, &other).expect("sound changes"));
                    let place_of_other = generator.random.random_range(0..6_u8);
                    if place_of_other == 0 {
                        prepare_other();
                    }
                    let prepared = db.prepare(block.number, &delta).expect("sound changes");
                    if place_of_other == 1 {
                        prepare_other();
                    }
                    assert_eq!(prepared.state_root(), block.state_root);
                    db.commit_prepared(prepared, block.hash, &block.payload)
                        .expect("space on the disk");
                    blocks.push(block);
                }
            }
            for (reader, state) in &pinned {
                check_state(reader, SMALL, state)
                    .unwrap_or_else(|error| panic!("seed {seed} round {round}, pinned: {error}"));
            }
            if round % 10 == 0 {
                check_db(&db, SMALL, &blocks)
                    .unwrap_or_else(|error| panic!("seed {seed} round {round}: {error}"));
            }
        }
        assert!(db.checkpoint_failure().is_none());
    }
}
