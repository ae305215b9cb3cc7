//! The keys that running transactions got beyond their sets.

use crate::model::{AccessMode, KeyId, StateKey, TaskId};
use ahash::AHashMap;
use parking_lot::Mutex;
use std::sync::atomic::AtomicUsize;

/// The late grants of a block.
#[derive(Debug, Default)]
pub(crate) struct LateGrants {
    pub(super) listed: Mutex<Listed>,
    /// How many are listed. Most blocks have none, and then no transaction takes the lock.
    pub(super) count: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) holders: AHashMap<KeyId, Vec<Holder>>,
    pub(super) looks: usize,
}

/// A transaction that got a key.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) task: TaskId,
    pub(super) key: StateKey,
    pub(super) mode: AccessMode,
    pub(super) is_running: bool,
}
