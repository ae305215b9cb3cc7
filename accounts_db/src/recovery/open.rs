//! Opens a database: manifest, segments, checkpoint, then redo of the records after it.

use super::{
    redo::{Recovery, redo},
    segments::open_segments,
};
use crate::{
    error::{Damage, FileContext, OpenError},
    index::{CHECKPOINT, Chain, LoadedCheckpoint, load_checkpoint, read_checkpoint_ahead},
    log::{
        KeyHasher, MANIFEST, Manifest, SegmentAllocator, SpareBatches, checksum, segment_number,
    },
    options::Options,
    shared::{BackgroundGathering, CheckpointSchedule, Core, Writer},
    storage::Storage,
    trie::{StoredTrie, TrieFiles, TrieVersions, is_missing_or_cut, trie_file_name},
    workers::Workers,
};
use lockweave_state_trie::StateTrie;
use parking_lot::{Condvar, Mutex, RwLock};
use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Instant,
};

/// Opens the database in a folder.
///
/// With `rebuild`, the stored state trie is used only if it is an unfinished rebuild.
pub(crate) fn open(
    storage: Box<dyn Storage>,
    options: Options,
    rebuild: bool,
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
    let (trie, trie_files, stored) = open_trie(&storage, &manifest, loaded.as_ref(), rebuild)?;
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
        trie,
        trie_files,
        trie_versions: TrieVersions::default(),
        trie_root_stored: Mutex::new(stored.root),
        trie_rebuilt: Mutex::new(stored.rebuilt),
        applied: AtomicU64::new(0),
        preparations: AtomicU64::new(0),
        spare_batches: SpareBatches::default(),
        stopped: AtomicBool::new(false),
        leftover_files: Mutex::new(leftover_files),
    };
    let mut recovery = redo(&core, &manifest, loaded)?;
    if !rebuild {
        let blocks = usize::try_from(core.options.history_blocks).unwrap_or(usize::MAX);
        (core.trie).keep_history(core.options.trie_history_bytes, blocks);
    }
    if !core.workers.is_parallel() && !core.options.read_only {
        core.remove_leftover_files();
    }
    recovery.time = started.elapsed();
    Ok((core, recovery))
}

/// Opens the state trie of the checkpoint.
fn open_trie(
    storage: &Arc<dyn Storage>,
    manifest: &Manifest,
    loaded: Option<&LoadedCheckpoint>,
    rebuild: bool,
) -> Result<(StateTrie, TrieFiles, StoredTrie), OpenError> {
    let mut stored = loaded.map_or_else(StoredTrie::default, |loaded| loaded.trie.clone());
    let damaged = |what: &str| {
        let damage = Damage::new(storage.describe(CHECKPOINT), 0, what);
        Err(OpenError::Trie(damage))
    };
    let is_missing = |number| storage.open(&trie_file_name(number)).is_err();
    if rebuild && (stored.rebuilt.is_none() || (0..stored.files).any(is_missing)) {
        let (files, words) = (stored.files, stored.used.len());
        stored = StoredTrie {
            files,
            used: vec![0; words],
            rebuilt: Some(0),
            ..StoredTrie::default()
        };
        if let Some(first) = stored.used.first_mut() {
            *first = 1;
        }
    }
    if !rebuild && stored.rebuilt.is_some() {
        return damaged("a rebuild of the state trie is not finished");
    }
    let files = TrieFiles::open(Arc::clone(storage), manifest.segment_bytes, &stored);
    let files = files.map_err(|error| {
        if rebuild || !is_missing_or_cut(&error.source) {
            return error.into();
        }
        let what = match error.source.kind() {
            io::ErrorKind::NotFound => "the file is missing".to_owned(),
            _ => error.source.to_string(),
        };
        OpenError::Trie(Damage::new(error.file, 0, what))
    })?;
    if stored.root.is_empty() {
        return Ok((StateTrie::new(), files, stored));
    }
    match StateTrie::open(&stored.root) {
        Some(trie) => Ok((trie, files, stored)),
        None => damaged("the root of the state trie is damaged"),
    }
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
