//! Publishes a durable record: updates the index, the counts of live bytes and the chain.

use crate::{
    index::{BlockSummary, Chain, PayloadLocation},
    log::{ChainChange, Change, Location, RecordHeader, RecordKind, SegmentTable},
    shared::Core,
};
use alloy_primitives::B256;
use lockweave_state_trie::Prepared;
use std::{convert::Infallible, sync::atomic::Ordering};

/// Fewer changes than this are not worth several threads.
const PARALLEL_MIN: usize = 2048;
const PARALLEL_CHUNK: usize = 512;

impl Core {
    /// Publishes a durable record: first its bytes, then the index and the state trie, then the block.
    ///
    /// Fails with the first location that the index should contain and does not.
    pub(crate) fn publish(
        &self,
        header: &RecordHeader,
        changes: &[Change],
        chain_changes: &[ChainChange],
        shard_positions: Option<&[u64]>,
        trie: Option<Prepared>,
    ) -> Result<(), Location> {
        let table = self.segments();
        let record = Location::from_position(header.position);
        if let Some((segment, offset)) = table.at(record) {
            segment.set_end(offset + header.bytes);
            segment.set_newest(header.sequence);
        }
        let _publishing = self.publishing.write();
        let apply =
            |changes: &[Change]| self.apply(&table, header.position, changes, shard_positions);
        if changes.len() < PARALLEL_MIN {
            apply(changes)?;
        } else {
            self.workers.map_chunks(changes, PARALLEL_CHUNK, apply)?;
        }
        self.applied
            .fetch_max(header.position + header.bytes, Ordering::Release);
        if let Some(trie) = trie {
            let stamp = Self::stamp(header.position + header.bytes);
            let installed = self.workers.install(|| self.trie.install(trie, stamp));
            installed.expect("it was prepared for this record");
        }
        let mut chain = self.chain.write();
        for change in chain_changes {
            apply_to_chain(&table, &mut chain, header.position, change);
        }
        if header.kind == RecordKind::Undo {
            let gone = chain.payloads.split_off(&(header.number + 1));
            for place in gone.values() {
                forget_payload(&table, place);
            }
        }
        let block = BlockSummary {
            number: header.number,
            hash: header.hash.map(B256::from),
            state_root: B256::from(header.state_root),
            sequence: header.sequence,
            horizon: Location::from_position(header.position + header.bytes),
        };
        chain.advance(block, header.oldest);
        let payloads_from = header
            .number
            .saturating_sub(self.options.payload_blocks.saturating_sub(1));
        let kept = chain.payloads.split_off(&payloads_from);
        let gone = std::mem::replace(&mut chain.payloads, kept);
        for place in gone.values() {
            forget_payload(&table, place);
        }
        Ok(())
    }

    /// Prefetches the parts of the index that [`publish`](Self::publish) will change, on several
    /// threads.
    pub(crate) fn prefetch_to_change(&self, changes: &[Change]) {
        if changes.len() < PARALLEL_MIN || !self.workers.is_parallel() {
            return;
        }
        let prefetch = |changes: &[Change]| {
            let hashes: Vec<u64> = changes.iter().map(|change| change.hash).collect();
            self.index.prefetch_to_change(&hashes);
            Ok::<_, Infallible>(())
        };
        let Ok(_) = self.workers.map_chunks(changes, PARALLEL_CHUNK, prefetch);
    }

    fn apply(
        &self,
        table: &SegmentTable,
        position: u64,
        changes: &[Change],
        shard_positions: Option<&[u64]>,
    ) -> Result<(), Location> {
        let hashes: Vec<u64> = changes.iter().map(|change| change.hash).collect();
        self.index.prefetch_to_change(&hashes);
        let mut live = 0_u64;
        // There are few segments: a list is faster than a map.
        let mut dead: Vec<(u64, u64)> = Vec::new();
        for change in changes {
            live += u64::from(change.live);
            if change.dead > 0 {
                let place = change.previous.position() / table.segment_bytes();
                match dead.iter_mut().find(|(known, _)| *known == place) {
                    Some((_, bytes)) => *bytes += u64::from(change.dead),
                    None => dead.push((place, u64::from(change.dead))),
                }
            }
            if shard_positions
                .is_some_and(|known| position < known[self.index.shard_of(change.hash)])
            {
                // The checkpoint's copy of this shard contains the record.
                continue;
            }
            let location = Location::from_position(position + change.offset);
            let found = if change.forgets {
                self.index.remove(change.hash, change.previous)
            } else if change.previous.is_none() {
                self.index.insert(change.hash, location);
                true
            } else {
                self.index.replace(change.hash, change.previous, location)
            };
            if !found {
                return Err(change.previous);
            }
        }
        if let Some((segment, _)) = table.at(Location::from_position(position)) {
            segment.add_live(live);
        }
        for (place, bytes) in dead {
            let location = Location::from_position(place * table.segment_bytes());
            if let Some((segment, _)) = table.at(location) {
                segment.subtract_live(bytes);
            }
        }
        Ok(())
    }
}

fn apply_to_chain(table: &SegmentTable, chain: &mut Chain, position: u64, change: &ChainChange) {
    match *change {
        ChainChange::Payload {
            number,
            previous,
            offset,
            bytes,
        } => {
            let location = Location::from_position(position + offset);
            let known = chain.payloads.get(&number).map(|place| place.location);
            if !previous.is_none() && known != Some(previous) {
                // It was moved, but is no longer kept.
                return;
            }
            let place = PayloadLocation { location, bytes };
            if let Some(old) = chain.payloads.insert(number, place) {
                forget_payload(table, &old);
            }
            if let Some((segment, _)) = table.at(location) {
                segment.add_live(bytes);
            }
        }
        ChainChange::Ancestor { number, hash } => {
            chain.hashes.insert(number, hash);
        }
    }
}

fn forget_payload(table: &SegmentTable, place: &PayloadLocation) {
    if let Some((segment, _)) = table.at(place.location) {
        segment.subtract_live(place.bytes);
    }
}
