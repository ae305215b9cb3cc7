//! A chain on disk: the accounts database, with each block as the payload of its state change.
//!
//! A block, its receipts and the state after it become durable in one step: after a crash either all of them
//! exist or none. The index (hashes, bloom filters) is derived from the blocks and rebuilt when the chain is
//! opened.

use super::{
    ChainStore, PreparedCommit, Retention, StoreError,
    cache::BlockCache,
    codec::{self, CodecError},
    index::{ChainIndex, IndexedBlock, TransactionPlace},
    timed_storage::TimedStorage,
};
use crate::chain::{ChainBlock, ChainParameters, GenesisError};
use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_accounts_db::{
    AccountProof, CommitError, Db, OpenError, Options, PreparedBlock, ReadError, Reader, StateItem,
    storage::real::RealStorage,
};
use lockweave_runtime::{StateDelta, StateView};
use parking_lot::RwLock;
use rayon::prelude::*;
use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use thiserror::Error;

/// The genesis file, which is written last when a chain is created.
const GENESIS_FILE: &str = "genesis.json";
/// Blocks read at a time when the chain is opened.
const OPEN_CHUNK: u64 = 256;
/// The folder of the accounts database.
const STATE: &str = "state";
/// In the folder of a state that came as a snapshot: what proves the block after it final. It is written last, so a
/// new state without it is not complete.
const FINALIZATION: &str = "finalization";

/// Why a chain on disk cannot be opened.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum DatadirError {
    #[error("{path} is in use by another process; stop it, or choose another --datadir")]
    InUse { path: String },
    #[error("{path} holds no chain; make one with `lockweave-validator init`")]
    Empty { path: String },
    #[error("{path} holds a chain already; choose an empty folder")]
    NotEmpty { path: String },
    #[error("{path} holds a chain with genesis {found}, not {expected}")]
    OtherChain {
        path: String,
        found: B256,
        expected: B256,
    },
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("block {number}: {source}")]
    Block { number: u64, source: CodecError },
    #[error(
        "block {number}: the header's stateRoot is {stated}, but the stored state has {stored}; restore a \
         snapshot, or import the chain again"
    )]
    StateRoot {
        number: u64,
        stated: B256,
        stored: B256,
    },
    #[error("block {number} is missing")]
    MissingBlock { number: u64 },
    #[error("block {number} does not name block {parent} as its parent")]
    Unlinked { number: u64, parent: u64 },
}

/// A data folder, locked by this process while the value exists.
#[derive(Debug)]
pub struct Datadir {
    path: PathBuf,
    _lock: File,
}

impl Datadir {
    /// Opens and locks a folder; creates it if it does not exist.
    pub fn open(path: &Path) -> Result<Self, DatadirError> {
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |source| DatadirError::File { path, source }
        };
        fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = path.display().to_string();
                return Err(DatadirError::InUse { path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        let datadir = Self {
            path: path.to_owned(),
            _lock: lock,
        };
        // The process may have ended between the last write of a new state and its installation.
        if datadir.new_finalization_path().exists() {
            let installed = datadir.install_new_state();
            installed.map_err(failed(&datadir.new_state_path()))?;
        }
        Ok(datadir)
    }

    /// Whether a folder holds a chain. Creates and locks nothing.
    pub fn has_chain(path: &Path) -> bool {
        path.join(GENESIS_FILE).exists()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn genesis_path(&self) -> PathBuf {
        self.path.join(GENESIS_FILE)
    }

    fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Where a state is made that replaces the present one.
    pub(crate) fn new_state_path(&self) -> PathBuf {
        self.path.join("state.new")
    }

    /// The file that makes a new state complete.
    pub(crate) fn new_finalization_path(&self) -> PathBuf {
        self.new_state_path().join(FINALIZATION)
    }

    /// Replaces the state by the new one, which must be complete. If it is interrupted, opening the folder goes on.
    pub(crate) fn install_new_state(&self) -> io::Result<()> {
        let state = self.state_path();
        if state.exists() {
            fs::remove_dir_all(&state)?;
        }
        fs::rename(self.new_state_path(), state)?;
        File::open(&self.path)?.sync_all()
    }

    /// What proves the block after the snapshot final that the state of a folder came from; `None` if it came from no
    /// snapshot.
    pub fn finalization(path: &Path) -> Result<Option<Vec<u8>>, DatadirError> {
        let path = path.join(STATE).join(FINALIZATION);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DatadirError::File {
                path: path.display().to_string(),
                source,
            }),
        }
    }

    /// The chain in the folder, if there is one.
    pub fn parameters(&self) -> Result<Option<ChainParameters>, DatadirError> {
        let path = self.genesis_path();
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(ChainParameters::read(&path)?))
    }

    /// Creates a chain.
    ///
    /// The genesis file is written last and atomically: a folder without one holds no chain.
    pub fn init(&self, parameters: &ChainParameters) -> Result<B256, DatadirError> {
        if self.genesis_path().exists() {
            let path = self.path.display().to_string();
            return Err(DatadirError::NotEmpty { path });
        }
        let genesis = parameters.genesis_block()?;
        let state = self.state_path();
        if state.exists() {
            // Left by an interrupted `init`.
            fs::remove_dir_all(&state).map_err(|source| DatadirError::File {
                path: state.display().to_string(),
                source,
            })?;
        }
        let db = Db::open(&state, Options::default())?;
        let prepared = db.prepare(genesis.number(), &parameters.genesis_delta())?;
        db.commit_prepared(prepared, genesis.hash, &codec::encode(&genesis))?;
        drop(db);
        let temporary = self.path.join("genesis.json.new");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&parameters.to_json())?;
            file.sync_all()?;
            fs::rename(&temporary, self.genesis_path())?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|source| DatadirError::File {
            path: temporary.display().to_string(),
            source,
        })?;
        Ok(genesis.hash)
    }
}

/// A chain on disk.
#[derive(Debug)]
pub struct DurableStore {
    db: Db,
    retention: Retention,
    index: RwLock<ChainIndex>,
    head: RwLock<Arc<ChainBlock>>,
    cache: BlockCache,
    _datadir: Datadir,
}

impl DurableStore {
    /// Opens the chain in a folder.
    pub fn open(
        datadir: Datadir,
        parameters: &ChainParameters,
        retention: Retention,
    ) -> Result<Self, DatadirError> {
        let path = || datadir.path.display().to_string();
        let known = datadir.parameters()?;
        let known = known.ok_or_else(|| DatadirError::Empty { path: path() })?;
        // A large genesis is faster compared than hashed.
        if known.genesis != parameters.genesis {
            let (found, expected) = (
                known.genesis_block()?.hash,
                parameters.genesis_block()?.hash,
            );
            if found != expected {
                return Err(DatadirError::OtherChain {
                    path: path(),
                    found,
                    expected,
                });
            }
        }
        let options = Options {
            create: false,
            history_blocks: retention.state_blocks,
            payload_blocks: retention.body_blocks.saturating_add(1),
            payload_bytes_max: 1 << 29,
            trie_memory_bytes: retention.trie_memory_bytes,
            trie_history_bytes: retention.trie_memory_bytes / 2,
            ..Options::default()
        };
        let storage = RealStorage::open(&datadir.state_path(), options.create, false)?;
        let db = Db::open_on(Box::new(TimedStorage(storage)), options)?;
        let (first, last) = db
            .payloads()
            .ok_or_else(|| DatadirError::Empty { path: path() })?;
        let recent = newest_blocks(&db, first, last, retention.transactions)?;
        let index = ChainIndex::of(&recent, last);
        let head = load(&db, last)?.map(Arc::new);
        let cache = BlockCache::new();
        if let Some(head) = &head {
            cache.push(Arc::clone(head));
        }
        let latest = db.latest().map(|block| block.number);
        let head = head.filter(|head| latest == Some(head.number()));
        let head = head.ok_or(DatadirError::MissingBlock {
            number: latest.unwrap_or_default(),
        })?;
        let (stored, stated) = (
            db.latest().map(|block| block.state_root),
            head.header.state_root,
        );
        if stored != Some(stated) {
            return Err(DatadirError::StateRoot {
                number: head.number(),
                stated,
                stored: stored.unwrap_or_default(),
            });
        }
        Ok(Self {
            db,
            retention,
            index: RwLock::new(index),
            head: RwLock::new(head),
            cache,
            _datadir: datadir,
        })
    }

    /// The accounts database.
    pub const fn db(&self) -> &Db {
        &self.db
    }
}

/// The index entries of the newest blocks, oldest first: from `first` on, with about this many transactions
/// at most. Checks that each block names the previous one as its parent.
fn newest_blocks(
    db: &Db,
    first: u64,
    last: u64,
    transactions_max: usize,
) -> Result<Vec<IndexedBlock>, DatadirError> {
    let mut newest_first: Vec<IndexedBlock> = Vec::new();
    let mut transactions = 0;
    let mut parent: Option<B256> = None;
    let mut end = last;
    'reading: loop {
        let begin = end.saturating_sub(OPEN_CHUNK - 1).max(first);
        let blocks: Vec<(IndexedBlock, B256)> = (begin..=end)
            .into_par_iter()
            .map(|number| {
                let payload = db.payload(number)?;
                let payload = payload.ok_or(DatadirError::MissingBlock { number })?;
                codec::decode_index(&payload)
                    .map_err(|source| DatadirError::Block { number, source })
            })
            .collect::<Result<_, DatadirError>>()?;
        for (block, names) in blocks.into_iter().rev() {
            if parent.is_some_and(|parent| parent != block.hash) {
                return Err(DatadirError::Unlinked {
                    number: block.number + 1,
                    parent: block.number,
                });
            }
            parent = Some(names);
            transactions += block.transactions.len();
            if transactions > transactions_max && !newest_first.is_empty() {
                break 'reading;
            }
            newest_first.push(block);
        }
        if begin == first {
            break;
        }
        end = begin - 1;
    }
    newest_first.reverse();
    Ok(newest_first)
}

fn load(db: &Db, number: u64) -> Result<Option<ChainBlock>, DatadirError> {
    let Some(payload) = db.payload(number)? else {
        return Ok(None);
    };
    let block = codec::decode(&payload);
    let block = block.map_err(|source| DatadirError::Block { number, source })?;
    Ok(Some(block))
}

fn backend(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Backend(Arc::new(error))
}

impl DurableStore {
    fn reader_at(&self, number: u64) -> Result<Reader, StoreError> {
        self.db.reader_at(number).map_err(|error| match error {
            ReadError::NotRetained { latest, .. } if number > latest => StoreError::UnknownBlock {
                number,
                head: latest,
            },
            ReadError::NotRetained { oldest, .. } if number < oldest => {
                StoreError::StatePruned { number, oldest }
            }
            error => backend(error),
        })
    }
}

impl ChainStore for DurableStore {
    fn head(&self) -> Arc<ChainBlock> {
        Arc::clone(&self.head.read())
    }

    fn oldest_block(&self) -> u64 {
        self.index.read().first()
    }

    fn oldest_state(&self) -> u64 {
        self.db.oldest().unwrap_or_default()
    }

    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(Arc::new(self.reader_at(number)?))
    }

    fn visit_state(
        &self,
        number: u64,
        visit: &mut dyn FnMut(StateItem) -> bool,
    ) -> Result<(), StoreError> {
        for item in self.reader_at(number)?.items() {
            if !visit(item.map_err(backend)?) {
                break;
            }
        }
        Ok(())
    }

    fn proof_at(
        &self,
        number: u64,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, StoreError> {
        let reader = self.reader_at(number)?;
        reader.proof(address, slots).map_err(backend)
    }

    fn root_after(&self, number: u64, delta: &StateDelta) -> Result<B256, StoreError> {
        self.reader_at(number)?;
        self.db.root_after(number, delta).map_err(backend)
    }

    fn block(&self, number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError> {
        if number > self.head().number() {
            return Ok(None);
        }
        let oldest = self.oldest_block();
        if number < oldest {
            return Err(StoreError::BlockPruned { number, oldest });
        }
        if let Some(block) = self.cache.get(number) {
            return Ok(Some(block));
        }
        let Some(block) = load(&self.db, number).map_err(backend)? else {
            return Ok(None);
        };
        let block = Arc::new(block);
        self.cache.keep(Arc::clone(&block));
        Ok(Some(block))
    }

    fn number_of(&self, hash: B256) -> Option<u64> {
        self.index.read().number_of(hash)
    }

    fn transaction(&self, hash: B256) -> Option<TransactionPlace> {
        self.index.read().transaction(hash)
    }

    fn bloom(&self, number: u64) -> Option<Bloom> {
        self.index.read().bloom(number)
    }

    fn prepare(
        &self,
        number: u64,
        delta: StateDelta,
    ) -> Result<Box<dyn PreparedCommit + '_>, StoreError> {
        let head = self.head().number();
        if number != head + 1 {
            return Err(StoreError::NotNext { number, head });
        }
        let prepared = self.db.prepare(number, &delta).map_err(commit_failed)?;
        Ok(Box::new(Prepared {
            store: self,
            delta,
            state_root: prepared.state_root(),
            block: Some(prepared),
        }))
    }
}

/// Separates errors that can be retried from those that cannot.
fn commit_failed(error: CommitError) -> StoreError {
    match error {
        CommitError::NoSpace { .. } => backend(error),
        _ => StoreError::Failed(Arc::new(error)),
    }
}

struct Prepared<'s> {
    store: &'s DurableStore,
    delta: StateDelta,
    state_root: B256,
    block: Option<PreparedBlock>,
}

impl PreparedCommit for Prepared<'_> {
    fn state_root(&self) -> B256 {
        self.state_root
    }

    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError> {
        let store = self.store;
        let prepared = match self.block.take() {
            Some(prepared) => prepared,
            // The previous attempt took it.
            None => store
                .db
                .prepare(block.number(), &self.delta)
                .map_err(commit_failed)?,
        };
        let payload = codec::encode(&block);
        // Read the blocks to be dropped while they exist.
        let pruned = pruned_by(store, &block)?;
        let committed = store.db.commit_prepared(prepared, block.hash, &payload);
        committed.map_err(commit_failed)?;
        #[expect(clippy::cast_precision_loss, reason = "memory is below 2^52 bytes")]
        let bytes = store.db.trie_memory_bytes() as f64;
        metrics::gauge!("lockweave_trie_memory_bytes").set(bytes);
        store.cache.push(Arc::clone(&block));
        {
            let mut index = store.index.write();
            index.add(&(&*block).into());
            for block in pruned {
                index.remove_oldest(&block);
            }
        }
        *store.head.write() = block;
        Ok(())
    }
}

/// The blocks that are dropped when the next one is added.
fn pruned_by(store: &DurableStore, next: &ChainBlock) -> Result<Vec<Arc<ChainBlock>>, StoreError> {
    let first_kept = next.number().saturating_sub(store.retention.body_blocks);
    let (mut number, mut transactions) = {
        let index = store.index.read();
        (
            index.first(),
            index.transactions().saturating_add(next.transactions.len()),
        )
    };
    let mut pruned = Vec::new();
    while number < next.number()
        && (number < first_kept || transactions > store.retention.transactions)
    {
        if let Some(block) = store.block(number)? {
            transactions = transactions.saturating_sub(block.transactions.len());
            pruned.push(block);
        }
        number += 1;
    }
    Ok(pruned)
}
