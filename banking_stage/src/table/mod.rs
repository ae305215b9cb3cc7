//! An embedder's own keys and values, without an EVM.
//!
//! An embedder names the keys that a task uses and writes what it does;
//! [`BankingStage::run_table`](crate::BankingStage::run_table) does the rest.
//!
//! Files, each using only those below it:
//!
//! * `run`: the workload over a table;
//! * `task`: [`TableTask`];
//! * `cells`: [`TableCells`], the values that a running task may use;
//! * `declare`: [`Declare`], which collects the keys of a task;
//! * `values`: [`Table`].

mod cells;
mod declare;
mod run;
mod task;
mod values;

pub use cells::TableCells;
pub use declare::{Declare, Undeclared};
pub use run::TableResult;
pub use task::TableTask;
pub use values::{Table, TableKey, TableValue};

#[cfg(all(test, not(loom)))]
mod tests;
