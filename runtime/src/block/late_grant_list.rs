//! The keys that running transactions got beyond their sets.

use crate::model::{AccessMode, KeyId, StateKey, TaskId};
use ahash::AHashMap;
use parking_lot::Mutex;
use std::sync::atomic::AtomicUsize;

/// Who got which keys beyond its set.
#[derive(Debug, Default)]
pub(crate) struct LateGrants {
    pub(super) listed: Mutex<Listed>,
    /// How many are listed: most blocks have none, and nobody has to look.
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
