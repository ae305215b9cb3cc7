//! The storage of a database: a folder of files.
//!
//! The database assumes the following of it, and nothing more:
//!
//! * written bytes are durable once [`StorageFile::sync`] has returned `Ok`;
//! * before that, a crash may leave any part of them, in any order;
//! * a created, renamed or removed name is durable once [`Storage::sync_folder`] has returned `Ok`;
//! * a rename replaces its target atomically;
//! * durable bytes do not change until they are written again.

mod map;
pub mod real;

pub use map::FileMap;
pub(crate) use real::{RealStorage, memory_available};

use crate::error::{FileContext, FileError};
use std::{fmt, io, path::Path, sync::Arc};

/// A folder of files.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The file's path, for messages.
    fn describe(&self, name: &str) -> String;

    /// The names of the files in the folder, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens an existing file.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a file of `bytes` zero bytes, with space reserved for them; replaces a file of the
    /// same name.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames a file; replaces a file with the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// Links the file `name` into another folder; `false` if that is not possible and the bytes
    /// must be copied.
    fn link(&self, name: &str, target: &dyn Storage) -> io::Result<bool>;

    /// The folder's path in the file system, if it has one.
    fn path(&self) -> Option<&Path>;
}

/// Opens a file; `None` if it does not exist.
pub(crate) fn open_existing(
    storage: &dyn Storage,
    name: &str,
) -> Result<Option<Arc<dyn StorageFile>>, FileError> {
    match storage.open(name) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::new("open", storage.describe(name), source)),
    }
}

/// Reads bytes of the file with this path.
pub(crate) fn read_bytes(
    file: &dyn StorageFile,
    path: &str,
    offset: u64,
    bytes: u64,
) -> Result<Vec<u8>, FileError> {
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    file.read_at(&mut buffer, offset).context("read", path)?;
    Ok(buffer)
}

/// A file.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; fails if the file ends earlier.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Starts reading these bytes into memory, without waiting.
    fn read_ahead(&self, _offset: u64, _bytes: u64) {}

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Brings these bytes into the system's cache; may block.
    fn fill_cache(&self, _offset: u64, _bytes: u64) {}

    /// Starts writing these bytes to the medium before [`sync`](Self::sync) is called. Guarantees
    /// nothing.
    fn start_sync(&self, _offset: u64, _bytes: u64) {}

    /// Makes the bytes durable.
    fn sync(&self) -> io::Result<()>;

    /// Whether the file has other names, so that another folder may contain it.
    fn is_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Maps the whole file for reading; `None` if the storage cannot map files.
    fn map(&self) -> io::Result<Option<FileMap>>;
}
