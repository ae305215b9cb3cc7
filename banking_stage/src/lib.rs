//! Which transactions may run now, and on which worker.
//!
//! Every task states before it runs which keys it touches, and how. The [lock table](LockTable)
//! grants locks in block order; the [scheduler](Scheduler) feeds it and gives out what may run; the
//! [stage](BankingStage) has the worker threads. Whatever the number of workers, the result is that
//! of running the tasks one after another.
//!
//! | file | what |
//! | --- | --- |
//! | `lock_table` | per key a queue of requests; why nothing deadlocks and nobody starves |
//! | `scheduler`, `ready` | tasks in block order through a bounded window; a state machine |
//! | `workload` | what the stage runs, as a trait |
//! | `grant` | the proof that a task's locks are held |
//! | `stage` | threads that live as long as the stage, and the call that runs a workload |
//! | `core`, `run`, `worker`, `batch` | one run: decisions under the lock, waiting, the workers' loop |
//! | `numbering`, `block`, `seal` | the runtime's open block: its keys get ids, it runs, it is sealed |
//! | `inference`, `dependence` | what transactions touch that declare nothing, and whether they are a chain |
//! | `inferred`, `inferred_workload` | running them under sets that may be wrong |
//! | `mending`, `ahead` | what is done where they were: running alone, roll-back |
//! | `aside` | looking at long ones beside all else |
//! | `payments` | blocks of payments alone, without locks |
//! | `simulate` | the same decisions on virtual workers and a virtual clock (feature `simulation`) |
//! | `table`, `table_run` | an embedder's own keys and values, without an EVM |
//!
//! **What it does not know:** what a key stands for, what a value means, what a task does. It
//! touches threads and channels; never files, sockets or revm. The lock table and the scheduler do
//! not even know threads, so that a test can drive them through every order of events.
//!
//! **What it guarantees** to a workload that keeps its contract: serial equivalence for everything
//! reached through granted keys; an error that does not depend on timing; every wait ends; memory
//! bounded by the window and the workload; a panic in the workload fails the run and nothing else.

mod inferred;
pub mod lock_table;
mod locked;
#[cfg(feature = "simulation")]
pub mod model;
mod payments;
mod scheduler;
mod sequential;
mod stage;
mod table;

pub use inferred::run::{InferredResult, InferredStats, InferringWorker, execute_inferred_block};
pub use lock_table::{Access, LockTable};
pub use locked::block::{BlockResult, execute_block};
pub use locked::seal::seal_block;
pub use lockweave_runtime::KeyAccess;
pub use scheduler::state_machine::{Fed, Scheduler, SchedulerStats, WINDOW_DEFAULT};
pub use scheduler::stats::RunStats;
pub use stage::error::{StageError, StartError};
pub use stage::grant::Grant;
pub use stage::threads::{BankingStage, StageConfig, pin_thread};
pub use stage::workload::{TASK_COST_DEFAULT, Workload};
pub use table::run::{TableCells, TableResult};
pub use table::values::{Declare, Table, TableKey, TableTask, TableValue, Undeclared};
