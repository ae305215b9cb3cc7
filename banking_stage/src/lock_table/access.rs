//! What a task locks.

use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId};

/// What a task locks.
#[derive(Debug, PartialEq, Eq)]
pub enum Access<'a, K = KeyId> {
    /// These keys, each at most once, in any order.
    Keys(&'a [KeyAccess<K>]),
    /// The whole state: the task runs alone.
    Everything,
}

// By hand: a derive would require `K: Copy`, although only a reference is copied.
impl<K> Clone for Access<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Access<'_, K> {}

impl<K: DenseId> Access<'_, K> {
    /// The mode in which `key` is held, if it is.
    pub fn mode(&self, key: K) -> Option<AccessMode> {
        match self {
            Self::Everything => Some(AccessMode::Write),
            Self::Keys(keys) => keys
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.mode),
        }
    }

    /// Whether it allows `mode` on `key`.
    pub fn allows(&self, key: K, mode: AccessMode) -> bool {
        self.mode(key).is_some_and(|held| held.allows(mode))
    }
}
