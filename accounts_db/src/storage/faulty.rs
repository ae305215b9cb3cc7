//! A folder in memory with seeded faults, for tests.
//!
//! It does what [`Storage`] allows a medium to do. After a crash, unsynced data is lost, torn at
//! any byte or sector, or present without earlier writes; unsynced changes of names are lost from
//! some point on. Operations fail as on a full or broken disk. After a failed sync the data is lost
//! although it can still be read, as on Linux. The same seed and operations give the same outcome.

use super::{Storage, StorageFile, map::FileMap};
use parking_lot::Mutex;
use std::{collections::BTreeMap, fmt, io, path::Path, sync::Arc};

const SECTOR_BYTES: usize = 512;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
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
#[derive(Clone)]
pub struct FaultyStorage {
    world: Arc<Mutex<World>>,
}

impl fmt::Debug for FaultyStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStorage").finish_non_exhaustive()
    }
}

#[derive(Debug)]
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

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, u64),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct FileState {
    current: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<(usize, Vec<u8>)>,
}

impl FaultyStorage {
    /// An empty folder.
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: seed,
            files: BTreeMap::new(),
            next_file: 0,
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            operations: 0,
            fault: None,
            stopped: None,
            newest: None,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Injects a fault into the first operation that it concerns, after `after` more operations.
    pub fn set_fault(&self, after: u64, fault: Fault) {
        let mut world = self.world.lock();
        world.fault = Some((world.operations + after, fault));
    }

    /// Removes a pending fault.
    pub fn clear_fault(&self) {
        self.world.lock().fault = None;
    }

    /// Number of operations so far.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// Whether the machine has stopped.
    pub fn has_crashed(&self) -> bool {
        self.world.lock().stopped.is_some()
    }

    /// Restarts the machine with the data that survived. Without a preceding crash it is one.
    pub fn restart(&self) {
        self.world.lock().restart();
    }

    /// A file's bytes, as they read now.
    pub fn bytes(&self, name: &str) -> Option<Vec<u8>> {
        let world = self.world.lock();
        let file = world.names.get(name)?;
        Some(world.files.get(file)?.current.clone())
    }

    /// Replaces a file's bytes durably: silent damage.
    pub fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let mut world = self.world.lock();
        if let Some(file) = world.names.get(name).copied()
            && let Some(file) = world.files.get_mut(&file)
        {
            file.durable.clone_from(&bytes);
            file.current = bytes;
            file.pending.clear();
        }
    }

    /// A copy of the folder as it reads now, all durable.
    pub fn fork(&self, seed: u64) -> Self {
        let fork = Self::new(seed);
        {
            let (from, mut to) = (self.world.lock(), fork.world.lock());
            for (name, file) in &from.names {
                let bytes = from.files[file].current.clone();
                let number = to.next_file;
                to.next_file += 1;
                let state = FileState {
                    durable: bytes.clone(),
                    current: bytes,
                    pending: Vec::new(),
                };
                to.files.insert(number, state);
                to.names.insert(name.clone(), number);
                to.durable_names.insert(name.clone(), number);
            }
        }
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

    fn file(&mut self, name: &str) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"));
        self.names.get(name).copied().ok_or_else(missing)
    }

    fn change_names(&mut self, change: NameChange) -> io::Result<()> {
        let strikes = self.strike(Operation::Name)?;
        change.clone().apply(&mut self.names);
        self.pending_names.push(change);
        if strikes.is_some() {
            Err(stopped())
        } else {
            Ok(())
        }
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

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on the medium")
}

fn broken() -> io::Error {
    io::Error::other("the medium fails")
}

impl Storage for FaultyStorage {
    fn describe(&self, name: &str) -> String {
        format!("memory/{name}")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        if world.stopped.is_some() {
            return Err(stopped());
        }
        Ok(world.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = self.world.lock();
        if world.stopped.is_some() {
            return Err(stopped());
        }
        let file = world.file(name)?;
        Ok(Arc::new(FaultyFile {
            world: Arc::clone(&self.world),
            file,
        }))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        let mut world = self.world.lock();
        if let Some(fault) = world.strike(Operation::Create)? {
            return Err(if fault == Fault::NoSpace {
                full()
            } else {
                stopped()
            });
        }
        let file = world.next_file;
        world.next_file += 1;
        let zeros = vec![0; usize::try_from(bytes).unwrap_or(0)];
        let state = FileState {
            current: zeros.clone(),
            durable: zeros,
            pending: Vec::new(),
        };
        world.files.insert(file, state);
        world.change_names(NameChange::Set(name.to_owned(), file))?;
        Ok(Arc::new(FaultyFile {
            world: Arc::clone(&self.world),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        world.file(from)?;
        world.change_names(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world.lock();
        world.file(name)?;
        world.change_names(NameChange::Remove(name.to_owned()))
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        match world.strike(Operation::Sync)? {
            None => {
                world.durable_names = world.names.clone();
                world.pending_names.clear();
                Ok(())
            }
            Some(Fault::SyncError) => Err(broken()),
            Some(_) => Err(stopped()),
        }
    }

    fn link(&self, _name: &str, _target: &dyn Storage) -> io::Result<bool> {
        Ok(false)
    }

    fn path(&self) -> Option<&Path> {
        None
    }
}

struct FaultyFile {
    world: Arc<Mutex<World>>,
    file: u64,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyFile")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl FaultyFile {
    fn with<R>(
        &self,
        world: &mut World,
        use_it: impl FnOnce(&mut FileState) -> R,
    ) -> io::Result<R> {
        // A removed file exists while it is open; after a restart it is gone.
        world
            .files
            .get_mut(&self.file)
            .map(use_it)
            .ok_or_else(stopped)
    }
}

impl StorageFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        let mut world = self.world.lock();
        if world.stopped.is_some() {
            return Err(stopped());
        }
        self.with(&mut world, |file| file.current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early");
        match world.strike(Operation::Read)? {
            None => {}
            Some(Fault::ReadError) => return Err(broken()),
            Some(Fault::ShortRead) => return Err(short()),
            Some(_) => return Err(stopped()),
        }
        self.with(&mut world, |file| {
            let start = usize::try_from(offset).map_err(|_| short())?;
            let end = start.checked_add(buffer.len()).ok_or_else(short)?;
            buffer.copy_from_slice(file.current.get(start..end).ok_or_else(short)?);
            Ok(())
        })?
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.strike(Operation::Write)?;
        let written = match fault {
            Some(Fault::NoSpace | Fault::WriteError) => world.below(bytes.len() + 1),
            _ => bytes.len(),
        };
        let offset = usize::try_from(offset).map_err(|_| full())?;
        let bytes = &bytes[..written];
        self.with(&mut world, |file| {
            put(&mut file.current, offset, bytes);
            file.pending.push((offset, bytes.to_vec()));
        })?;
        world.newest = Some(self.file);
        match fault {
            None => Ok(()),
            Some(Fault::NoSpace) => Err(full()),
            Some(Fault::WriteError) => Err(broken()),
            Some(_) => Err(stopped()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        let fault = world.strike(Operation::Sync)?;
        match fault {
            None => self.with(&mut world, |file| {
                for (offset, bytes) in file.pending.drain(..) {
                    put(&mut file.durable, offset, &bytes);
                }
            }),
            Some(Fault::SyncError) => {
                self.with(&mut world, |file| file.pending.clear())?;
                Err(broken())
            }
            Some(_) => Err(stopped()),
        }
    }

    fn map(&self) -> io::Result<Option<FileMap>> {
        Ok(None)
    }
}
