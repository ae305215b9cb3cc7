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
pub(crate) enum Grant {
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
    pub(crate) fn of<T>(block: &OpenBlock<T>, task: TaskId) -> Self {
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
pub(crate) struct GrantedKeys {
    entries: NonNull<[AccessEntry]>,
    /// As long as `entries`.
    keys: NonNull<[KeyAccess]>,
}

impl GrantedKeys {
    /// # Safety
    ///
    /// The block of both lives, and what its transactions hold does not change.
    #[inline]
    pub(crate) const unsafe fn lists<'a>(self) -> (&'a [AccessEntry], &'a [KeyAccess]) {
        // SAFETY: as of this function.
        unsafe { (self.entries.as_ref(), self.keys.as_ref()) }
    }
}
