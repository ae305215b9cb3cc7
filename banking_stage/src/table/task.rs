//! A task over a table.

use super::{
    cells::TableCells,
    declare::Declare,
    values::{TableKey, TableValue},
};
use crate::stage::TASK_COST_DEFAULT;

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
