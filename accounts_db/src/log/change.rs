//! What entries do to the index, to the counts of what is alive and to the chain.

use super::{
    entry::{self, Body, Entry, Value},
    key::KeyHasher,
    location::Location,
};
use alloy_primitives::B256;

/// What an entry does to the index and to the counts of what is alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) hash: u64,
    pub(crate) previous: Location,
    /// Offset of the entry in its record, in bytes.
    pub(crate) offset: u64,
    /// Bytes alive that the entry adds to its segment.
    pub(crate) live: u32,
    /// Bytes alive that its previous version's segment loses.
    pub(crate) dead: u32,
    pub(crate) forgets: bool,
}

impl Change {
    /// The same behind so many bytes more of the record.
    pub(crate) const fn behind(mut self, bytes: u64) -> Self {
        self.offset += bytes;
        self
    }

    /// What an entry does, `offset` bytes into its record; `None` if it is not in the index.
    pub(crate) fn of(hasher: &KeyHasher, entry: &Entry, offset: u64) -> Option<Self> {
        let hash = entry::index_hash(hasher, &entry.body)?;
        let (live, dead) = match &entry.body {
            Body::Value { value, before, .. } => {
                let before = before.as_ref().unwrap_or(value);
                let weigh = |value: &Value| {
                    if value.is_tombstone() {
                        0
                    } else {
                        value.move_bytes()
                    }
                };
                (weigh(value), weigh(before))
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

/// What entries do to the chain rather than to the index.
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
    /// Offset of its entry; nobody asks for an ancestor's.
    pub(crate) const fn offset(&self) -> u64 {
        match self {
            Self::Payload { offset, .. } => *offset,
            Self::Ancestor { .. } => 0,
        }
    }

    /// The same so many bytes later and so many bytes earlier in the record.
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
