//! A folder in memory with seeded faults, for tests.
//!
//! It does what [`Storage`] allows a medium to do. After a crash, unsynced data is lost, torn at
//! any byte or sector, or present without earlier writes; unsynced changes of names are lost from
//! some point on. Operations fail as on a full or broken disk. After a failed sync the data is lost
//! although it can still be read, as on Linux. The same seed and operations give the same outcome.

use lockweave_accounts_db::storage::{FileMap, Storage, StorageFile};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const SECTOR_BYTES: usize = 512;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The machine stops. All operations fail until [`FaultyStorage::restart`]; unsynced data
    /// survives at random.
    Crash,
    /// The machine stops. Of one unsynced write exactly `bytes` bytes survive, of the other writes
    /// to its file everything, of other files nothing.
    CrashKeeping {
        /// Number of later writes to the same file.
        writes_after: usize,
        /// Number of its bytes that survive.
        bytes: usize,
    },
    /// The medium is full: a file cannot be created, or a write is cut short.
    NoSpace,
    /// A write fails after part of it was written.
    WriteError,
    /// A sync fails, and its data never becomes durable, though it can be read.
    SyncError,
    /// A read fails.
    ReadError,
    /// A read ends early.
    ShortRead,
}

impl Fault {
    const fn concerns(self, operation: Operation) -> bool {
        match self {
            Self::Crash | Self::CrashKeeping { .. } => true,
            Self::NoSpace => matches!(operation, Operation::Create | Operation::Write),
            Self::WriteError => matches!(operation, Operation::Write),
            Self::SyncError => matches!(operation, Operation::Sync),
            Self::ReadError | Self::ShortRead => matches!(operation, Operation::Read),
        }
    }

    /// What the operation returns that it hits.
    fn error(self) -> io::Error {
        match self {
            Self::Crash | Self::CrashKeeping { .. } => stopped(),
            Self::NoSpace => {
                io::Error::new(io::ErrorKind::StorageFull, "no space left on the medium")
            }
            Self::WriteError | Self::SyncError | Self::ReadError => {
                io::Error::other("the medium fails")
            }
            Self::ShortRead => short(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Write,
    Sync,
    Read,
    Name,
}

/// A folder in memory. Clones are the same folder.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyStorage(Arc<Mutex<World>>);

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct World {
    random: u64,
    files: BTreeMap<u64, FileState>,
    next_file: u64,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    /// Changes of names that are not durable yet.
    pending_names: Vec<NameChange>,
    /// Number of operations that can fail, so far.
    operations: u64,
    fault: Option<(u64, Fault)>,
    stopped: Option<Fault>,
    /// The file of the newest write.
    newest: Option<u64>,
}

#[derive(Clone)]
enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl FaultyStorage {
    /// An empty folder.
    pub(crate) fn new(seed: u64) -> Self {
        let folder = Self::default();
        folder.world().random = seed;
        folder
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world of a running machine.
    fn running(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.world();
        match world.stopped {
            Some(_) => Err(stopped()),
            None => Ok(world),
        }
    }

    fn file(&self, number: u64) -> Arc<dyn StorageFile> {
        let folder = self.clone();
        Arc::new(FaultyFile { folder, number })
    }

    /// Injects a fault into the first operation that it concerns, after `after` more operations.
    pub(crate) fn set_fault(&self, after: u64, fault: Fault) {
        let mut world = self.world();
        world.fault = Some((world.operations + after, fault));
    }

    /// Removes a pending fault.
    pub(crate) fn clear_fault(&self) {
        self.world().fault = None;
    }

    /// Number of operations so far.
    pub(crate) fn operations(&self) -> u64 {
        self.world().operations
    }

    /// Whether the machine has stopped.
    pub(crate) fn has_crashed(&self) -> bool {
        self.world().stopped.is_some()
    }

    /// Restarts the machine with the data that survived. Without a preceding crash it is one.
    pub(crate) fn restart(&self) {
        self.world().restart();
    }

    /// A file's bytes, as they read now.
    pub(crate) fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world();
        let file = world.names.get(name)?;
        Some(world.files.get(file)?.current.clone())
    }

    /// The used bytes of a file: without the space that a segment has after them.
    pub(crate) fn used_bytes(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = self.bytes(name)?;
        let last = bytes.iter().rposition(|byte| *byte != 0);
        let mut used = last.map_or(0, |last| last + 1);
        if name.starts_with("log.") {
            used = used.next_multiple_of(4096);
        }
        bytes.truncate(used);
        Some(bytes)
    }

    /// Replaces a file's bytes durably: silent damage.
    pub(crate) fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut world = self.world();
        if let Some(file) = world.names.get(name).copied()
            && let Some(file) = world.files.get_mut(&file)
        {
            file.durable.clone_from(&bytes);
            file.current = bytes;
            file.pending.clear();
        }
    }

    /// A copy of the folder as it reads now, all durable.
    pub(crate) fn fork(&self, seed: u64) -> Self {
        let fork = Self::new(seed);
        let (from, mut to) = (self.world(), fork.world());
        for (name, file) in &from.names {
            let number = to.add_file(from.files[file].current.clone());
            to.names.insert(name.clone(), number);
            to.durable_names.insert(name.clone(), number);
        }
        drop(to);
        fork
    }
}

impl World {
    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }

    /// Counts an operation; returns the fault that hits it.
    fn strike(&mut self, operation: Operation) -> io::Result<Option<Fault>> {
        if self.stopped.is_some() {
            return Err(stopped());
        }
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if self.operations > at && fault.concerns(operation) => {
                self.fault = None;
                if matches!(fault, Fault::Crash | Fault::CrashKeeping { .. }) {
                    self.stopped = Some(fault);
                }
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    fn restart(&mut self) {
        let keeping = match self.stopped.take() {
            Some(Fault::CrashKeeping {
                writes_after,
                bytes,
            }) => Some((writes_after, bytes)),
            _ => None,
        };
        let mut files = std::mem::take(&mut self.files);
        for (number, file) in &mut files {
            let pending = std::mem::take(&mut file.pending);
            let count = pending.len();
            for (index, (offset, bytes)) in pending.into_iter().enumerate() {
                if let Some((writes_after, kept)) = keeping {
                    let is_torn = index + writes_after + 1 == count;
                    let kept = if is_torn {
                        kept.min(bytes.len())
                    } else {
                        bytes.len()
                    };
                    if self.newest == Some(*number) {
                        put(&mut file.durable, offset, &bytes[..kept]);
                    }
                    continue;
                }
                match self.below(4) {
                    0 => {}
                    1 => put(&mut file.durable, offset, &bytes),
                    2 => {
                        let kept = self.below(bytes.len() + 1);
                        put(&mut file.durable, offset, &bytes[..kept]);
                    }
                    _ => {
                        for (sector, bytes) in bytes.chunks(SECTOR_BYTES).enumerate() {
                            if self.below(2) == 0 {
                                put(&mut file.durable, offset + sector * SECTOR_BYTES, bytes);
                            }
                        }
                    }
                }
            }
            file.current.clone_from(&file.durable);
        }
        self.files = files;
        // A journaling file system keeps changes of names in order.
        let kept = match keeping {
            Some(_) => self.pending_names.len(),
            None => self.below(self.pending_names.len() + 1),
        };
        for change in self.pending_names.drain(..).take(kept) {
            change.apply(&mut self.durable_names);
        }
        self.names.clone_from(&self.durable_names);
        let known: Vec<u64> = self.names.values().copied().collect();
        self.files.retain(|number, _| known.contains(number));
        self.fault = None;
        self.newest = None;
    }

    /// Adds a file with durable bytes; it has no name yet.
    fn add_file(&mut self, bytes: Vec<u8>) -> u64 {
        let number = self.next_file;
        self.next_file += 1;
        let state = FileState {
            durable: bytes.clone(),
            current: bytes,
            pending: Vec::new(),
        };
        self.files.insert(number, state);
        number
    }

    fn file(&self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let strikes = self.strike(Operation::Name)?;
        change.clone().apply(&mut self.names);
        self.pending_names.push(change);
        strikes.map_or(Ok(()), |fault| Err(fault.error()))
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Set(name, file) => {
                names.insert(name, file);
            }
            Self::Rename(from, to) => {
                if let Some(file) = names.remove(&from) {
                    names.insert(to, file);
                }
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early")
}

impl Storage for FaultyStorage {
    fn describe(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.running()?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let number = self.running()?.file(name)?;
        Ok(self.file(number))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = self.world();
        if let Some(fault) = world.strike(Operation::Create)? {
            return Err(fault.error());
        }
        let number = world.add_file(vec![0; usize::try_from(bytes).unwrap_or(0)]);
        world.change_names(NameChange::Set(name.to_owned(), number))?;
        Ok(self.file(number))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.file(from)?;
        world.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.file(name)?;
        world.change_names(NameChange::Remove(name.to_owned()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = self.world();
        if let Some(fault) = world.strike(Operation::Sync)? {
            return Err(fault.error());
        }
        world.durable_names = world.names.clone();
        world.pending_names.clear();
        Ok(())
    }

    fn link(&self, _name: &str, _target: &dyn Storage) -> io::Result<bool> {
        Ok(false)
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}

#[derive(Debug)]
struct FaultyFile {
    folder: FaultyStorage,
    number: u64,
}

impl FaultyFile {
    /// The file's state. A removed file exists while it is open; after a restart it is gone.
    fn state<'a>(&self, world: &'a mut World) -> io::Result<&'a mut FileState> {
        world.files.get_mut(&self.number).ok_or_else(stopped)
    }
}

impl StorageFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        let mut world = self.folder.running()?;
        Ok(self.state(&mut world)?.current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.folder.world();
        if let Some(fault) = world.strike(Operation::Read)? {
            return Err(fault.error());
        }
        let start = usize::try_from(offset).map_err(|_| short())?;
        let end = start.checked_add(buffer.len()).ok_or_else(short)?;
        let bytes = self.state(&mut world)?.current.get(start..end);
        buffer.copy_from_slice(bytes.ok_or_else(short)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.folder.world();
        let fault = world.strike(Operation::Write)?;
        let written = match fault {
            Some(Fault::NoSpace | Fault::WriteError) => world.below(bytes.len() + 1),
            _ => bytes.len(),
        };
        let offset = usize::try_from(offset).map_err(|_| Fault::NoSpace.error())?;
        let bytes = &bytes[..written];
        let file = self.state(&mut world)?;
        put(&mut file.current, offset, bytes);
        file.pending.push((offset, bytes.to_vec()));
        world.newest = Some(self.number);
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.folder.world();
        let fault = world.strike(Operation::Sync)?;
        if fault.is_some_and(|fault| fault != Fault::SyncError) {
            return Err(stopped());
        }
        let file = self.state(&mut world)?;
        for (offset, bytes) in file.pending.drain(..) {
            if fault.is_none() {
                put(&mut file.durable, offset, &bytes);
            }
        }
        fault.map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn map(&self) -> io::Result<Option<FileMap>> {
        Ok(None)
    }
}
