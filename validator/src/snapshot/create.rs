//! Makes the chunks of a state, in files.
//!
//! The database has its entries in no useful order. One pass distributes them to 256 files, by the first two
//! nibbles of the hashed address. Then files are read, sorted and cut into chunks one after the other, so memory is
//! needed for one of them, or for the account with the most slots.

use super::{
    chunk::{Chunk, ChunkAccount, ChunkSlot, ChunkStorage},
    error::{InvalidSnapshot, SnapshotError},
    manifest::{ACCOUNT_PATH_MAX, ChunkInfo, Manifest, SLOT_PATH_MAX, root_of},
};
use crate::store::{ChainStore, StoreError};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, keccak256};
use alloy_trie::Nibbles;
use borsh::{BorshDeserialize, BorshSerialize};
use lockweave_accounts_db::StateItem;
use lockweave_runtime::{StateError, StateView};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufReader, BufWriter, Write},
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes of a chunk, about. Smaller ones are fetched again at less cost; a list of more is longer.
const CHUNK_BYTES: usize = 1 << 20;
/// Slots of an account that are in the chunk of the account, at most.
const SLOTS_HERE_MAX: usize = 8_192;
/// Files for entries by the first byte of the hashed address.
const BUCKETS: usize = 256;
/// Bytes of an account without slots and code, and of a slot, about.
const ACCOUNT_BYTES: usize = 96;
const SLOT_BYTES: usize = 64;

/// An entry of the state in a file.
#[derive(BorshSerialize, BorshDeserialize)]
enum Entry {
    Account {
        address: [u8; 20],
        nonce: u64,
        balance: [u8; 32],
        code_hash: [u8; 32],
    },
    Slot {
        owner: [u8; 20],
        slot: ChunkSlot,
    },
}

/// The chunks of a state, in files that are removed with it.
#[derive(Debug)]
pub struct Chunks {
    manifest: Manifest,
    /// Where each chunk begins.
    offsets: Vec<u64>,
    file: File,
    folder: PathBuf,
}

impl Chunks {
    /// Makes the chunks of the state after a block, in a new folder. `progress` receives parts of 256 that are done.
    pub fn create(
        store: &dyn ChainStore,
        number: u64,
        folder: &Path,
        progress: impl Fn(u64),
    ) -> Result<Self, SnapshotError> {
        let failed = |source| SnapshotError::File {
            path: folder.display().to_string(),
            source,
        };
        // From before a crash.
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(failed)?;
        }
        fs::create_dir_all(folder).map_err(failed)?;
        let state = store.state_at(number)?;
        let buckets = distribute(store, number, folder)?;
        let path = folder.join("chunks");
        let mut writer = Writer {
            state,
            chunks: Self {
                manifest: Manifest::default(),
                offsets: Vec::new(),
                file: File::options()
                    .create(true)
                    .truncate(true)
                    .read(true)
                    .write(true)
                    .open(path)
                    .map_err(failed)?,
                folder: folder.to_owned(),
            },
            end: 0,
        };
        let groups = split(
            &buckets,
            0..buckets.len(),
            Nibbles::default(),
            CHUNK_BYTES,
            2,
        );
        if groups.is_empty() {
            writer.accounts(&[], Nibbles::default(), &mut Vec::new())?;
        }
        for (path, range) in groups {
            let group = &buckets[range];
            let mut loaded = Loaded::default();
            for bucket in group {
                let path = bucket_path(folder, bucket.first);
                loaded.read(&path).map_err(failed)?;
                fs::remove_file(&path).map_err(failed)?;
            }
            writer.group(loaded, path)?;
            progress(u64::from(group.last().map_or(0, |last| last.first)) + 1);
        }
        Ok(writer.chunks)
    }

    /// What the chunks are.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A chunk; `None` if there are not as many.
    pub fn read(&self, index: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(info) = self.manifest.chunks.get(index) else {
            return Ok(None);
        };
        let mut bytes = vec![0; info.bytes as usize];
        self.file.read_exact_at(&mut bytes, self.offsets[index])?;
        Ok(Some(bytes))
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // If it fails, the next start removes the folder.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn bucket_path(folder: &Path, first: u8) -> PathBuf {
    folder.join(format!("bucket-{first:02x}"))
}

/// A file with entries.
struct Bucket {
    /// The first byte of their hashed addresses.
    first: u8,
    key: B256,
    bytes: usize,
}

/// Something with a place in a trie.
pub(super) trait Placed {
    fn key(&self) -> &B256;
    fn bytes(&self) -> usize;
}

impl Placed for Bucket {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Writes each entry of the state into the file of its bucket. Returns the buckets that are not empty.
fn distribute(
    store: &dyn ChainStore,
    number: u64,
    folder: &Path,
) -> Result<Vec<Bucket>, SnapshotError> {
    let mut files: Vec<Option<BufWriter<File>>> = Vec::new();
    files.resize_with(BUCKETS, || None);
    let mut sizes = vec![0_usize; BUCKETS];
    let mut write = |item| -> io::Result<()> {
        let (address, entry) = match item {
            StateItem::Account(address, account) => {
                let entry = Entry::Account {
                    address: address.into_array(),
                    nonce: account.nonce,
                    balance: account.balance.to_be_bytes(),
                    code_hash: account.code_hash.0,
                };
                (address, entry)
            }
            StateItem::Slot(owner, slot, value) => {
                let slot = ChunkSlot {
                    slot: slot.to_be_bytes(),
                    value: value.to_be_bytes(),
                };
                let entry = Entry::Slot {
                    owner: owner.into_array(),
                    slot,
                };
                (owner, entry)
            }
        };
        let first = keccak256(address)[0];
        let file = &mut files[usize::from(first)];
        let file = match file {
            Some(file) => file,
            None => file.insert(BufWriter::new(File::create(bucket_path(folder, first))?)),
        };
        sizes[usize::from(first)] += match entry {
            Entry::Account { .. } => ACCOUNT_BYTES,
            Entry::Slot { .. } => SLOT_BYTES,
        };
        borsh::to_writer(file, &entry)
    };
    let mut failure = None;
    store.visit_state(number, &mut |item| {
        failure = write(item).err();
        failure.is_none()
    })?;
    let failed = |source| SnapshotError::File {
        path: folder.display().to_string(),
        source,
    };
    if let Some(source) = failure {
        return Err(failed(source));
    }
    for file in files.iter_mut().flatten() {
        file.flush().map_err(failed)?;
    }
    let buckets = (0..=u8::MAX).zip(sizes).map(|(first, bytes)| Bucket {
        first,
        key: B256::right_padding_from(&[first]),
        bytes,
    });
    Ok(buckets.filter(|bucket| bucket.bytes > 0).collect())
}

/// Divides what is below a path into parts of at most so many bytes, if it can. Above each part there is a branch, so that the
/// part's root is one of the branch's children: where all has the same next nibble, nothing is divided.
pub(super) fn split<T: Placed>(
    items: &[T],
    range: Range<usize>,
    path: Nibbles,
    bytes_max: usize,
    nibbles_max: usize,
) -> Vec<(Nibbles, Range<usize>)> {
    if range.is_empty() {
        return Vec::new();
    }
    let bytes: usize = items[range.clone()].iter().map(Placed::bytes).sum();
    if bytes <= bytes_max || path.len() == nibbles_max {
        return vec![(path, range)];
    }
    let nibble = |item: &T| {
        let byte = item.key()[path.len() / 2];
        if path.len().is_multiple_of(2) {
            byte >> 4
        } else {
            byte & 15
        }
    };
    let mut parts = Vec::new();
    let mut children = 0;
    let mut begin = range.start;
    while begin < range.end {
        let next = nibble(&items[begin]);
        let end = begin + items[begin..range.end].partition_point(|item| nibble(item) <= next);
        let mut below = path;
        below.push(next);
        parts.extend(split(items, begin..end, below, bytes_max, nibbles_max));
        children += 1;
        begin = end;
    }
    if children == 1 && parts.len() == 1 {
        return vec![(path, range)];
    }
    parts
}

/// The entries of one or more buckets.
#[derive(Default)]
struct Loaded {
    accounts: Vec<LoadedAccount>,
    slots: BTreeMap<[u8; 20], Vec<LoadedSlot>>,
}

struct LoadedAccount {
    key: B256,
    account: ChunkAccount,
    code: Option<Vec<u8>>,
}

struct LoadedSlot {
    key: B256,
    slot: ChunkSlot,
}

impl Placed for LoadedAccount {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn bytes(&self) -> usize {
        let slots = match &self.account.storage {
            ChunkStorage::Here(slots) => slots.len(),
            ChunkStorage::Apart(_) => 0,
        };
        ACCOUNT_BYTES + SLOT_BYTES * slots + self.code.as_ref().map_or(0, Vec::len)
    }
}

impl Placed for LoadedSlot {
    fn key(&self) -> &B256 {
        &self.key
    }

    fn bytes(&self) -> usize {
        SLOT_BYTES
    }
}

impl Loaded {
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let mut left = file.metadata()?.len();
        let mut reader = io::Read::take(BufReader::new(file), left);
        while left > 0 {
            match Entry::deserialize_reader(&mut reader)? {
                Entry::Account {
                    address,
                    nonce,
                    balance,
                    code_hash,
                } => {
                    let account = ChunkAccount {
                        address,
                        nonce,
                        balance,
                        code_hash,
                        storage: ChunkStorage::Here(Vec::new()),
                    };
                    self.accounts.push(LoadedAccount {
                        key: keccak256(address),
                        account,
                        code: None,
                    });
                }
                Entry::Slot { owner, slot } => {
                    let key = keccak256(slot.slot);
                    let slots = self.slots.entry(owner).or_default();
                    slots.push(LoadedSlot { key, slot });
                }
            }
            left = reader.limit();
        }
        Ok(())
    }
}

/// Writes chunks to the file.
struct Writer {
    state: Arc<dyn StateView>,
    chunks: Chunks,
    end: u64,
}

impl Writer {
    /// Writes the chunks of accounts below a path, and of their slots.
    fn group(&mut self, mut loaded: Loaded, path: Nibbles) -> Result<(), SnapshotError> {
        let mut accounts = std::mem::take(&mut loaded.accounts);
        accounts.sort_unstable_by_key(|account| account.key);
        // Chunks of slots, by the index of their account.
        let mut apart: BTreeMap<usize, Vec<(ChunkInfo, u64)>> = BTreeMap::new();
        for (index, account) in accounts.iter_mut().enumerate() {
            let mut slots = loaded.slots.remove(&account.account.address);
            let slots = slots.as_deref_mut().unwrap_or_default();
            slots.sort_unstable_by_key(|slot| slot.key);
            if slots.len() <= SLOTS_HERE_MAX {
                let slots = slots.iter().map(|slot| slot.slot).collect();
                account.account.storage = ChunkStorage::Here(slots);
            } else {
                let owner = account.account.address;
                let chunks = self.slots(owner, slots)?;
                let root = root_of(chunks.iter().map(|(info, _)| info));
                let root = root.expect("an account with slots has chunks");
                account.account.storage = ChunkStorage::Apart(root.0);
                apart.insert(index, chunks);
            }
            account.code = self.code(account)?;
        }
        let parts = split(
            &accounts,
            0..accounts.len(),
            path,
            CHUNK_BYTES,
            ACCOUNT_PATH_MAX,
        );
        for (path, range) in parts {
            let mut following: Vec<_> = (apart.range(range.clone()))
                .flat_map(|(_, chunks)| chunks.iter().cloned())
                .collect();
            self.accounts(&accounts[range], path, &mut following)?;
        }
        Ok(())
    }

    fn code(&self, account: &LoadedAccount) -> Result<Option<Vec<u8>>, SnapshotError> {
        let hash = B256::from(account.account.code_hash);
        if hash == KECCAK256_EMPTY {
            return Ok(None);
        }
        let address = account.account.address.into();
        let missing = StateError::MissingCode { address, hash };
        let code = self.state.code(hash).and_then(|code| code.ok_or(missing));
        let code = code.map_err(|error| StoreError::Backend(Arc::new(error)))?;
        Ok(Some(code.bytes().to_vec()))
    }

    /// Writes a chunk of accounts, and notes it and the chunks that follow it.
    fn accounts(
        &mut self,
        accounts: &[LoadedAccount],
        path: Nibbles,
        following: &mut Vec<(ChunkInfo, u64)>,
    ) -> Result<(), SnapshotError> {
        let mut codes = BTreeMap::new();
        let mut listed = Vec::with_capacity(accounts.len());
        for LoadedAccount { account, code, .. } in accounts {
            if let Some(code) = code {
                codes.insert(account.code_hash, code.clone());
            }
            listed.push(account.clone());
        }
        let chunk = Chunk::Accounts {
            accounts: listed,
            codes: codes.into_values().collect(),
        };
        following.insert(0, self.write(&chunk, path)?);
        for (info, offset) in following.drain(..) {
            self.chunks.manifest.chunks.push(info);
            self.chunks.offsets.push(offset);
        }
        Ok(())
    }

    /// Writes the chunks of an account's slots.
    fn slots(
        &mut self,
        owner: [u8; 20],
        slots: &[LoadedSlot],
    ) -> Result<Vec<(ChunkInfo, u64)>, SnapshotError> {
        let parts = split(
            slots,
            0..slots.len(),
            Nibbles::default(),
            CHUNK_BYTES,
            SLOT_PATH_MAX,
        );
        let chunks = parts.into_iter().map(|(path, range)| {
            let slots = slots[range].iter().map(|slot| slot.slot).collect();
            self.write(&Chunk::Slots { owner, slots }, path)
        });
        chunks.collect()
    }

    fn write(&mut self, chunk: &Chunk, path: Nibbles) -> Result<(ChunkInfo, u64), SnapshotError> {
        let root = chunk.content(&path)?.root;
        let bytes = borsh::to_vec(chunk).expect("a chunk can be encoded");
        let offset = self.end;
        let written = self.chunks.file.write_all_at(&bytes, offset);
        written.map_err(|source| SnapshotError::File {
            path: self.chunks.folder.display().to_string(),
            source,
        })?;
        self.end += bytes.len() as u64;
        let too_large = |_| InvalidSnapshot::Chunk("it is too large");
        let info = ChunkInfo {
            owner: chunk.owner().map(Address::into_array),
            path: path.to_vec(),
            root: root.0,
            bytes: u32::try_from(bytes.len()).map_err(too_large)?,
        };
        Ok((info, offset))
    }
}
