//! The values that a running task may use.

use super::{
    declare::{Declare, Undeclared},
    values::{Table, TableKey, TableValue},
};
use crate::stage::{GrantedCells, TASK_COST_DEFAULT};
use lockweave_runtime::{AccessMode, KeyId, TaskId};

/// The values that a running task may use: those it declared, in the modes it declared.
#[derive(derive_more::Debug)]
#[debug("TableCells {{ task: {task} }}")]
pub struct TableCells<'a, K, V> {
    table: &'a Table<K, V>,
    cells: GrantedCells<'a, V>,
    task: TaskId,
}

impl<'a, K: TableKey, V: TableValue> TableCells<'a, K, V> {
    /// `cells` are those of `table`.
    pub(super) const fn new(
        table: &'a Table<K, V>,
        cells: GrantedCells<'a, V>,
        task: TaskId,
    ) -> Self {
        Self { table, cells, task }
    }

    /// The position of the task in the run.
    pub const fn task(&self) -> TaskId {
        self.task
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
        let mode = AccessMode::Write;
        let id = self.id(key, mode)?;
        self.cells
            .exclusive(id)
            .ok_or_else(|| undeclared(key, mode))
    }

    fn share(&self, key: &K, mode: AccessMode) -> Result<&V, Undeclared<K>> {
        let id = self.id(key, mode)?;
        self.cells
            .share(id, mode)
            .ok_or_else(|| undeclared(key, mode))
    }

    /// A task that holds everything also holds keys that no task has named before.
    fn id(&self, key: &K, mode: AccessMode) -> Result<KeyId, Undeclared<K>> {
        match self.table.find(key) {
            Some(id) => Ok(id),
            None if self.cells.holds_everything() => Ok(self.table.id(key)),
            None => Err(undeclared(key, mode)),
        }
    }
}

fn undeclared<K: TableKey>(key: &K, mode: AccessMode) -> Undeclared<K> {
    let key = key.clone();
    Undeclared { key, mode }
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
