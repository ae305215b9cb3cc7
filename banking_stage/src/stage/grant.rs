//! Grants: the proof that a task's locks are held, and what it permits.

// Turns a grant into references to cells.
#![allow(unsafe_code)]

use crate::lock_table::Access;
use lockweave_runtime::{AccessMode, Cells, DenseId, KeyId, TaskId};
use std::ptr;

/// The locks of one task, all granted, for as long as it runs.
///
/// Only the stage makes one: after the lock table has granted everything, or where the workload states
/// that the task [conflicts with no other](crate::Workload::is_free). It cannot be copied or kept:
/// [`Workload::execute`](crate::Workload::execute) borrows it, and the locks are released after that
/// returns.
///
/// A grant does not say *which* cells its keys number; code that combines the two has to ensure that.
/// Such code keeps its workload type private and the cells inside it, as
/// [`BankingStage::run_table`](crate::BankingStage::run_table) does.
#[derive(Debug)]
pub struct Grant<'a> {
    task: TaskId,
    access: Access<'a>,
}

impl<'a> Grant<'a> {
    /// Called by the stage only, between the last grant and the release, or for a free task.
    pub(crate) const fn new(task: TaskId, access: Access<'a>) -> Self {
        Self { task, access }
    }

    /// The task that holds the locks.
    pub const fn task(&self) -> TaskId {
        self.task
    }

    /// The locks.
    pub const fn access(&self) -> Access<'a> {
        self.access
    }
}

/// The cells of an arena that a grant permits to use.
///
/// In builds with debug assertions, the grant is noted in the cells while this lives, so that a
/// broken lock table is detected where it does harm.
pub(crate) struct GrantedCells<'a, V> {
    grant: &'a Grant<'a>,
    cells: &'a Cells<V>,
}

impl<'a, V> GrantedCells<'a, V> {
    /// Opens the cells to the holder of a grant.
    ///
    /// # Safety
    ///
    /// For the life of the result,
    ///
    /// * the keys of `grant` are ids of `cells`, and
    /// * `cells` is used by holders of grants of the same run only, one `GrantedCells` per grant.
    pub(crate) unsafe fn new(grant: &'a Grant<'a>, cells: &'a Cells<V>) -> Self {
        if let Access::Keys(keys) = grant.access {
            for entry in keys {
                cells.note_grant(entry.key, entry.mode);
            }
        }
        Self { grant, cells }
    }

    /// Whether the grant is one for the whole state.
    pub(crate) const fn holds_everything(&self) -> bool {
        matches!(self.grant.access, Access::Everything)
    }

    /// A cell that may be used in the shared mode `mode` (read or credit), or `None` if the grant does
    /// not allow it. `id` was pushed to these cells.
    pub(crate) fn share(&self, id: KeyId, mode: AccessMode) -> Option<&V> {
        debug_assert_ne!(mode, AccessMode::Write);
        assert!(id.index() < self.cells.len(), "{id:?} is not of this arena");
        if !self.grant.access.allows(id, mode) {
            return None;
        }
        // SAFETY: the grant allows `mode`, a shared mode, so by the lock table no other grant of
        // this run allows a write while this one lives, and by the contract of `new` nothing else
        // uses the cells. This holder writes through `&mut self` only, which cannot overlap with
        // the reference returned. The arena never moves a cell, so the reference may outlive the
        // call of `read`. The id was read from the interner, whose lock orders memory.
        unsafe { Some(&*self.cells.read(id, ptr::from_ref)) }
    }

    /// A cell that may be changed, or `None` if the grant does not allow it. `id` was pushed to these
    /// cells.
    pub(crate) fn exclusive(&mut self, id: KeyId) -> Option<&mut V> {
        assert!(id.index() < self.cells.len(), "{id:?} is not of this arena");
        if !self.grant.access.allows(id, AccessMode::Write) {
            return None;
        }
        // SAFETY: the grant allows writing, so by the lock table no other grant of this run allows
        // anything on this cell while this one lives, and by the contract of `new` nothing else uses
        // the cells. `&mut self` rules out other references through this holder. The arena never
        // moves a cell, so the reference may outlive the call of `write`.
        unsafe { Some(&mut *self.cells.write(id, ptr::from_mut)) }
    }
}

impl<V> Drop for GrantedCells<'_, V> {
    fn drop(&mut self) {
        if let Access::Keys(keys) = self.grant.access {
            for entry in keys {
                self.cells.note_release(entry.key, entry.mode);
            }
        }
    }
}
