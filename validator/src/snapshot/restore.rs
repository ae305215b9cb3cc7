//! Puts the chunks of a snapshot into a new database, in order.
//!
//! The database needs the hashes of the last blocks and gets them by commits of its own: each commit has the number
//! and the hash of one of those blocks, and a share of the chunks. Only the last one has a block and can be read. A
//! commit is durable, so a restore goes on after the last one.

use super::{
    chunk::Content,
    error::{InvalidSnapshot, SnapshotError},
    offer::{Offer, Snapshot},
};
use crate::store::{self, Datadir};
use alloy_primitives::B256;
use lockweave_accounts_db::{Db, Options, Reader};
use lockweave_runtime::StateDelta;
use std::{
    fs::{self, File},
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
};

/// The file with the description of the snapshot, in the new database's folder.
const OFFER: &str = "offer";

/// A snapshot on its way into a data folder.
#[derive(Debug)]
pub struct Restore {
    db: Db,
    folder: PathBuf,
    snapshot: Snapshot,
    finalization: Vec<u8>,
    /// Chunks that were added.
    added: usize,
    /// Commits that are done.
    commits: usize,
    /// What was added since the last commit.
    delta: StateDelta,
}

impl Restore {
    /// The description of a snapshot whose restore was interrupted.
    pub fn interrupted(datadir: &Datadir) -> Option<Offer> {
        let bytes = fs::read(datadir.new_state_path().join(OFFER)).ok()?;
        borsh::from_slice(&bytes).ok()
    }

    /// Begins, or goes on if this snapshot is there in part. `trie_memory_bytes` is the memory of the state trie.
    pub fn open(
        datadir: &Datadir,
        offer: &Offer,
        snapshot: Snapshot,
        trie_memory_bytes: usize,
    ) -> Result<Self, SnapshotError> {
        let folder = datadir.new_state_path();
        if Self::interrupted(datadir).as_ref() != Some(offer) {
            let failed = |source| file_error(&folder, source);
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(failed)?;
            }
            fs::create_dir_all(&folder).map_err(failed)?;
            let bytes = borsh::to_vec(offer).expect("an offer can be encoded");
            write_durably(&folder.join(OFFER), &bytes)?;
        }
        let options = Options {
            history_blocks: 0,
            payload_bytes_max: 1 << 29,
            trie_memory_bytes,
            trie_history_bytes: 0,
            ..Options::default()
        };
        let db = Db::open(&folder, options)?;
        let first = snapshot.hashes[0].0;
        let commits = db.latest().map_or(0, |latest| latest.number + 1 - first);
        let commits = usize::try_from(commits).expect("at most 256");
        let mut restore = Self {
            added: share(&snapshot, commits),
            db,
            folder,
            snapshot,
            finalization: offer.finalization.clone(),
            commits,
            delta: StateDelta::default(),
        };
        // With few chunks, many commits have none.
        restore.commit()?;
        Ok(restore)
    }

    /// The snapshot.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The index of the next chunk. If there are not as many, the restore can be [finished](Self::finish).
    pub const fn next(&self) -> usize {
        self.added
    }

    /// Adds the next chunk.
    pub fn add(&mut self, chunk: CheckedChunk) -> Result<(), SnapshotError> {
        let Content { delta, .. } = chunk.0;
        // Slots of a chunk of their own have one owner, which must be there.
        if let Some((owner, ..)) = delta.slots.first() {
            let in_delta =
                |delta: &StateDelta| delta.accounts.iter().any(|(address, _)| address == owner);
            let account = |reader: Reader| reader.account(*owner);
            let in_db = || matches!(self.db.reader_latest().and_then(account), Ok(Some(_)));
            if !in_delta(&delta) && !in_delta(&self.delta) && !in_db() {
                return Err(InvalidSnapshot::Manifest("slots come before their account").into());
            }
        }
        self.delta.accounts.extend(delta.accounts);
        self.delta.slots.extend(delta.slots);
        self.delta.codes.extend(delta.codes);
        self.added += 1;
        self.commit()
    }

    /// Commits what is complete.
    fn commit(&mut self) -> Result<(), SnapshotError> {
        while self.commits < self.snapshot.hashes.len()
            && self.added == share(&self.snapshot, self.commits + 1)
        {
            let mut delta = mem::take(&mut self.delta);
            delta.codes.sort_unstable_by_key(|code| code.hash());
            delta.codes.dedup_by_key(|code| code.hash());
            let (number, hash) = self.snapshot.hashes[self.commits];
            let prepared = self.db.prepare(number, &delta)?;
            let block = &self.snapshot.block;
            let mut payload = Vec::new();
            if number == block.number() {
                let (computed, stated) = (prepared.state_root(), block.header.state_root);
                if computed != stated {
                    return Err(InvalidSnapshot::StateRoot { computed, stated }.into());
                }
                payload = store::encode_block(block);
            }
            self.db.commit_prepared(prepared, hash, &payload)?;
            self.commits += 1;
        }
        Ok(())
    }

    /// Puts the complete database into its place.
    pub fn finish(self, datadir: &Datadir) -> Result<B256, SnapshotError> {
        // States before the snapshot were not whole; from now on nobody can read them.
        self.db.checkpoint()?;
        drop(self.db);
        let offer = self.folder.join(OFFER);
        fs::remove_file(&offer).map_err(|source| file_error(&offer, source))?;
        write_durably(&datadir.new_finalization_path(), &self.finalization)?;
        let installed = datadir.install_new_state();
        installed.map_err(|source| file_error(&self.folder, source))?;
        Ok(self.snapshot.hash())
    }

    /// Removes a restore that cannot be finished.
    pub fn discard(datadir: &Datadir) -> Result<(), SnapshotError> {
        let folder = datadir.new_state_path();
        match fs::remove_dir_all(&folder) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(file_error(&folder, source))
            }
            _ => Ok(()),
        }
    }
}

/// The chunks that are committed with the first `commits` blocks.
fn share(snapshot: &Snapshot, commits: usize) -> usize {
    snapshot.manifest.count() * commits / snapshot.hashes.len()
}

fn file_error(path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::File {
        path: path.display().to_string(),
        source,
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        path.parent()
            .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|source| file_error(path, source))
}

/// A chunk whose roots are those of the list.
#[derive(Debug)]
pub struct CheckedChunk(Content);

impl Snapshot {
    /// Checks the bytes of a chunk.
    pub fn check_chunk(&self, index: usize, bytes: &[u8]) -> Result<CheckedChunk, InvalidSnapshot> {
        Ok(CheckedChunk(self.manifest.read_chunk(index, bytes)?))
    }
}
