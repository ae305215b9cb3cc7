//! The medium under the database: a folder of files.
//!
//! What the database assumes of it, and nothing more:
//!
//! * bytes written to a file are durable once [`StorageFile::sync`] returned well;
//! * before that any part of them may be there after a crash, in any order;
//! * a created, renamed or removed name is durable once [`Storage::sync_folder`] returned well;
//! * a rename replaces the target in one step;
//! * bytes that are durable stay as they are until they are written again.

pub mod faulty;
mod map;

pub use map::FileMap;
pub(crate) use real::{RealStorage, memory_available};
pub mod real;

use std::{fmt, io, path::Path, sync::Arc};

/// A folder of files.
pub trait Storage: Send + Sync + fmt::Debug {
    /// The file's path, for messages.
    fn describe(&self, name: &str) -> String;

    /// The names of the files in the folder, in any order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>>;

    /// Creates a file of `bytes` zero bytes, with room for them reserved on the medium; a file of that
    /// name is replaced.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>>;

    /// Renames a file; one of the new name is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file's name.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_folder(&self) -> io::Result<()>;

    /// Gives the file `name` a second name in another folder; `false` where that cannot be done and
    /// the bytes must be copied.
    fn link(&self, name: &str, target: &dyn Storage) -> io::Result<bool>;

    /// Where the folder is in the file system, if it is there.
    fn path(&self) -> Option<&Path>;
}

/// A file.
pub trait StorageFile: Send + Sync + fmt::Debug {
    /// Its size in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; a file that ends before is an error.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Asks for these bytes, which are read soon, without waiting for them.
    fn read_ahead(&self, _offset: u64, _bytes: u64) {}

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Asks for these bytes to be in the system's cache, and may take its time for it.
    fn fill_cache(&self, _offset: u64, _bytes: u64) {}

    /// Asks for these bytes, which were written, to be on their way to the medium before
    /// [`sync`](Self::sync) is called. Nothing is known of them until then.
    fn start_sync(&self, _offset: u64, _bytes: u64) {}

    /// Makes the bytes durable.
    fn sync(&self) -> io::Result<()>;

    /// Whether the file has more names than one, so that somebody else may have it.
    fn is_shared(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Maps the whole file for reading; `None` where files cannot be mapped and are read instead.
    fn map(&self) -> io::Result<Option<FileMap>>;
}
