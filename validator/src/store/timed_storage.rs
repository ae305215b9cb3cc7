//! The storage of the accounts database, with a measurement of each sync.

use lockweave_accounts_db::{
    FileMap,
    storage::{Storage, StorageFile},
};
use std::{io, path::Path, sync::Arc, time::Instant};

/// A folder whose syncs are timed.
#[derive(Debug)]
pub(super) struct TimedStorage<S>(pub(super) S);

/// A file whose syncs are timed.
#[derive(Debug)]
struct TimedFile(Arc<dyn StorageFile>);

fn timed<T>(sync: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let started = Instant::now();
    let result = sync();
    metrics::histogram!("lockweave_fsync_seconds").record(started.elapsed().as_secs_f64());
    result
}

impl<S: Storage> Storage for TimedStorage<S> {
    fn describe(&self, name: &str) -> String {
        self.0.describe(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(TimedFile(self.0.open(name)?)))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        Ok(Arc::new(TimedFile(self.0.create(name, bytes)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        timed(|| self.0.sync_folder())
    }

    fn link(&self, name: &str, target: &dyn Storage) -> io::Result<bool> {
        self.0.link(name, target)
    }

    fn path(&self) -> Option<&Path> {
        self.0.path()
    }
}

impl StorageFile for TimedFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        timed(|| self.0.sync())
    }

    fn map(&self) -> io::Result<Option<FileMap>> {
        self.0.map()
    }
}
