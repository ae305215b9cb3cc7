//! The trie's files: space for nodes in units of 32 bytes.
//!
//! A node on disk is never changed. A changed one is written elsewhere, and its old place becomes free when
//! a checkpoint without it is durable. Files have a fixed size and are allocated in full, so that a full
//! medium is noticed before anything is written.

use crate::{
    error::{Damage, FileContext, FileError, ReadError},
    storage::{Storage, StorageFile},
};
use borsh::{BorshDeserialize, BorshSerialize};
use lockweave_state_trie::{NodeWriter, TrieError, UNIT_BYTES, Written, location, units_of};
use parking_lot::{Mutex, RwLock};
use std::{io, sync::Arc};

const NAME_PREFIX: &str = "trie.";
/// Bytes of nodes that are written together.
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes written between two syncs, so that a block's sync waits for no more than this.
const SYNC_BYTES: usize = 4 << 20;
const WORD_BITS: u64 = 64;

/// The name of the trie's file with this number.
pub(crate) fn trie_file_name(number: u64) -> String {
    format!("{NAME_PREFIX}{number}")
}

/// Whether a file is one of the trie's.
pub(crate) fn is_trie_file(name: &str) -> bool {
    let number = name
        .strip_prefix(NAME_PREFIX)
        .and_then(|it| it.parse().ok());
    number.is_some_and(|number| trie_file_name(number) == name)
}

/// The trie in a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct StoredTrie {
    /// The root and where it is.
    pub(crate) root: Vec<u8>,
    /// Number of files.
    pub(crate) files: u64,
    /// Units in use, one bit each.
    pub(crate) used: Vec<u64>,
    /// Shards of the index that a rebuild has done; `None` if the trie is complete.
    pub(crate) rebuilt: Option<u64>,
}

impl StoredTrie {
    /// Whether no node is needed of the files.
    fn is_new(&self) -> bool {
        self.rebuilt == Some(0)
    }
}

/// The files, and which space is free.
#[derive(Debug)]
pub(crate) struct TrieFiles {
    storage: Arc<dyn Storage>,
    file_bytes: u64,
    files: RwLock<Vec<Arc<dyn StorageFile>>>,
    space: Mutex<Space>,
    /// Nodes of checkpoints that failed. They may be named by one whose folder was not synced, so their space is
    /// free once another is durable.
    abandoned: Mutex<Vec<u64>>,
}

/// Which units are in use.
#[derive(Clone, Debug, Default)]
struct Space {
    used: Vec<u64>,
    units_per_file: u64,
    /// Where the search for free units continues.
    next: u64,
    /// Behind `next` there is too little space to search.
    is_dense: bool,
}

impl Space {
    fn len(&self) -> u64 {
        self.used.len() as u64 * WORD_BITS
    }

    fn word(unit: u64) -> usize {
        usize::try_from(unit / WORD_BITS).unwrap_or(usize::MAX)
    }

    fn set(&mut self, location: u64, is_used: bool) {
        let (unit, units) = units_of(location);
        for unit in unit..unit + units {
            let bit = 1 << (unit % WORD_BITS);
            if let Some(word) = self.used.get_mut(Self::word(unit)) {
                if is_used {
                    *word |= bit;
                } else {
                    *word &= !bit;
                }
            }
        }
    }

    /// The first free units in a range, all in one file.
    fn find(&self, mut from: u64, to: u64, units: u64) -> Option<u64> {
        let mut run = 0;
        while from < to {
            let word = self.used[Self::word(from)];
            if from.is_multiple_of(WORD_BITS) && word == u64::MAX {
                run = 0;
                from += WORD_BITS;
                continue;
            }
            if from.is_multiple_of(self.units_per_file) {
                run = 0;
            }
            run = if word >> (from % WORD_BITS) & 1 == 0 {
                run + 1
            } else {
                0
            };
            from += 1;
            if run == units {
                return Some(from - units);
            }
        }
        None
    }

    /// Takes free units; `None` if a file must be added.
    fn take(&mut self, units: u64) -> Option<u64> {
        let mut found = self.find(self.next, self.len(), units);
        if found.is_none() && !self.is_dense {
            found = self.find(0, self.next, units);
            self.is_dense = found.is_none();
        }
        let unit = found?;
        let location = location(unit, units);
        self.set(location, true);
        self.next = unit + units;
        Some(location)
    }

    fn add_file(&mut self) {
        let is_first = self.used.is_empty();
        let words = self.used.len() + Self::word(self.units_per_file);
        self.used.resize(words, 0);
        if is_first {
            // No node is at unit 0.
            self.used[0] = 1;
        }
    }
}

/// Opens a file that must have this size.
fn open_whole(storage: &dyn Storage, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
    let file = storage.open(name)?;
    let found = file.size()?;
    if found != bytes {
        let what = format!("it has {found} bytes instead of {bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(file)
}

/// Whether a file of the trie cannot be opened because it is not there as a whole.
pub(crate) fn is_missing_or_cut(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData
    )
}

impl TrieFiles {
    /// The files of a stored trie, of `file_bytes` bytes each.
    pub(crate) fn open(
        storage: Arc<dyn Storage>,
        file_bytes: u64,
        stored: &StoredTrie,
    ) -> Result<Self, FileError> {
        let mut files = Vec::new();
        for number in 0..stored.files {
            let name = trie_file_name(number);
            let file = match open_whole(&*storage, &name, file_bytes) {
                Err(error) if is_missing_or_cut(&error) && stored.is_new() => {
                    if error.kind() != io::ErrorKind::NotFound {
                        (storage.remove(&name)).context("remove", storage.describe(&name))?;
                    }
                    storage.create(&name, file_bytes)
                }
                file => file,
            };
            files.push(file.context("open", storage.describe(&name))?);
        }
        Ok(Self {
            storage,
            file_bytes,
            files: RwLock::new(files),
            space: Mutex::new(Space {
                used: stored.used.clone(),
                units_per_file: file_bytes / UNIT_BYTES as u64,
                next: 0,
                is_dense: false,
            }),
            abandoned: Mutex::default(),
        })
    }

    /// Number of files.
    pub(crate) fn count(&self) -> u64 {
        self.files.read().len() as u64
    }

    /// Bytes of the files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.read().len() as u64 * self.file_bytes
    }

    /// Bytes of the nodes in them.
    pub(crate) fn used_bytes(&self) -> u64 {
        let space = self.space.lock();
        let units: u64 = space
            .used
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        units * UNIT_BYTES as u64
    }

    /// The file of a unit, its path, and the offset in it.
    fn place(&self, unit: u64) -> Option<(Arc<dyn StorageFile>, String, u64)> {
        let offset = unit * UNIT_BYTES as u64;
        let number = offset / self.file_bytes;
        let files = self.files.read();
        let file = files.get(usize::try_from(number).ok()?)?;
        let path = self.storage.describe(&trie_file_name(number));
        Some((Arc::clone(file), path, offset % self.file_bytes))
    }

    /// Reads a node.
    pub(crate) fn read(&self, location: u64) -> Result<Vec<u8>, ReadError> {
        let (unit, units) = units_of(location);
        let Some((file, path, offset)) = self.place(unit) else {
            let what = format!("the state trie names a node at unit {unit}, which does not exist");
            return Err(ReadError::Trie(self.damage(location, &what)));
        };
        let mut bytes = vec![0; usize::try_from(units).unwrap_or(0) * UNIT_BYTES];
        file.read_at(&mut bytes, offset).context("read", path)?;
        Ok(bytes)
    }

    /// The damage at a location.
    pub(crate) fn damage(&self, location: u64, what: &str) -> Damage {
        let (unit, _) = units_of(location);
        match self.place(unit) {
            Some((_, path, offset)) => Damage::new(path, offset, what),
            None => Damage::new(self.storage.describe(NAME_PREFIX), 0, what),
        }
    }

    /// Frees all space: no node is needed.
    pub(crate) fn clear(&self) {
        let mut space = self.space.lock();
        space.used.fill(0);
        if let Some(first) = space.used.first_mut() {
            *first = 1;
        }
    }

    /// A writer of nodes. One exists at a time.
    pub(crate) fn writer(&self) -> FilesWriter<'_> {
        self.space.lock().is_dense = false;
        FilesWriter {
            files: self,
            buffer: Vec::new(),
            start: 0,
            written: Vec::new(),
            touched: Vec::new(),
            unsynced: 0,
        }
    }

    fn add_file(&self) -> Result<(), FileError> {
        let number = self.files.read().len() as u64;
        let name = trie_file_name(number);
        let path = self.storage.describe(&name);
        let file = self
            .storage
            .create(&name, self.file_bytes)
            .context("create", &path)?;
        // Its name is durable before a checkpoint names it.
        (self.storage.sync_folder()).context("sync the folder of", &path)?;
        self.files.write().push(file);
        self.space.lock().add_file();
        Ok(())
    }

    /// The files and the space as a checkpoint stores them, once `written` is durable.
    pub(crate) fn stored(&self, written: &Written) -> StoredTrie {
        let mut space = self.space.lock().clone();
        for location in written.stale.iter().chain(&*self.abandoned.lock()) {
            space.set(*location, false);
        }
        StoredTrie {
            root: written.root.clone(),
            files: self.files.read().len() as u64,
            used: space.used,
            rebuilt: None,
        }
    }

    /// Frees the space of nodes that the checkpoint just made durable does not contain.
    pub(crate) fn free(&self, locations: &[u64]) {
        let abandoned = std::mem::take(&mut *self.abandoned.lock());
        let mut space = self.space.lock();
        for location in locations.iter().chain(&abandoned) {
            space.set(*location, false);
        }
    }
}

/// Writes nodes into free space.
pub(crate) struct FilesWriter<'a> {
    files: &'a TrieFiles,
    /// Nodes to write together.
    buffer: Vec<u8>,
    /// The unit where they begin.
    start: u64,
    /// All locations written.
    written: Vec<u64>,
    /// Numbers of the files to sync.
    touched: Vec<u64>,
    unsynced: usize,
}

impl FilesWriter<'_> {
    fn write_buffer(&mut self) -> Result<(), ReadError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Some((file, path, offset)) = self.files.place(self.start) {
            file.write_at(&self.buffer, offset).context("write", path)?;
        }
        let number = self.start * UNIT_BYTES as u64 / self.files.file_bytes;
        if !self.touched.contains(&number) {
            self.touched.push(number);
        }
        self.unsynced += self.buffer.len();
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ReadError> {
        for number in self.touched.drain(..) {
            let unit = number * self.files.file_bytes / UNIT_BYTES as u64;
            if let Some((file, path, _)) = self.files.place(unit) {
                file.sync().context("sync", path)?;
            }
        }
        self.unsynced = 0;
        Ok(())
    }

    /// Makes all nodes durable; returns their number of bytes.
    pub(crate) fn finish(&mut self) -> Result<u64, ReadError> {
        self.write_buffer()?;
        self.sync()?;
        let units: u64 = self
            .written
            .iter()
            .map(|location| units_of(*location).1)
            .sum();
        Ok(units * UNIT_BYTES as u64)
    }

    /// Gives up what was written.
    pub(crate) fn abandon(self) {
        self.files.abandoned.lock().extend(self.written);
    }
}

impl NodeWriter for FilesWriter<'_> {
    type Error = ReadError;

    fn write(&mut self, node: &[u8]) -> Result<u64, ReadError> {
        let units = node.len().div_ceil(UNIT_BYTES) as u64;
        let taken = self.files.space.lock().take(units);
        let location = if let Some(location) = taken {
            location
        } else {
            self.files.add_file()?;
            let taken = self.files.space.lock().take(units);
            let full = "a new file has no space for a node";
            taken.ok_or(ReadError::from(TrieError::Inconsistent(full)))?
        };
        let (unit, units) = units_of(location);
        let end = self.start + (self.buffer.len() / UNIT_BYTES) as u64;
        let file_of = |unit: u64| unit * UNIT_BYTES as u64 / self.files.file_bytes;
        if unit != end || self.buffer.len() >= BUFFER_BYTES || file_of(unit) != file_of(self.start)
        {
            self.write_buffer()?;
            self.start = unit;
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(node);
        let bytes = usize::try_from(units).unwrap_or(0) * UNIT_BYTES;
        self.buffer.resize(start + bytes, 0);
        self.written.push(location);
        Ok(location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_found_freed_and_found_again() {
        let mut space = Space {
            units_per_file: 128,
            ..Space::default()
        };
        assert_eq!(space.take(3), None);
        space.add_file();
        assert_eq!(space.len(), 128);
        let first = space.take(3).unwrap();
        assert_eq!(units_of(first), (1, 3));
        let second = space.take(60).unwrap();
        let third = space.take(60).unwrap();
        assert_eq!((units_of(second).0, units_of(third).0), (4, 64));
        assert_eq!(space.take(5), None, "no node is in two files");
        space.add_file();
        assert_eq!(space.len(), 256);
        assert_eq!(units_of(space.take(5).unwrap()).0, 128);
        space.set(second, false);
        space.is_dense = false;
        assert_eq!(units_of(space.take(63).unwrap()).0, 133);
        assert_eq!(units_of(space.take(60).unwrap()).0, 196);
        assert_eq!(units_of(space.take(60).unwrap()).0, 4);
    }
}
