//! What a task locks.

use lockweave_runtime::{AccessMode, KeyAccess, KeyId};

/// What a task locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// These keys, each at most once, in any order.
    Keys(&'a [KeyAccess]),
    /// The whole state: the task runs alone.
    Everything,
}

impl Access<'_> {
    /// The mode in which `key` is held, if it is.
    pub fn mode(&self, key: KeyId) -> Option<AccessMode> {
        match self {
            Self::Everything => Some(AccessMode::Write),
            Self::Keys(keys) => keys
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.mode),
        }
    }

    /// Whether it allows `mode` on `key`.
    pub fn allows(&self, key: KeyId, mode: AccessMode) -> bool {
        self.mode(key).is_some_and(|held| held.allows(mode))
    }
}
