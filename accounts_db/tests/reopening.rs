//! What opening waits for.

mod support;

use lockweave_accounts_db::{
    CheckpointMode, Db, Options,
    storage::{Storage, StorageFile},
};
use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};
use support::{
    Generator, SMALL, check_db, extend,
    faulty::{Fault, FaultyStorage},
};

fn options(threads: usize) -> Options {
    Options {
        segment_bytes: 64 << 10,
        shard_bits: 2,
        checkpoint_mode: CheckpointMode::Manual,
        threads,
        seed: Some(1),
        ..Options::default()
    }
}

#[test]
fn the_last_record_is_made_durable_again_unless_it_is_known_to_be() {
    let storage = FaultyStorage::new(1);
    let open = || Db::open_on(Box::new(storage.clone()), options(1));
    let mut generator = Generator::new(2, SMALL);
    let mut blocks = Vec::new();
    let db = open().expect("a new database");
    extend(&db, &mut generator, &mut blocks, 10);
    drop(db);
    // The manifest says how far the log is durable.
    for fault in [Fault::SyncError, Fault::WriteError] {
        storage.set_fault(0, fault);
        let db = open().expect("nothing is to be written");
        storage.clear_fault();
        check_db(&db, SMALL, &blocks).expect("the database");
    }
    let db = open().expect("what was written");
    extend(&db, &mut generator, &mut blocks, 10);
    // As after a kill: the database is not dropped before the end of this test.
    let _killed = db;
    for fault in [Fault::SyncError, Fault::WriteError] {
        storage.set_fault(0, fault);
        open().expect_err("the record may not be durable");
        storage.clear_fault();
    }
    let db = open().expect("what was written");
    check_db(&db, SMALL, &blocks).expect("the database");
}

/// A folder in which removals block until they are allowed.
#[derive(Clone, Debug)]
struct Slow {
    inner: FaultyStorage,
    gate: Arc<(Mutex<Gate>, Condvar)>,
}

#[derive(Debug, Default)]
struct Gate {
    is_open: bool,
    /// A removal was blocked for too long.
    was_forced: bool,
}

impl Storage for Slow {
    fn describe(&self, name: &str) -> String {
        self.inner.describe(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.open(name)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn StorageFile>> {
        self.inner.create(name, bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let (gate, has_changed) = &*self.gate;
        let gate = gate.lock().expect("no panic under it");
        let (mut gate, waited) = has_changed
            .wait_timeout_while(gate, Duration::from_secs(10), |gate| !gate.is_open)
            .expect("no panic under it");
        gate.was_forced |= waited.timed_out();
        drop(gate);
        self.inner.remove(name)
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.inner.sync_folder()
    }

    fn link(&self, name: &str, target: &dyn Storage) -> io::Result<bool> {
        self.inner.link(name, target)
    }

    fn path(&self) -> Option<&Path> {
        self.inner.path()
    }
}

#[test]
fn opening_does_not_wait_for_removal_of_unneeded_files() {
    let storage = FaultyStorage::new(1);
    let mut generator = Generator::new(3, SMALL);
    let mut blocks = Vec::new();
    let db = Db::open_on(Box::new(storage.clone()), options(2)).expect("a new database");
    extend(&db, &mut generator, &mut blocks, 10);
    drop(db);
    // As after a kill in the middle of a checkpoint.
    storage.create("index.checkpoint.new", 4096).expect("space");
    let slow = Slow {
        inner: storage.clone(),
        gate: Arc::default(),
    };
    let db = Db::open_on(Box::new(slow.clone()), options(2)).expect("what was written");
    check_db(&db, SMALL, &blocks).expect("the database");
    extend(&db, &mut generator, &mut blocks, 10);
    let (gate, has_changed) = &*slow.gate;
    {
        let mut gate = gate.lock().expect("no panic under it");
        assert!(!gate.was_forced, "opening waited for it");
        gate.is_open = true;
        has_changed.notify_all();
    }
    drop(db);
    assert_eq!(storage.bytes("index.checkpoint.new"), None, "removed");
    let db = Db::open_on(Box::new(storage), options(2)).expect("what was written");
    check_db(&db, SMALL, &blocks).expect("the database");
}
