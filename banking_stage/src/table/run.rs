//! Runs tasks over a table: the table's own workload.
//!
//! The workload owns the table for the length of the run, and its type is private to this file. So the
//! cells are reached through the grants of that one run and through nothing else.

use super::{
    cells::TableCells,
    cells::TableTask,
    declare::Declare,
    values::{Table, TableKey, TableValue},
};
use crate::{
    lock_table::Access,
    scheduler::RunStats,
    stage::{BankingStage, Grant, StageError, Workload},
};
use lockweave_runtime::{DenseId, KeyAccess, TaskId};
use std::sync::OnceLock;

/// What a run over a table returns.
pub type TableResult<E> = Result<RunStats, StageError<E>>;

impl BankingStage {
    /// Runs tasks over a table and gives the table back, as if they had run one after another.
    ///
    /// On an error the effects of tasks are not undone: see [`run`](Self::run) for which tasks have
    /// run by then.
    ///
    /// ```
    /// use lockweave_banking_stage::{
    ///     BankingStage, Declare, StageConfig, Table, TableCells, TableTask, Undeclared,
    /// };
    ///
    /// /// Moves money as far as there is any.
    /// struct Transfer { from: &'static str, to: &'static str, amount: u64 }
    ///
    /// impl TableTask<&'static str, u64> for Transfer {
    ///     type Error = Undeclared<&'static str>;
    ///
    ///     fn access(&self, declare: &mut Declare<'_, &'static str>) {
    ///         declare.write(&self.from).write(&self.to);
    ///     }
    ///
    ///     fn run(&self, cells: &mut TableCells<'_, &'static str, u64>) -> Result<(), Self::Error> {
    ///         let from = cells.write(&self.from)?;
    ///         let amount = self.amount.min(*from);
    ///         *from -= amount;
    ///         *cells.write(&self.to)? += amount;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let stage = BankingStage::new(StageConfig::default())?;
    /// let table = Table::from_iter([("alice", 100)]);
    /// let (mut table, result) = stage.run_table(table, vec![
    ///     Transfer { from: "alice", to: "bob", amount: 70 },
    ///     Transfer { from: "alice", to: "carol", amount: 70 },
    /// ]);
    /// result?;
    /// assert_eq!(table.get(&"bob"), Some(&70));
    /// assert_eq!(table.get(&"carol"), Some(&30));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_table<K: TableKey, V: TableValue, T: TableTask<K, V>>(
        &self,
        table: Table<K, V>,
        tasks: Vec<T>,
    ) -> (Table<K, V>, TableResult<T::Error>) {
        let accesses = tasks.iter().map(|_| OnceLock::new()).collect();
        let (workload, result) = self.run(TableRun {
            table,
            tasks,
            accesses,
        });
        (workload.table, result)
    }
}

type Declared = Option<Box<[KeyAccess]>>;

struct TableRun<K, V, T> {
    table: Table<K, V>,
    tasks: Vec<T>,
    /// By task: the prepared access; `None` inside stands for everything.
    accesses: Box<[OnceLock<Declared>]>,
}

impl<K: TableKey, V: TableValue, T: TableTask<K, V>> Workload for TableRun<K, V, T> {
    type Worker = ();
    type Error = T::Error;

    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn enter(&self, _worker: usize) {}

    fn prepare(&self, _worker: &mut (), task: TaskId) -> Result<(), T::Error> {
        let id = |key: &K| self.table.id(key);
        let mut declare = Declare::new(&id);
        self.tasks[task.index()].access(&mut declare);
        let prepared = self.accesses[task.index()].set(declare.finish());
        debug_assert!(prepared.is_ok(), "{task:?} was prepared twice");
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        let access = self.accesses[task.index()].get();
        match access.expect("the stage calls it for prepared tasks only") {
            Some(keys) => Access::Keys(keys),
            None => Access::Everything,
        }
    }

    fn cost(&self, task: TaskId) -> u64 {
        self.tasks[task.index()].cost()
    }

    // The one place that connects a grant with its cells.
    #[allow(unsafe_code)]
    fn execute(&self, _worker: &mut (), grant: &Grant<'_>) -> Result<(), T::Error> {
        // SAFETY: the keys of the grant are those that `prepare` got from this table. Nothing else reaches
        // its cells: this workload owns the table, `run_table` moved it in, this type is private to the
        // file, and only the stage calls `execute`, once for every grant.
        let mut cells = unsafe { TableCells::new(&self.table, grant) };
        self.tasks[grant.task().index()].run(&mut cells)
    }
}
