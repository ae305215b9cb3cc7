//! Opens a database: manifest, segments, checkpoint, then redo of the records after it.

use super::{
    redo::{Recovery, redo},
    segments::open_segments,
};
use crate::{
    error::{FileContext, OpenError},
    index::{CHECKPOINT, Chain, load_checkpoint, read_checkpoint_ahead},
    log::{
        KeyHasher, MANIFEST, Manifest, SegmentAllocator, SpareBatches, checksum, segment_number,
    },
    options::Options,
    shared::{BackgroundGathering, CheckpointSchedule, Core, Writer},
    storage::Storage,
    workers::Workers,
};
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

/// Opens the database in a folder.
pub(crate) fn open(
    storage: Box<dyn Storage>,
    options: Options,
) -> Result<(Core, Recovery), OpenError> {
    options.check()?;
    let started = Instant::now();
    let manifest = match Manifest::load(&*storage)? {
        Some(manifest) => manifest,
        None => create(&*storage, &options)?,
    };
    let workers = Workers::new(options.threads)?;
    read_checkpoint_ahead(&*storage);
    let (table, leftover_files) = open_segments(&*storage, &manifest, &workers, options.read_only)?;
    let (index, loaded) = load_checkpoint(&*storage, &manifest, &workers)?;
    let storage: Arc<dyn Storage> = Arc::from(storage);
    let segment_allocator = SegmentAllocator::new(
        Arc::clone(&storage),
        manifest.database,
        manifest.segment_bytes,
    );
    let core = Core {
        storage,
        segment_allocator,
        background_gathering: BackgroundGathering::default(),
        options,
        database: manifest.database,
        hash_key: manifest.hash_key,
        hasher: KeyHasher::new(manifest.hash_key),
        workers,
        checkpointing: Mutex::new(()),
        writer: Mutex::new(Writer::default()),
        publishing: RwLock::new(()),
        checkpoint: Mutex::new(CheckpointSchedule::default()),
        checkpoint_wanted: Condvar::new(),
        chain: RwLock::new(Chain::default()),
        pins: Mutex::new(BTreeMap::new()),
        table: RwLock::new(Arc::new(table)),
        index,
        applied: AtomicU64::new(0),
        preparations: AtomicU64::new(0),
        spare_batches: SpareBatches::default(),
        stopped: AtomicBool::new(false),
        leftover_files: Mutex::new(leftover_files),
    };
    let mut recovery = redo(&core, &manifest, loaded)?;
    if !core.workers.is_parallel() && !core.options.read_only {
        core.remove_leftover_files();
    }
    recovery.time = started.elapsed();
    Ok((core, recovery))
}

/// Creates an empty database.
fn create(storage: &dyn Storage, options: &Options) -> Result<Manifest, OpenError> {
    let folder = storage.describe("");
    let names = storage.list().context("list", &folder)?;
    if names
        .iter()
        .any(|name| segment_number(name).is_some() || name == CHECKPOINT)
    {
        return Err(OpenError::Missing {
            file: storage.describe(MANIFEST),
            why: "there are files of an accounts database in the folder".to_owned(),
        });
    }
    if !options.create {
        return Err(OpenError::NotADatabase { folder });
    }
    let manifest = Manifest {
        database: options.seed.map_or_else(random, |seed| seeded(seed, 0)),
        hash_key: options.seed.map_or_else(random, |seed| seeded(seed, 1)),
        segment_bytes: options.segment_bytes,
        shard_bits: options.shard_bits,
        segments: Vec::new(),
        durable: 0,
    };
    manifest.store(storage)?;
    Ok(manifest)
}

/// Random bytes: each hash state of the standard library has keys from the operating system.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    for half in bytes.chunks_exact_mut(8) {
        half.copy_from_slice(&RandomState::new().hash_one(0).to_le_bytes());
    }
    bytes
}

/// Bytes derived from a seed.
fn seeded(seed: u64, number: u8) -> [u8; 16] {
    let mut bytes = seed.to_le_bytes().to_vec();
    bytes.push(number);
    checksum(&bytes)
}

impl Core {
    /// Removes unneeded files. Files that cannot be removed now are removed next time.
    ///
    /// This may wait for other writes to the medium, so nothing should wait for it.
    pub(crate) fn remove_leftover_files(&self) {
        // Checkpoints and manifests create files with these names.
        let _checkpointing = self.checkpointing.lock();
        for name in std::mem::take(&mut *self.leftover_files.lock()) {
            let _ = self.storage.remove(&name);
        }
    }
}
