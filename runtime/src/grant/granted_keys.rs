//! The keys granted to a transaction.

// A set is reached by pointers into the block that the grant view holds.
#![allow(unsafe_code)]

use crate::{
    block::OpenBlock,
    model::{AccessEntry, AccessSet, KeyAccess, TaskId},
};
use std::ptr::NonNull;

/// What is granted to a view.
#[derive(Clone, Copy, Default)]
pub(super) enum Grant {
    #[default]
    Nothing,
    Keys(GrantedKeys),
    /// Of everything.
    Everything,
    /// Of everything, in a block that runs sequentially, without cells.
    Sequential,
}

impl Grant {
    /// That of a task's set.
    pub(super) fn of<T>(block: &OpenBlock<T>, task: TaskId) -> Self {
        let AccessSet::Keys(entries) = block.access(task) else {
            return Self::Everything;
        };
        block.resolved(task).map_or(Self::Nothing, |keys| {
            Self::Keys(GrantedKeys {
                entries: NonNull::from_ref(entries.as_slice()),
                keys: NonNull::from_ref(keys),
            })
        })
    }
}

/// A set with its dense ids, inside the block that the grant view holds.
///
/// Asked for at every access, so it is looked up once.
#[derive(Clone, Copy)]
pub(super) struct GrantedKeys {
    entries: NonNull<[AccessEntry]>,
    /// As long as `entries`.
    keys: NonNull<[KeyAccess]>,
}

impl GrantedKeys {
    /// The two lists. `block` is the one that they are of.
    #[inline]
    pub(super) const fn lists<T>(self, _block: &OpenBlock<T>) -> (&[AccessEntry], &[KeyAccess]) {
        // SAFETY: `Grant::of` made the pointers from this block, which a view holds as long as it has its
        // grants. Sets change only through `&mut OpenBlock`, which no thread has while the block is borrowed.
        unsafe { (self.entries.as_ref(), self.keys.as_ref()) }
    }
}
