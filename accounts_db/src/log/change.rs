//! What entries change in the index, in the counts of live bytes and in the chain.

use super::{
    entry::{self, Body, Entry},
    key::KeyHasher,
    location::Location,
};
use alloy_primitives::B256;

/// What an entry changes in the index and in the counts of live bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) hash: u64,
    pub(crate) previous: Location,
    /// Offset of the entry in its record, in bytes.
    pub(crate) offset: u64,
    /// Live bytes that the entry adds to its segment.
    pub(crate) live: u32,
    /// Live bytes that the previous version's segment loses.
    pub(crate) dead: u32,
    pub(crate) forgets: bool,
}

impl Change {
    /// The change of an entry at `offset` of its record; `None` if the entry is not in the index.
    pub(crate) fn of(hasher: &KeyHasher, entry: &Entry, offset: u64) -> Option<Self> {
        let hash = entry::index_hash(hasher, &entry.body)?;
        let (live, dead) = match &entry.body {
            Body::Value { value, before, .. } => {
                let before = before.as_ref().unwrap_or(value);
                (value.live_bytes(), before.live_bytes())
            }
            Body::Code { .. } => (entry.bytes, entry.bytes),
            Body::Drop { .. } | Body::Payload { .. } | Body::Ancestor { .. } => (0, 0),
        };
        let weight = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX);
        Some(Self {
            hash,
            previous: entry.previous,
            offset,
            live: weight(live),
            dead: if entry.previous.is_none() {
                0
            } else {
                weight(dead)
            },
            forgets: matches!(entry.body, Body::Drop { .. }),
        })
    }
}

/// What an entry changes in the chain.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ChainChange {
    Payload {
        number: u64,
        previous: Location,
        offset: u64,
        bytes: u64,
    },
    Ancestor {
        number: u64,
        hash: B256,
    },
}

impl ChainChange {
    /// Offset of its entry; 0 for an ancestor, whose offset is not used.
    pub(crate) const fn offset(&self) -> u64 {
        match self {
            Self::Payload { offset, .. } => *offset,
            Self::Ancestor { .. } => 0,
        }
    }

    /// The same change, with its entry moved in the record.
    pub(crate) const fn moved(mut self, later: u64, earlier: u64) -> Self {
        if let Self::Payload { offset, .. } = &mut self {
            *offset = *offset - earlier + later;
        }
        self
    }

    pub(crate) fn of(entry: &Entry, offset: u64) -> Option<Self> {
        match entry.body {
            Body::Payload { number, .. } => Some(Self::Payload {
                number,
                previous: entry.previous,
                offset,
                bytes: entry.bytes,
            }),
            Body::Ancestor { number, hash } => Some(Self::Ancestor { number, hash }),
            _ => None,
        }
    }
}
