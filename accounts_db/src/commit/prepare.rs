//! Prepares a block.
//!
//! The changed keys are looked up and encoded. The state root follows from their entries. While it is
//! computed, the record is assembled, entries that compaction moves are added, and its pages are
//! written at the end of the log, where they do not count until the block is committed
//! (`early_write.rs`).

use super::{
    early_write::EarlyWrite,
    encode::EncodedPart,
    encode::{Changes, check_unique},
};
use crate::{
    error::CommitError,
    log::{
        Batch, ChainChange, ENTRIES_START, Key, Location, RecordKind, SegmentTable,
        entry::{self, BLOB_BYTES_MAX},
    },
    maintenance::gather_moves,
    shared::{Core, Cursor, GatheringRequest, Writer},
};
use ahash::AHashSet;
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::StateDelta;
use lockweave_state_trie::Prepared;
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

/// A block that is ready to commit, with the state root after it.
///
/// It is valid for the state on which it was prepared: after another block is committed it is
/// refused.
#[derive(Debug)]
pub struct PreparedBlock {
    pub(crate) kind: RecordKind,
    pub(crate) number: u64,
    /// Sequence number of its record.
    pub(crate) sequence: u64,
    pub(crate) state_root: B256,
    /// The state trie after the block.
    pub(crate) trie: Option<Prepared>,
    /// The record so far: space for the head, then entries.
    pub(crate) batch: Batch,
    pub(crate) compaction: Option<Cursor>,
    pub(crate) emptied: Vec<u64>,
    /// What is already written of the record.
    pub(crate) early_write: Option<EarlyWrite>,
    /// Number of this preparation.
    pub(crate) preparation: u64,
    /// Number of the preparation that was committed last.
    follows: u64,
}

impl PreparedBlock {
    /// The block's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The state root after the block.
    pub const fn state_root(&self) -> B256 {
        self.state_root
    }

    /// Adds the hash of an earlier block, for `BLOCKHASH` on a chain whose first block here is not
    /// its genesis.
    pub fn add_ancestor(&mut self, number: u64, hash: B256) {
        entry::write_ancestor(&mut self.batch.bytes, number, hash);
        self.batch.entry_count += 1;
        self.batch
            .chain_changes
            .push(ChainChange::Ancestor { number, hash });
    }
}

impl Core {
    /// Looks up and encodes the changes of a block.
    pub(crate) fn prepare(
        &self,
        number: u64,
        delta: &StateDelta,
    ) -> Result<PreparedBlock, CommitError> {
        let latest = self.chain.read().latest().map(|block| block.number);
        if let Some(latest) = latest
            && latest.checked_add(1) != Some(number)
        {
            return Err(CommitError::OutOfOrder { number, latest });
        }
        self.prepare_changes(number, &self.delta_changes(delta)?, RecordKind::Block)
    }

    /// The changes of a delta, with the slots of cleared storage one by one.
    fn delta_changes<'a>(&self, delta: &'a StateDelta) -> Result<Changes<'a>, CommitError> {
        let mut slots = Cow::Borrowed(delta.slots.as_slice());
        let cleared = self.slots_of(&delta.cleared)?;
        if !cleared.is_empty() {
            let written: AHashSet<(Address, U256)> = delta
                .slots
                .iter()
                .map(|(address, slot, _)| (*address, *slot))
                .collect();
            let gone = cleared.into_iter().filter(|key| !written.contains(key));
            let slots = slots.to_mut();
            slots.extend(gone.map(|(address, slot)| (address, slot, U256::ZERO)));
        }
        Ok(Changes {
            accounts: Cow::Borrowed(&delta.accounts),
            slots,
            codes: &delta.codes,
        })
    }

    pub(crate) fn prepare_changes(
        &self,
        number: u64,
        changes: &Changes<'_>,
        kind: RecordKind,
    ) -> Result<PreparedBlock, CommitError> {
        let Writer {
            sequence,
            compaction: cursor,
            preparation: follows,
            ..
        } = self.writer.lock().clone();
        if self.options.read_only {
            return Err(CommitError::ReadOnly);
        }
        if self.stopped.load(Ordering::Acquire) {
            return Err(CommitError::Stopped);
        }
        let table = self.segments();
        let (mut parts, counts) = self.encode_changes(&table, changes)?;
        let mut block = PreparedBlock {
            kind,
            number,
            sequence,
            state_root: B256::ZERO,
            trie: None,
            batch: self.spare_batches.record(),
            compaction: cursor,
            emptied: Vec::new(),
            early_write: None,
            preparation: self.preparations.fetch_add(1, Ordering::Relaxed) + 1,
            follows,
        };
        let counted = self.encode_slot_counts(&table, changes, &parts, counts)?;
        parts.extend(counted);
        check_unique(&parts, changes)?;
        let touched = parts
            .iter_mut()
            .map(|part| std::mem::take(&mut part.touched));
        let touched = touched.collect();
        let (trie, assembled) = self.workers.run_alongside(
            || self.prepare_touched(touched),
            || self.assemble(&table, changes, &parts, &mut block),
        );
        assembled?;
        let trie = trie?;
        for part in parts {
            self.spare_batches.give_back(part.batch);
        }
        block.state_root = trie.root();
        block.trie = Some(trie);
        Ok(block)
    }

    /// The state root after some changes of the state after a block.
    pub(crate) fn root_after(&self, number: u64, delta: &StateDelta) -> Result<B256, CommitError> {
        // The lock keeps the newest block where it is.
        let _writer = self.writer.lock();
        let target = self.chain.read().retained(number)?.clone();
        let changes = self.changes_since(&target)?;
        let back = StateDelta {
            accounts: changes.accounts.into_owned(),
            slots: changes.slots.into_owned(),
            ..StateDelta::default()
        };
        let delta = back.followed_by(delta);
        let changes = self.delta_changes(&delta)?;
        let table = self.segments();
        let (parts, counts) = self.encode_changes(&table, &changes)?;
        let counted = self.encode_slot_counts(&table, &changes, &parts, counts)?;
        let parts = parts.into_iter().chain(counted);
        let touched = parts.map(|part| part.touched).collect();
        Ok(self.prepare_touched(touched)?.root())
    }

    /// Assembles the record, except its header, and writes it as far as possible.
    fn assemble(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        parts: &[EncodedPart],
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        block.batch.bytes.resize(ENTRIES_START, 0);
        for part in parts {
            block.batch.append(&part.batch);
        }
        self.append_codes(table, changes, block)?;
        self.append_moves(table, block)?;
        block.early_write = self.write_early(block.sequence, &block.batch.bytes);
        Ok(())
    }

    fn append_codes(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        let mut seen = AHashSet::new();
        for code in changes.codes {
            let (hash, bytes) = (code.hash(), code.bytes().len() as u64);
            let key = Key::Code(hash);
            let index_hash = self.hasher.hash(&key);
            if !seen.insert(hash) || self.find(table, index_hash, &key)?.is_some() {
                continue;
            }
            if bytes > BLOB_BYTES_MAX {
                return Err(CommitError::CodeTooLarge {
                    hash,
                    bytes,
                    bytes_max: BLOB_BYTES_MAX,
                });
            }
            let live = entry::blob_entry_bytes(bytes);
            (block.batch).push(index_hash, Location::NONE, [live, 0], false);
            entry::write_code(&mut block.batch.bytes, Location::NONE, hash, code.bytes());
        }
        Ok(())
    }

    fn append_moves(
        &self,
        table: &SegmentTable,
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        let own_bytes = block.batch.len() - ENTRIES_START as u64;
        let superseded: Vec<Location> = (block.batch.changes.iter())
            .map(|change| change.previous)
            .filter(|previous| !previous.is_none())
            .collect();
        let ready = self
            .background_gathering
            .result(block.follows, block.compaction);
        if let Some(ready) = &ready {
            // Entries that the block itself supersedes do not move.
            let mut gone = superseded.clone();
            gone.retain(|place| ready.locations.contains(place));
            gone.sort_unstable();
            block.batch.append_without(&ready.batch, &gone);
            block.compaction = ready.cursor;
            block.emptied.clone_from(&ready.emptied);
        } else {
            let request = GatheringRequest {
                cursor: block.compaction,
                appended: own_bytes,
                ..GatheringRequest::default()
            };
            let batch = std::mem::take(&mut block.batch);
            let moves = gather_moves(self, table, batch, &request, false)?;
            block.batch = moves.batch;
            block.compaction = moves.cursor;
            block.emptied = moves.emptied;
        }
        self.background_gathering.request(GatheringRequest {
            follows: block.preparation,
            cursor: block.compaction,
            superseded,
            appended: own_bytes,
            emptied: block.emptied.clone(),
        });
        if let Some(ready) = ready.and_then(Arc::into_inner) {
            self.spare_batches.give_back(ready.batch);
        }
        Ok(())
    }
}
