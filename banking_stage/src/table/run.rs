//! Running tasks over a table: the table's own workload.
//!
//! The workload owns the table for the length of the run and is known to this file only. So the
//! cells can be reached through the grants of that one run, and through nothing else.

use crate::{
    lock_table::Access,
    scheduler::stats::RunStats,
    stage::error::StageError,
    stage::grant::{Grant, GrantedCells},
    stage::threads::BankingStage,
    stage::workload::Workload,
    table::values::{Declare, Table, TableKey, TableTask, TableValue, Undeclared},
};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, TaskId};
use std::{fmt, sync::OnceLock};

/// What a run over a table returns.
pub type TableResult<E> = Result<RunStats, StageError<E>>;

impl BankingStage {
    /// Runs tasks over a table and gives the table back, as if they had run one after another.
    ///
    /// On an error the effects of tasks are not undone: see [`run`](Self::run) for which tasks were
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

/// A table and the tasks that run over it.
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
        match access.expect("the stage asks for prepared tasks only") {
            Some(keys) => Access::Keys(keys),
            None => Access::Everything,
        }
    }

    fn cost(&self, task: TaskId) -> u64 {
        self.tasks[task.index()].cost()
    }

    // The one call that says which cells a grant is about.
    #[allow(unsafe_code)]
    fn execute(&self, _worker: &mut (), grant: &Grant<'_>) -> Result<(), T::Error> {
        // SAFETY: the keys of the grant are what `prepare` got from this table, whose cells are
        // reached by nobody else: this workload owns it, `run_table` moved it in, this type is
        // private to the file, and only the stage calls `execute`, once for every grant.
        let cells = unsafe { GrantedCells::new(grant, self.table.cells()) };
        self.tasks[grant.task().index()].run(&mut TableCells {
            table: &self.table,
            cells,
            task: grant.task(),
        })
    }
}

/// The values that a running task may use: those it declared, in the modes it declared.
pub struct TableCells<'a, K, V> {
    table: &'a Table<K, V>,
    cells: GrantedCells<'a, V>,
    task: TaskId,
}

impl<K: TableKey, V: TableValue> TableCells<'_, K, V> {
    /// The position of the task in the run.
    pub const fn task(&self) -> TaskId {
        self.task
    }

    /// The value of `key`, declared for reading or writing.
    pub fn read(&self, key: &K) -> Result<&V, Undeclared<K>> {
        self.share(key, AccessMode::Read)
    }

    /// The value of `key`, declared for credits or writing, to be added to through a shared
    /// reference: an atomic counter, or another value whose additions commute.
    pub fn credit(&self, key: &K) -> Result<&V, Undeclared<K>> {
        self.share(key, AccessMode::Credit)
    }

    /// The value of `key`, declared for writing, to be changed.
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

    /// A task that holds everything holds keys, too, that nobody has named before.
    fn id(&self, key: &K, mode: AccessMode) -> Result<lockweave_runtime::KeyId, Undeclared<K>> {
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

impl<K, V> fmt::Debug for TableCells<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableCells")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "tests.rs"]
mod tests;
