//! Decides when checkpoints are written, writes them, and frees emptied segments.

use crate::{
    error::{CheckpointError, FileContext, FileError},
    index::{Chain, ChainAndCounts, CheckpointHeader, CheckpointWriter},
    log::{Manifest, Segment, SegmentTable},
    options::CheckpointMode,
    shared::Core,
    trie::FilesWriter,
};
use lockweave_state_trie::Writing;
use std::sync::{Arc, atomic::Ordering};

/// A checkpoint is due when the log has grown by this many times the length of the last one.
const LOG_FACTOR: u64 = 2;

impl Core {
    /// Registers segments that compaction has emptied.
    pub(crate) fn note_emptied(&self, emptied: &[u64], sequence: u64) {
        let table = self.segments();
        let mut state = self.checkpoint.lock();
        for number in emptied {
            if let Some(segment) = table.get(*number) {
                segment.emptied.store(true, Ordering::Relaxed);
                state.emptied.push((*number, sequence));
            }
        }
    }

    /// Registers an appended record, and starts a checkpoint if one is due.
    pub(crate) fn note_appended(&self, bytes: u64) {
        let mut state = self.checkpoint.lock();
        state.appended += bytes;
        // Checkpoints are at most a third of all writes, unless the state trie needs memory.
        let due = self.options.checkpoint_bytes.max(LOG_FACTOR * state.bytes);
        let is_trie_large = self.trie.unwritten_bytes() > self.options.trie_memory_bytes / 2;
        if state.appended < due && !is_trie_large {
            return;
        }
        match self.options.checkpoint_mode {
            CheckpointMode::Manual => {}
            CheckpointMode::Background => {
                state.is_wanted = true;
                self.checkpoint_wanted.notify_all();
            }
            CheckpointMode::Inline => {
                drop(state);
                let failure = self.write_checkpoint().err();
                self.checkpoint.lock().failure = failure;
            }
        }
    }

    /// Writes a checkpoint and retires segments that nothing needs any more.
    pub(crate) fn write_checkpoint(&self) -> Result<(), CheckpointError> {
        if self.options.read_only {
            return Err(CheckpointError::ReadOnly);
        }
        let _checkpointing = self.checkpointing.lock();
        let ((chain, table), header, mut writing) = {
            let writer = self.writer.lock();
            self.checkpoint.lock().appended = 0;
            let chain = self.chain.read();
            let contents = (chain.clone(), self.segments());
            let writing = self.trie.start_writing();
            let header = CheckpointHeader {
                database: self.database,
                sequence: writer.sequence,
                position: writer.position,
                previous: writer.previous,
                shard_bits: self.index.shard_bits(),
                chunks: 0,
                bytes: 0,
            };
            (contents, header, writing)
        };
        let sequence = header.sequence;
        let mut nodes = self.trie_files.writer();
        let result = self.write_trie_and_index(&mut writing, &mut nodes, &chain, &table, header);
        self.trie.finish_writing(writing, result.is_ok());
        match result {
            Ok(stale) => {
                self.trie_files.free(&stale);
                self.free_emptied(sequence)
            }
            Err(error) => {
                nodes.abandon();
                Err(error)
            }
        }
    }

    /// Writes the new nodes of the state trie, then the checkpoint. Returns the nodes that are not in it.
    fn write_trie_and_index(
        &self,
        writing: &mut Writing,
        nodes: &mut FilesWriter<'_>,
        chain: &Chain,
        table: &SegmentTable,
        header: CheckpointHeader,
    ) -> Result<Vec<u64>, CheckpointError> {
        let written = self.trie.write(writing, nodes)?;
        let trie_bytes = nodes.finish()?;
        let mut trie = self.trie_files.stored(&written);
        trie.rebuilt = *self.trie_rebuilt.lock();
        let contents = ChainAndCounts::new(trie, chain, table);
        let create = || CheckpointWriter::create(&*self.storage, &contents, &self.index);
        let mut out = create();
        if out.as_ref().is_err_and(FileError::is_out_of_space)
            && self.segment_allocator.discard_spares()
        {
            out = create();
        }
        let mut out = out?;
        let copy_shards = |out: &mut CheckpointWriter<'_>| {
            // The lock keeps the index at the end of a record.
            let _publishing = self.publishing.read();
            out.copy_shards(&self.index, self.applied.load(Ordering::Acquire))
        };
        while copy_shards(&mut out) {
            out.write_shards()?;
        }
        self.checkpoint.lock().bytes = out.finish(header)? + trie_bytes;
        *self.trie_root_stored.lock() = written.root;
        Ok(written.stale)
    }

    /// Writes the manifest without the segments that were empty before the record `sequence`, then
    /// retires them.
    fn free_emptied(&self, sequence: u64) -> Result<(), CheckpointError> {
        let freed: Vec<u64> = (self.checkpoint.lock().emptied)
            .extract_if(.., |(_, by)| *by < sequence)
            .map(|(number, _)| number)
            .collect();
        let segments: Vec<Arc<Segment>> = {
            let mut table = self.table.write();
            let segments = freed
                .iter()
                .filter_map(|number| table.get(*number).cloned());
            let segments = segments.collect();
            *table = Arc::new(table.without(&freed));
            segments
        };
        self.store_manifest()?;
        if self.segment_allocator.retire(segments) {
            let folder = self.storage.describe("");
            self.storage.sync_folder().context("sync", folder)?;
        }
        Ok(())
    }

    /// Writes the manifest.
    pub(crate) fn store_manifest(&self) -> Result<(), FileError> {
        let durable = self.applied.load(Ordering::Acquire);
        let table = self.segments();
        self.manifest(&table, durable).store(&*self.storage)
    }

    /// The manifest of these segments, with the log durable up to a position.
    pub(super) fn manifest(&self, table: &SegmentTable, durable: u64) -> Manifest {
        Manifest {
            database: self.database,
            hash_key: self.hash_key,
            segment_bytes: table.segment_bytes(),
            shard_bits: self.index.shard_bits(),
            segments: (table.iter().map(|segment| (segment.number, segment.places))).collect(),
            durable,
        }
    }

    /// Writes checkpoints on request, until the database closes.
    pub(crate) fn run_checkpoints(&self) {
        loop {
            {
                let mut state = self.checkpoint.lock();
                while !state.is_wanted && !state.is_closing {
                    self.checkpoint_wanted.wait(&mut state);
                }
                if state.is_closing {
                    return;
                }
                state.is_wanted = false;
            }
            let failure = self.write_checkpoint().err();
            self.checkpoint.lock().failure = failure;
        }
    }
}
