//! The way that most lookups take, and many of them at once.
//!
//! A lookup waits for memory twice: for the key's slot in the index, and for its entry in the log. The
//! quick way makes sure that nothing but these two is waited for. Where many keys are looked up, all
//! slots and then all entries are asked for before the first of them is needed, so that the waiting is
//! done side by side.

use crate::{
    error::ReadError,
    log::entry::{Body, Value},
    log::key::Key,
    log::location::Location,
    log::segment::SegmentTable,
    shared::core::Core,
};

/// What the quick way tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Quick {
    /// The key was never written, or was removed and forgotten.
    Absent,
    /// Its newest version and where it is.
    Found(Location, Value),
    /// [`Core::find`] must be asked: two keys share a fingerprint, a segment is new or gone, the log is
    /// not mapped, or the entry is damaged.
    Unknown,
}

impl Core {
    /// The newest version of a key, where nothing is out of the ordinary.
    #[inline]
    pub(crate) fn find_quickly(&self, table: &SegmentTable, hash: u64, key: &Key) -> Quick {
        let Some(location) = self.index.first_candidate(hash) else {
            return Quick::Absent;
        };
        let value =
            (table.at(location)).and_then(|(segment, offset)| segment.mapped_value(offset, key));
        value.map_or(Quick::Unknown, |value| Quick::Found(location, value))
    }

    /// The newest version of a key that has versions, and where it is.
    pub(crate) fn find_value(
        &self,
        table: &SegmentTable,
        hash: u64,
        key: &Key,
    ) -> Result<Option<(Location, Value)>, ReadError> {
        match self.find_quickly(table, hash, key) {
            Quick::Absent => Ok(None),
            Quick::Found(location, value) => Ok(Some((location, value))),
            Quick::Unknown => {
                let found = self.find(table, hash, key)?;
                Ok(found.and_then(|(location, entry)| match entry.body {
                    Body::Value { value, .. } => Some((location, value)),
                    _ => None,
                }))
            }
        }
    }

    /// Brings what lookups of these hashes will read near.
    pub(crate) fn bring_near(&self, table: &SegmentTable, hashes: &[u64]) {
        self.index.bring_near(hashes);
        for hash in hashes {
            if let Some(location) = self.index.first_candidate(*hash)
                && let Some((segment, offset)) = table.at(location)
            {
                segment.bring_near(offset);
            }
        }
    }
}
