//! Lookups of keys, one or many at a time.
//!
//! A lookup waits for memory twice: for the key's slot in the index, and for its entry in the log.
//! The fast path waits for nothing else. For many keys, all slots and then all entries are
//! prefetched before the first is needed, so that the waits overlap.

use crate::{
    error::ReadError,
    log::{
        Key, Location, Segment, SegmentTable,
        entry::{self, Body, Entry, FIXED_BYTES_MAX, Value},
    },
    shared::Core,
};

/// The result of the fast path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FastLookup {
    /// The key was never written, or was removed and its tombstone dropped.
    Absent,
    /// Location and value of the newest version.
    Found(Location, Value),
    /// The fast path does not apply, so [`Core::find`] decides: two keys share a fingerprint, a
    /// segment is new or freed, the log is not mapped, or the entry is damaged.
    Unknown,
}

impl Core {
    /// The newest version of a key, by the fast path.
    #[inline]
    pub(crate) fn find_fast(&self, table: &SegmentTable, hash: u64, key: &Key) -> FastLookup {
        let Some(location) = self.index.first_candidate(hash) else {
            return FastLookup::Absent;
        };
        let value =
            (table.at(location)).and_then(|(segment, offset)| segment.mapped_value(offset, key));
        value.map_or(FastLookup::Unknown, |value| {
            FastLookup::Found(location, value)
        })
    }

    /// Location and value of the newest version of an account or slot.
    pub(crate) fn find_value(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Value)>, ReadError> {
        match self.find_fast(table, hash, key) {
            FastLookup::Absent => Ok(None),
            FastLookup::Found(location, value) => Ok(Some((location, value))),
            FastLookup::Unknown => {
                let found = self.find(table, hash, key)?;
                Ok(found.and_then(|(location, entry)| match entry.body {
                    Body::Value { value, .. } => Some((location, value)),
                    _ => None,
                }))
            }
        }
    }

    /// Prefetches what lookups of these hashes read.
    pub(crate) fn prefetch_lookups(&self, table: &SegmentTable, hashes: &[u64]) {
        self.index.prefetch(hashes);
        for hash in hashes {
            if let Some(location) = self.index.first_candidate(*hash)
                && let Some((segment, offset)) = table.at(location)
            {
                segment.prefetch_entry(offset);
            }
        }
    }

    /// Reads an entry without its blob; `None` if compaction has freed its segment.
    pub(crate) fn entry_at(
        &self,
        table: &SegmentTable,
        location: Location,
    ) -> Result<Option<Entry>, ReadError> {
        let read = |segment: &Segment, offset| {
            let mut buffer = [0; FIXED_BYTES_MAX];
            let bytes = segment.read_fixed(&mut buffer, offset)?;
            entry::parse_fixed(bytes).map_err(|what| segment.damage(offset, what))
        };
        self.with_segment(table, location, read).transpose()
    }

    /// Location and entry of the newest version of a key.
    pub(crate) fn find(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Entry)>, ReadError> {
        let Some(first) = self.index.first_candidate(hash) else {
            return Ok(None);
        };
        if let Some(entry) = self.entry_at(table, first)?
            && is_version_of(&entry, key)
        {
            return Ok(Some((first, entry)));
        }
        // Another key has the same fingerprint, or the segment was freed meanwhile.
        self.find_among_candidates(table, hash, key)
    }

    #[cold]
    fn find_among_candidates(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Entry)>, ReadError> {
        loop {
            let mut freed = false;
            for location in self.index.candidates(hash) {
                match self.entry_at(table, location)? {
                    Some(entry) if is_version_of(&entry, key) => {
                        return Ok(Some((location, entry)));
                    }
                    Some(_) => {}
                    // Live entries of a freed segment have moved, and the index has their new
                    // locations.
                    None if !self.index.contains(hash, location) => freed = true,
                    None => return Err(self.missing_segment(location)),
                }
            }
            if !freed {
                return Ok(None);
            }
        }
    }

    /// The value of a key at `horizon`, given its newest version; `None` if it was not written yet.
    #[inline]
    pub(crate) fn version_at(
        &self,
        table: &SegmentTable,
        horizon: Location,
        location: Location,
        entry: &Entry,
    ) -> Result<Option<Value>, ReadError> {
        let Body::Value { value, .. } = entry.body else {
            return Err(self.missing_segment(location));
        };
        if location < horizon {
            return Ok(Some(value));
        }
        self.older_version(table, horizon, entry)
    }

    #[cold]
    fn older_version(
        &self,
        table: &SegmentTable,
        horizon: Location,
        newest: &Entry,
    ) -> Result<Option<Value>, ReadError> {
        let mut entry = *newest;
        loop {
            let Body::Value { key, value, before } = entry.body else {
                return Err(self.missing_segment(entry.previous));
            };
            let previous = entry.previous;
            if previous.is_none() {
                return Ok(None);
            }
            if previous < horizon {
                // A moved entry has the value of its previous version.
                return Ok(Some(before.unwrap_or(value)));
            }
            // Written after the horizon, so its segment is kept for readers at the horizon.
            entry =
                (self.entry_at(table, previous)?).ok_or_else(|| self.missing_segment(previous))?;
            if !is_version_of(&entry, &key) || entry.previous >= previous {
                return Err(self.damage_at(previous, "a previous version is of another key"));
            }
        }
    }
}

/// Whether an entry is a version of this key.
#[inline]
pub(crate) fn is_version_of(entry: &Entry, key: &Key) -> bool {
    match (&entry.body, key) {
        (Body::Value { key: found, .. }, key) => found == key,
        (Body::Code { hash, .. }, Key::Code(wanted)) => hash == wanted,
        _ => false,
    }
}
