//! The values that a running task may use.

// Turns a grant into references to cells.
#![allow(unsafe_code)]

use super::{
    declare::{Declare, Undeclared},
    values::{Table, TableKey, TableValue},
};
use crate::{
    lock_table::Access,
    stage::{Grant, TASK_COST_DEFAULT},
};
use lockweave_runtime::{AccessMode, KeyId, TaskId};
use std::ptr;

/// The values that a running task may use: those it declared, in the modes it declared.
///
/// In builds with debug assertions, the grant is noted in the cells while this lives, so that a broken lock
/// table is detected where it does harm.
#[derive(derive_more::Debug)]
#[debug("TableCells {{ task: {} }}", self.grant.task())]
pub struct TableCells<'a, K: TableKey, V: TableValue> {
    table: &'a Table<K, V>,
    grant: &'a Grant<'a>,
}

impl<'a, K: TableKey, V: TableValue> TableCells<'a, K, V> {
    /// Opens the cells of a table to the holder of a grant.
    ///
    /// # Safety
    ///
    /// For the life of the result,
    ///
    /// * the keys of `grant` are ids of the table's cells, and
    /// * these are used by holders of grants of the same run only, one `TableCells` per grant.
    pub(super) unsafe fn new(table: &'a Table<K, V>, grant: &'a Grant<'a>) -> Self {
        if let Access::Keys(keys) = grant.access() {
            for entry in keys {
                table.cells().note_grant(entry.key, entry.mode);
            }
        }
        Self { table, grant }
    }

    /// The position of the task in the run.
    pub const fn task(&self) -> TaskId {
        self.grant.task()
    }

    /// The value of `key`, declared for reading or writing.
    pub fn read(&self, key: &K) -> Result<&V, Undeclared<K>> {
        self.share(key, AccessMode::Read)
    }

    /// The value of `key`, declared for credits or writing, for adding through a shared
    /// reference: an atomic counter, or another value whose additions commute.
    pub fn credit(&self, key: &K) -> Result<&V, Undeclared<K>> {
        self.share(key, AccessMode::Credit)
    }

    /// The value of `key`, declared for writing.
    pub fn write(&mut self, key: &K) -> Result<&mut V, Undeclared<K>> {
        let id = self.id(key, AccessMode::Write)?;
        // SAFETY: the grant allows writing, so by the lock table no other grant of this run allows
        // anything on this cell while this one lives, and by the contract of `new` nothing else uses
        // the cells. `&mut self` rules out other references through this holder. The arena never
        // moves a cell, so the reference may outlive the call of `write`.
        unsafe { Ok(&mut *self.table.cells().write(id, ptr::from_mut)) }
    }

    fn share(&self, key: &K, mode: AccessMode) -> Result<&V, Undeclared<K>> {
        let id = self.id(key, mode)?;
        // SAFETY: the grant allows `mode`, a shared mode, so by the lock table no other grant of
        // this run allows a write while this one lives, and by the contract of `new` nothing else
        // uses the cells. This holder writes through `&mut self` only, which cannot overlap with
        // the reference returned. The arena never moves a cell, so the reference may outlive the
        // call of `read`. The id was read from the interner, whose lock orders memory.
        unsafe { Ok(&*self.table.cells().read(id, ptr::from_ref)) }
    }

    /// The id of a key, if the grant allows this mode. A task that holds everything also holds keys that no
    /// task has named before.
    fn id(&self, key: &K, mode: AccessMode) -> Result<KeyId, Undeclared<K>> {
        let access = self.grant.access();
        let id = match access {
            Access::Everything => Some(self.table.id(key)),
            Access::Keys(_) => self.table.find(key),
        };
        id.filter(|id| access.allows(*id, mode))
            .ok_or_else(|| Undeclared {
                key: key.clone(),
                mode,
            })
    }
}

impl<K: TableKey, V: TableValue> Drop for TableCells<'_, K, V> {
    fn drop(&mut self) {
        if let Access::Keys(keys) = self.grant.access() {
            for entry in keys {
                self.table.cells().note_release(entry.key, entry.mode);
            }
        }
    }
}

/// A task over a table.
pub trait TableTask<K: TableKey, V: TableValue>: Send + Sync + 'static {
    /// Why a task fails. To use `?` on [`TableCells`], implement `From<Undeclared<K>>` for it.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Names all keys that the task will use.
    fn access(&self, declare: &mut Declare<'_, K>);

    /// Runs the task. An error stops the whole run; effects on the table are not undone.
    fn run(&self, cells: &mut TableCells<'_, K, V>) -> Result<(), Self::Error>;

    /// Roughly what the task costs. 300,000 units stand for some 100 µs, several times the cost of a
    /// hand-over between threads.
    fn cost(&self) -> u64 {
        TASK_COST_DEFAULT
    }
}
