//! An embedder's own keys and values, without an EVM.
//!
//! An embedder names the keys that a task uses and writes what it does;
//! [`BankingStage::run_table`](crate::BankingStage::run_table) does the rest.
//!
//! Files, each using only those below it:
//!
//! * `run`: the workload over a table;
//! * `cells`: [`TableTask`], and [`TableCells`], the values that a running one may use;
//! * `declare`: [`Declare`], which collects the keys of a task;
//! * `values`: [`Table`].

mod cells;
mod declare;
mod run;
mod values;

pub use cells::TableCells;
pub use cells::TableTask;
pub use declare::{Declare, Undeclared};
pub use run::TableResult;
pub use values::{Table, TableKey, TableValue};

#[cfg(all(test, not(loom)))]
mod tests;
