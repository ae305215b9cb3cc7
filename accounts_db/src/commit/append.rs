//! Appends the record of a prepared block, makes it durable and publishes it.

use super::prepare::PreparedBlock;
use crate::{
    error::{CommitError, FileContext, FileError},
    log::{
        ENTRIES_START, FRAME_BYTES, Location, RecordHeader, SEGMENT_HEADER_BYTES, Segment,
        append_log_end, record_bytes, seal_record,
    },
    shared::{Core, Writer},
};
use alloy_primitives::B256;
use std::{
    io,
    ops::Range,
    sync::{Arc, atomic::Ordering},
};

/// Step of caching pages for later records: a huge page where the system has them.
const FILL_BYTES: usize = 2 << 20;
/// Limit of the pages cached in advance.
const FILLED_BYTES_MAX: u64 = 32 << 20;
/// The next segment is requested when fewer than this many blocks like the last fit into the
/// current one.
const BLOCKS_AHEAD: u64 = 8;

impl Core {
    /// Makes a block durable, then visible.
    pub(crate) fn commit(
        &self,
        mut block: PreparedBlock,
        hash: Option<B256>,
        payload: &[u8],
    ) -> Result<B256, CommitError> {
        let number = block.number;
        let bytes_max = self.options.payload_bytes_max;
        if payload.len() as u64 > bytes_max {
            let bytes = payload.len() as u64;
            return Err(CommitError::PayloadTooLarge { bytes, bytes_max });
        }
        if !payload.is_empty() {
            (block.batch).push_payload(number, Location::NONE, payload);
        }
        let mut writer = self.writer.lock();
        if writer.sequence != block.sequence {
            return Err(CommitError::Stale { number });
        }
        if self.stopped.load(Ordering::Acquire) {
            return Err(CommitError::Stopped);
        }
        let entries_bytes = block.batch.len() - ENTRIES_START as u64;
        let bytes = record_bytes(entries_bytes);
        if writer.has_refused {
            self.erase_refused(writer.position)?;
            writer.has_refused = false;
        }
        let (segment, offset) = self.reserve(number, writer.position, bytes)?;
        let oldest = {
            let chain = self.chain.read();
            let first = chain.first().map_or(number, |block| block.number);
            let oldest = number.saturating_sub(self.options.history_blocks);
            oldest.max(chain.oldest).max(first.min(number))
        };
        let header = RecordHeader {
            kind: block.kind,
            database: self.database,
            sequence: block.sequence,
            number,
            oldest,
            position: segment.start + offset,
            bytes,
            entries_bytes,
            entry_count: block.batch.entry_count,
            hash: hash.map(|hash| hash.0),
            state_root: block.state_root.0,
            previous: writer.previous,
            body: [0; 16],
        };
        let checksum = seal_record(&mut block.batch.bytes, header.clone());
        let space = segment.size - offset;
        append_log_end(&mut block.batch.bytes, space);
        let ticket = writer.next_ticket();
        let early =
            (block.early_write.as_ref()).and_then(|it| it.still_valid(ticket, header.position));
        self.fill_cache_ahead(&segment, &mut writer, &header);
        // While the medium works, the index slots that publishing changes are prefetched, and the trie's history
        // gets the block before.
        let ((), written) = self.workers.run_alongside(
            || {
                self.prefetch_to_change(&block.batch.changes);
                if let Some(trie) = &mut block.trie {
                    trie.note_before();
                }
            },
            || Self::write(&segment, offset, &block.batch.bytes, early),
        );
        match written {
            Ok(()) => {}
            Err(WriteFailure::Write(source)) => {
                writer.position = header.position;
                // The record must not count, whole or not. If it cannot be erased now, the next
                // block erases it.
                writer.has_refused = self.erase_refused(header.position).is_err();
                let source = FileError::new("write", &segment.path, source);
                return Err(no_space(number, source));
            }
            Err(WriteFailure::Sync(source)) => {
                return Err(self.stop(FileError::new("sync", &segment.path, source)));
            }
        }
        // From here on the block is durable.
        self.publish(
            &header,
            &block.batch.changes,
            &block.batch.chain_changes,
            None,
            block.trie.take(),
        )
        .expect("what was looked up under the same sequence number is in the index");
        writer.position = header.position + header.bytes;
        writer.sequence += 1;
        writer.previous = checksum;
        writer.compaction = block.compaction;
        writer.preparation = block.preparation;
        self.prepare_for_next(&segment, &mut writer, &header);
        self.note_emptied(&block.emptied, block.sequence);
        self.trie.trim(self.options.trie_memory_bytes);
        drop(writer);
        self.spare_batches.give_back(block.batch);
        self.note_appended(header.bytes);
        Ok(block.state_root)
    }

    /// Prepares for the next block: another thread maps the record for readers, pages are cached,
    /// and the next segment is requested early.
    fn prepare_for_next(&self, segment: &Arc<Segment>, writer: &mut Writer, record: &RecordHeader) {
        if !self.workers.is_parallel() {
            return;
        }
        let (bytes, offset) = (record.bytes, record.position - segment.start);
        let written = Arc::downgrade(segment);
        self.workers.spawn(move || {
            // If the segment was retired already, its file may be in use for another.
            if let Some(segment) = written.upgrade() {
                segment.populate(offset, bytes);
            }
        });
        let end = segment.start + segment.size;
        let next = segment.number + segment.places;
        if end - writer.position < BLOCKS_AHEAD * bytes && writer.segment_requested != Some(next) {
            writer.segment_requested = Some(next);
            self.segment_allocator.request(next, bytes);
        }
    }

    /// Caches the pages of the next record on other threads while the medium works, assuming it is not much
    /// longer than this one. Finding and clearing memory costs the system more than the write.
    fn fill_cache_ahead(&self, segment: &Arc<Segment>, writer: &mut Writer, record: &RecordHeader) {
        if !self.workers.is_parallel() {
            return;
        }
        let size = segment.size;
        let from = record.position + record.bytes - segment.start;
        let step = FILL_BYTES as u64;
        let bytes = (record.bytes + record.bytes / 4).min(FILLED_BYTES_MAX);
        let end = (from + bytes).next_multiple_of(step).min(size);
        let begun = match writer.filled {
            Some((number, offset)) if number == segment.number => offset,
            _ => from - from % step,
        };
        for offset in (begun..end).step_by(FILL_BYTES) {
            let file = Arc::clone(&segment.file);
            self.workers.spawn(move || file.fill_cache(offset, step));
        }
        writer.filled = Some((segment.number, begun.max(end)));
    }

    /// Writes a record, without the pages that were written early, and syncs all of it.
    fn write(
        segment: &Segment,
        offset: u64,
        record: &[u8],
        early: Option<Range<usize>>,
    ) -> Result<(), WriteFailure> {
        let write = |bytes: Range<usize>| {
            let at = offset + bytes.start as u64;
            (segment.file.write_at(&record[bytes], at)).map_err(WriteFailure::Write)
        };
        if let Some(pages) = early {
            if pages.end < record.len() {
                write(pages.end..record.len())?;
            }
            write(0..pages.start)?;
        } else {
            write(0..record.len())?;
        }
        segment.file.sync().map_err(WriteFailure::Sync)
    }

    /// Erases the header of a refused record, so that it never counts.
    fn erase_refused(&self, position: u64) -> Result<(), CommitError> {
        let table = self.segments();
        let Some((segment, offset)) = table.at(Location::from_position(position)) else {
            return Ok(());
        };
        let zeros = [0; FRAME_BYTES];
        (segment.file.write_at(&zeros, offset)).context("write", &segment.path)?;
        (segment.file.sync().context("sync", &segment.path)).map_err(|source| self.stop(source))
    }

    /// Stops the database: nothing is written from now on.
    pub(crate) fn stop(&self, source: FileError) -> CommitError {
        self.stopped.store(true, Ordering::Release);
        CommitError::Sync { source }
    }

    /// Where a record of this length goes: after the last one, or into a new segment.
    fn reserve(
        &self,
        number: u64,
        position: u64,
        bytes: u64,
    ) -> Result<(Arc<Segment>, u64), CommitError> {
        let table = self.segments();
        if let Some(last) = table.last()
            && let Some(offset) = last.offset_for(position, bytes)
        {
            return Ok((Arc::clone(last), offset));
        }
        let next = table.last().map_or(0, |last| last.number + last.places);
        let segment = self.begin_segment(number, next, bytes)?;
        Ok((segment, SEGMENT_HEADER_BYTES))
    }

    /// Starts the segment `number`, large enough for a record.
    fn begin_segment(
        &self,
        block: u64,
        number: u64,
        record_bytes: u64,
    ) -> Result<Arc<Segment>, CommitError> {
        let table = self.segments();
        let places = (SEGMENT_HEADER_BYTES + record_bytes).div_ceil(table.segment_bytes());
        if number
            .checked_add(places)
            .is_none_or(|end| end > table.number_limit())
        {
            return Err(CommitError::AddressSpace);
        }
        let segment = self.segment_allocator.segment(number, places);
        let segment = Arc::new(segment.map_err(|source| no_space(block, source))?);
        // The current table: a checkpoint may have freed segments meanwhile.
        let mut table = self.table.write();
        *table = Arc::new(table.with(&segment));
        drop(table);
        Ok(segment)
    }
}

/// Which step of the write failed.
enum WriteFailure {
    Write(io::Error),
    Sync(io::Error),
}

/// Distinguishes a full medium from a failing one.
fn no_space(number: u64, source: FileError) -> CommitError {
    if source.is_out_of_space() || source.source.kind() == io::ErrorKind::FileTooLarge {
        CommitError::NoSpace { number, source }
    } else {
        CommitError::File(source)
    }
}
