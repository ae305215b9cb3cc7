//! Code and payloads: entries with a blob, read whole.

use crate::{
    error::ReadError,
    log::{
        Key, Location, Segment, SegmentTable,
        entry::{self, Body},
    },
    shared::Core,
};
use alloy_primitives::{B256, Bytes};
use lockweave_runtime::Code;
use std::sync::Arc;

impl Core {
    /// The payload of a block, if it is kept.
    pub(crate) fn payload(&self, number: u64) -> Result<Option<Bytes>, ReadError> {
        loop {
            let payload = self.chain.read().payloads.get(&number).copied();
            let Some(payload) = payload else {
                return Ok(None);
            };
            let is_wanted = |body: &Body| matches!(body, Body::Payload { number: found, .. } if *found == number);
            match self.blob_at(&self.segments(), payload.location, is_wanted)? {
                Some(bytes) => return Ok(Some(bytes)),
                // Compaction moved it, and its old segment was freed in between.
                None if self.chain.read().payloads.get(&number) != Some(&payload) => {}
                None => return Err(self.missing_segment(payload.location)),
            }
        }
    }

    /// Code by its hash.
    pub(crate) fn code(
        &self,
        table: &SegmentTable,
        hash: B256,
    ) -> Result<Option<Arc<Code>>, ReadError> {
        let key = Key::Code(hash);
        let index_hash = self.hasher.hash(&key);
        loop {
            let Some((location, _)) = self.find(table, index_hash, &key)? else {
                return Ok(None);
            };
            let is_wanted =
                |body: &Body| matches!(body, Body::Code { hash: found, .. } if *found == hash);
            // `None`: compaction moved it, and its old segment was freed in between.
            if let Some(code) = self.blob_at(table, location, is_wanted)? {
                return Ok(Some(Arc::new(Code::with_hash(hash, code))));
            }
        }
    }

    /// The blob of the entry at a location; `None` if compaction has freed its segment.
    fn blob_at(
        &self,
        table: &SegmentTable,
        location: Location,
        is_wanted: impl Fn(&Body) -> bool,
    ) -> Result<Option<Bytes>, ReadError> {
        let read = |segment: &Segment, offset| {
            let bytes = segment.read_entry(offset)?;
            let entry = entry::parse_fixed(&bytes).map_err(|what| segment.damage(offset, what))?;
            if !is_wanted(&entry.body) {
                return Err(segment.damage(offset, "the entry is not the expected blob"));
            }
            Ok(Bytes::from(bytes).slice(entry::blob_range(&entry.body)))
        };
        self.with_segment(table, location, read).transpose()
    }
}
