//! Simulated crashes and failing media, from seeds.
//!
//! `LOCKWEAVE_CRASH_RUNS=100000` sets the number of seeds, `LOCKWEAVE_CRASH_FIRST` the first seed,
//! and `LOCKWEAVE_CRASH_THREADS` the number of threads; `LOCKWEAVE_CRASH_SEED=17` repeats one seed.
//! A failure names its seed.

mod support;

use lockweave_accounts_db::{CheckpointMode, CommitError, Db, OpenError, Options, Sharing};
use lockweave_runtime::StateDelta;
use rand::Rng;
use std::{
    env,
    error::Error,
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};
use support::{
    Checked, Generator, ModelBlock, ModelState, Shape, check_db,
    faulty::{Fault, FaultyStorage},
    newest_state,
};

const SHAPE: Shape = Shape {
    accounts: 5,
    slots: 16,
    changes: 60,
    payload_bytes: 3000,
};

fn options(seed: u64) -> Options {
    Options {
        history_blocks: 1 + seed % 7,
        segment_bytes: 64 << 10,
        shard_bits: u32::try_from(seed % 4).expect("small"),
        checkpoint_bytes: 4096 * (3 + seed % 20),
        checkpoint_mode: CheckpointMode::Inline,
        space_amplification: 1.1,
        payload_blocks: 1 + seed % 11,
        // With some seeds nodes are freed and read again.
        trie_memory_bytes: if seed.is_multiple_of(2) {
            2048
        } else {
            1 << 20
        },
        threads: 1,
        seed: Some(seed),
        ..Options::default()
    }
}

fn open(storage: &FaultyStorage, seed: u64) -> Result<Db, OpenError> {
    Db::open_on(Box::new(storage.clone()), options(seed))
}

/// The allowed contents of the database: the acknowledged blocks, or those after the current
/// operation.
struct Run {
    seed: u64,
    storage: FaultyStorage,
    generator: Generator,
    blocks: Vec<ModelBlock>,
    /// Blocks in case the failed operation took effect.
    alternative: Option<Vec<ModelBlock>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            storage: FaultyStorage::new(seed),
            generator: Generator::new(seed, SHAPE),
            blocks: Vec::new(),
            alternative: None,
        }
    }

    /// The blocks and one more, without payloads that are no longer kept.
    fn with(&self, block: ModelBlock) -> Vec<ModelBlock> {
        let mut blocks = self.blocks.clone();
        let kept = options(self.seed).payload_blocks;
        for old in &mut blocks {
            if old.number + kept <= block.number {
                old.payload.clear();
            }
        }
        blocks.push(block);
        blocks
    }

    /// A run of some steps on a sound medium.
    fn after(seed: u64, steps: usize) -> Self {
        let mut run = Self::new(seed);
        let db = open(&run.storage, seed).expect("a new database");
        run.steps(&db, steps);
        drop(db);
        run
    }

    /// Runs steps on a sound medium.
    fn steps(&mut self, db: &Db, steps: usize) {
        for _ in 0..steps {
            self.step(db).expect("a sound medium");
        }
    }

    fn state(&self) -> ModelState {
        newest_state(&self.blocks)
    }

    /// Commits, undoes or checkpoints; an error comes from the medium.
    fn step(&mut self, db: &Db) -> Result<(), CommitError> {
        self.alternative = None;
        match self.generator.random.random_range(0..16_u8) {
            0 if self.blocks.len() > 1 => {
                let oldest = db.oldest().unwrap_or(0);
                let newest = self.blocks.len() as u64 - 1;
                let target = self.generator.random.random_range(oldest..=newest);
                let kept = self.blocks[..=usize::try_from(target).expect("small")].to_vec();
                self.alternative = Some(kept.clone());
                db.undo_to(target)?;
                self.blocks = kept;
            }
            2 => {
                // Crashes happen here too; another test checks the snapshot.
                let target = FaultyStorage::new(self.seed);
                let result = db.snapshot_to(&target, Sharing::Copies, |_, _| {});
                if result.is_ok() {
                    target.restart();
                    check_snapshot(&target, self.seed, &self.blocks)
                        .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
                }
            }
            1 => {
                // No block depends on a checkpoint.
                let _ = db.checkpoint();
            }
            _ => {
                let number = self.blocks.len() as u64;
                let (delta, block) = self.generator.block(number, &self.state());
                let blocks = self.with(block.clone());
                let prepared = db.prepare(number, &delta)?;
                self.alternative = Some(blocks.clone());
                db.commit_prepared(prepared, block.hash, &block.payload)?;
                self.blocks = blocks;
            }
        }
        self.alternative = None;
        Ok(())
    }

    /// Compares the database with its allowed contents, and adopts what it has.
    fn settle(&mut self, db: &Db) -> Checked {
        let first = check_db(db, SHAPE, &self.blocks);
        if first.is_err()
            && let Some(blocks) = self.alternative.take()
            && check_db(db, SHAPE, &blocks).is_ok()
        {
            self.blocks = blocks;
            return Ok(());
        }
        self.alternative = None;
        first
    }
}

/// Compares the content of a snapshot's folder with the blocks from which it was made; returns
/// whether it is a snapshot.
fn check_snapshot(
    target: &FaultyStorage,
    seed: u64,
    blocks: &[ModelBlock],
) -> Result<bool, Box<dyn Error>> {
    let options = Options {
        create: false,
        read_only: true,
        ..options(seed)
    };
    match Db::open_on(Box::new(target.clone()), options) {
        Ok(db) => check_db(&db, SHAPE, blocks)
            .map(|()| true)
            .map_err(|error| format!("the snapshot: {error}").into()),
        Err(_) if target.bytes("MANIFEST").is_none() => Ok(false),
        Err(error) => Err(format!("the snapshot has a manifest, but: {error}").into()),
    }
}

/// Runs a database through several crashes.
fn crashes(seed: u64) -> Checked {
    let mut run = Run::new(seed);
    for life in 0..4 {
        let after = run.generator.random.random_range(0..120);
        run.storage.set_fault(after, Fault::Crash);
        if let Ok(db) = open(&run.storage, seed) {
            for _ in 0..30 {
                if let Err(error) = run.step(&db)
                    && !run.storage.has_crashed()
                {
                    return Err(format!("life {life}: {error}").into());
                }
                if run.storage.has_crashed() {
                    break;
                }
            }
        }
        run.storage.restart();
        let db = open(&run.storage, seed).map_err(|error| format!("life {life}: {error}"))?;
        run.settle(&db)
            .map_err(|error| format!("life {life}: {error}"))?;
        for _ in 0..3 {
            run.step(&db)
                .map_err(|error| format!("after life {life}: {error}"))?;
        }
        run.settle(&db)
            .map_err(|error| format!("after life {life}: {error}"))?;
    }
    Ok(())
}

/// Runs a database on a medium with occasional faults.
fn failures(seed: u64) -> Checked {
    let mut run = Run::new(seed);
    let mut db = open(&run.storage, seed)?;
    for round in 0..60 {
        let fault = match run.generator.random.random_range(0..6_u8) {
            0 => Some(Fault::NoSpace),
            1 => Some(Fault::WriteError),
            2 => Some(Fault::SyncError),
            3 => Some(Fault::ReadError),
            4 => Some(Fault::ShortRead),
            _ => None,
        };
        if let Some(fault) = fault {
            run.storage
                .set_fault(run.generator.random.random_range(0..12), fault);
        }
        let result = run.step(&db);
        run.storage.clear_fault();
        let at = |error: &dyn Display| format!("round {round} with {fault:?}: {error}");
        match result {
            Ok(()) => {}
            Err(CommitError::Sync { .. } | CommitError::Stopped) => {
                // No block is accepted, everything can be read, and reopening finds one of both.
                let refused = db.prepare(run.blocks.len() as u64, &StateDelta::default());
                if !matches!(refused, Err(CommitError::Stopped)) {
                    let what = format!("a stopped database accepts {refused:?}");
                    return Err(at(&what).into());
                }
                check_db(&db, SHAPE, &run.blocks).map_err(|error| at(&error))?;
                drop(db);
                if run.generator.random.random_bool(0.5) {
                    run.storage.restart();
                }
                db = open(&run.storage, seed).map_err(|error| at(&error))?;
                run.settle(&db).map_err(|error| at(&error))?;
                continue;
            }
            Err(CommitError::NoSpace { .. } | CommitError::File(_) | CommitError::Read(_))
                if fault.is_some() =>
            {
                run.alternative = None;
            }
            Err(error) => return Err(at(&error).into()),
        }
        run.settle(&db).map_err(|error| at(&error))?;
        if run.generator.random.random_bool(0.1) {
            drop(db);
            run.storage.restart();
            db = open(&run.storage, seed).map_err(|error| at(&error))?;
            run.settle(&db).map_err(|error| at(&error))?;
        }
    }
    Ok(())
}

/// Runs seeds on all cores and collects the failures.
fn run_seeds(default_runs: u64, run: impl Fn(u64) -> Checked + Sync) {
    if let Ok(seed) = env::var("LOCKWEAVE_CRASH_SEED") {
        let seed = seed.parse().expect("a number");
        run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        return;
    }
    let number = |name: &str, default: u64| {
        env::var(name).map_or(default, |number| number.parse().expect("a number"))
    };
    let first = number("LOCKWEAVE_CRASH_FIRST", 0);
    let end = first + number("LOCKWEAVE_CRASH_RUNS", default_runs);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(first);
    thread::scope(|scope| {
        for _ in 0..number("LOCKWEAVE_CRASH_THREADS", cores as u64) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        break;
                    }
                    run(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                }
            });
        }
    });
}

#[test]
fn no_crash_loses_an_acknowledged_block_or_shows_half_of_one() {
    run_seeds(300, crashes);
}

#[test]
fn a_failing_medium_loses_nothing() {
    run_seeds(150, failures);
}

/// The machine stops at every operation of a snapshot, on either side.
#[test]
fn a_snapshot_is_whole_or_none_wherever_it_is_cut_off() {
    let (mut cut, mut whole) = (0, 0);
    for seed in 0..12 {
        let run = Run::after(seed, 25);
        for side in ["source", "target"] {
            for after in 0.. {
                let (source, target) = (run.storage.fork(seed), FaultyStorage::new(after));
                let db = open(&source, seed).expect("what was written");
                let faulty = if side == "source" { &source } else { &target };
                faulty.set_fault(after, Fault::Crash);
                let result = db.snapshot_to(&target, Sharing::Copies, |_, _| {});
                let has_crashed = faulty.has_crashed();
                faulty.clear_fault();
                drop(db);
                source.restart();
                target.restart();
                let at = format!("seed {seed}, operation {after} of the {side}");
                let is_one = check_snapshot(&target, seed, &run.blocks)
                    .unwrap_or_else(|error| panic!("{at}: {error}"));
                assert!(is_one || result.is_err(), "{at}: acknowledged and lost");
                let db = open(&source, seed).unwrap_or_else(|error| panic!("{at}: {error}"));
                check_db(&db, SHAPE, &run.blocks).unwrap_or_else(|error| panic!("{at}: {error}"));
                if !has_crashed {
                    whole += 1;
                    break;
                }
                cut += 1;
            }
        }
    }
    assert_eq!(whole, 24, "each side ends without a crash at last");
    println!("{cut} seams");
}

#[test]
fn the_last_block_may_be_torn_at_every_byte() {
    let seed = 3;
    let mut run = Run::after(seed, 12);
    // A block with pages between its first and its last.
    run.generator.shape.changes = 400;
    let (delta, block) = loop {
        let number = run.blocks.len() as u64;
        let (delta, block) = run.generator.block(number, &run.state());
        if delta.slots.len() > 70 && block.payload.len() > 1000 {
            break (delta, block);
        }
    };
    let blocks = run.with(block.clone());
    // Its pages, the page after them with the payload, and the first page.
    let writes = 3;
    let mut offsets = 0;
    for writes_after in 0..writes {
        let mut kept = 0;
        let mut seen_whole = 0;
        while seen_whole <= 3 {
            let at = format!("{kept} bytes of the write {writes_after} before the last");
            let storage = run.storage.fork(seed);
            let db = open(&storage, seed).expect("what was written");
            let prepared = db.prepare(block.number, &delta).expect("sound changes");
            // The crash hits the sync after the two remaining writes.
            let fault = Fault::CrashKeeping {
                writes_after,
                bytes: kept,
            };
            storage.set_fault(writes as u64 - 1, fault);
            let result = db.commit_prepared(prepared, block.hash, &block.payload);
            assert!(result.is_err(), "the sync failed");
            drop(db);
            storage.restart();
            let db = open(&storage, seed).unwrap_or_else(|error| panic!("{at}: {error}"));
            if db.latest().map(|block| block.number) == Some(block.number) {
                check_db(&db, SHAPE, &blocks).unwrap_or_else(|error| panic!("{at}: {error}"));
                seen_whole += 1;
            } else {
                assert_eq!(seen_whole, 0, "{at}: more survived, and less of the block");
                let latest = db.latest().map(|block| block.number);
                assert_eq!(latest, Some(block.number - 1), "{at}");
                // All of it was checked when less survived.
                if kept % 64 == 0 {
                    check_db(&db, SHAPE, &run.blocks)
                        .unwrap_or_else(|error| panic!("{at}: {error}"));
                }
            }
            kept += 1;
        }
        assert!(kept > 1000, "all of a write is needed");
        offsets += kept;
    }
    println!("{offsets} offsets");
}

/// Pages of a block that was prepared and never committed do not count, whatever overwrites them.
#[test]
fn pages_of_uncommitted_blocks_do_not_count() {
    for seed in 0..40 {
        let mut run = Run::new(seed);
        {
            let db = open(&run.storage, seed).expect("a new database");
            run.steps(&db, 10);
            let number = run.blocks.len() as u64;
            let (uncommitted, _) = run.generator.block(number, &run.state());
            let (delta, block) = run.generator.block(number, &run.state());
            let blocks = run.with(block.clone());
            let ours = db.prepare(number, &delta).expect("sound changes");
            let theirs = db.prepare(number, &uncommitted).expect("sound changes");
            if seed % 4 == 0 {
                // The remains of a refused block do not count either.
                run.storage.set_fault(0, Fault::WriteError);
                let result = db.commit_prepared(theirs, block.hash, &block.payload);
                assert!(result.is_err(), "seed {seed}: the write failed");
            }
            if seed % 4 < 2 {
                db.commit_prepared(ours, block.hash, &block.payload)
                    .expect("a sound medium");
                run.blocks = blocks;
            }
        }
        run.storage.restart();
        let db = open(&run.storage, seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        check_db(&db, SHAPE, &run.blocks).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        run.steps(&db, 3);
        check_db(&db, SHAPE, &run.blocks).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// A segment that was created for a refused block stays empty if the next block does not fit.
#[test]
fn the_log_continues_after_an_empty_segment() {
    let seed = 5;
    let mut run = Run::new(seed);
    {
        let options = Options {
            checkpoint_mode: CheckpointMode::Manual,
            ..options(seed)
        };
        let db = Db::open_on(Box::new(run.storage.clone()), options).expect("a new database");
        let commit = |run: &mut Run, payload: usize, fault: bool| {
            let number = run.blocks.len() as u64;
            let (delta, mut block) = run.generator.block(number, &run.state());
            block.payload = vec![7; payload];
            let prepared = db.prepare(number, &delta).expect("sound changes");
            if fault {
                // After the five operations that create a segment.
                run.storage.set_fault(5, Fault::WriteError);
            }
            let result = db.commit_prepared(prepared, block.hash, &block.payload);
            run.storage.clear_fault();
            if result.is_ok() {
                run.blocks = run.with(block);
            }
            result
        };
        commit(&mut run, 1000, false).expect("a sound medium");
        commit(&mut run, 60_000, true).expect_err("the record's write fails");
        assert!(run.storage.bytes("log.1").is_some(), "a segment was begun");
        commit(&mut run, 200_000, false).expect("a sound medium");
        assert!(run.storage.bytes("log.3").is_some(), "and another");
        commit(&mut run, 1000, false).expect("a sound medium");
    }
    run.storage.restart();
    let db = open(&run.storage, seed).expect("nothing is damaged");
    check_db(&db, SHAPE, &run.blocks).expect("what was acknowledged");
}
