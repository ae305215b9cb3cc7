//! What a task over a table declares.

use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId};
use std::fmt;
use thiserror::Error;

/// Collects what a task declares. A key may be named several times; it is held in the weakest mode
/// that allows all of them.
#[derive(derive_more::Debug)]
#[debug("Declare {{ keys: {keys:?}, everything: {everything} }}")]
pub struct Declare<'a, K> {
    id: &'a dyn Fn(&K) -> KeyId,
    keys: Vec<KeyAccess>,
    everything: bool,
}

impl<'a, K> Declare<'a, K> {
    pub(crate) fn new(id: &'a dyn Fn(&K) -> KeyId) -> Self {
        Self {
            id,
            keys: Vec::new(),
            everything: false,
        }
    }

    /// Names a key.
    pub fn key(&mut self, key: &K, mode: AccessMode) -> &mut Self {
        let key = (self.id)(key);
        self.keys.push(KeyAccess { key, mode });
        self
    }

    /// The task will read the value of `key`.
    pub fn read(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Read)
    }

    /// The task will change the value of `key`.
    pub fn write(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Write)
    }

    /// The task will add to the value of `key` without reading it; several tasks may do so at once.
    pub fn credit(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Credit)
    }

    /// The keys are unknown, or very many: the task runs alone, with every key.
    pub fn everything(&mut self) -> &mut Self {
        self.everything = true;
        self
    }

    /// Each key once, or `None` for everything.
    pub(crate) fn finish(mut self) -> Option<Box<[KeyAccess]>> {
        if self.everything {
            return None;
        }
        self.keys.sort_unstable_by_key(|entry| entry.key);
        self.keys.dedup_by(|next, kept| {
            let same = next.key == kept.key;
            if same {
                kept.mode = kept.mode.union(next.mode);
            }
            same
        });
        debug_assert!(
            self.keys
                .windows(2)
                .all(|pair| pair[0].key.index() < pair[1].key.index())
        );
        Some(self.keys.into_boxed_slice())
    }
}

/// A task used a key that it did not declare, or not in this mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no {mode} access to key {key:?} was declared; name it in the task's `access`")]
pub struct Undeclared<K: fmt::Debug> {
    /// The key.
    pub key: K,
    /// The mode in which the task used it.
    pub mode: AccessMode,
}
