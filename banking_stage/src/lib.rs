//! Decides which transactions may run now, and on which worker.
//!
//! Every task states before it runs which keys it accesses, and how. The [lock table](LockTable)
//! grants locks in block order; the [scheduler](Scheduler) feeds it and hands out what may run; the
//! [stage](BankingStage) has the worker threads. On any number of workers, the result is that of
//! running the tasks one after another.
//!
//! A block goes through [`execute_block`] if its access sets are known, else through
//! [`execute_inferred_block`]. Both collect facts about the block; `plan` chooses one of four [paths](Path).
//!
//! A folder or file uses only those below it in this list:
//!
//! | folder or file | what |
//! | --- | --- |
//! | `execute` | the two functions above: facts, plan, path |
//! | `inferred` | path: in parallel, under inferred sets, with repair where a set was wrong |
//! | `payments` | path: blocks of plain payments, without locks |
//! | `locked` | path: in parallel, under known sets; also numbering of keys, and sealing |
//! | `sequential` | path: one thread executes, helpers simulate what comes next |
//! | `block` | what all paths share |
//! | `table` | an embedder's own keys and values, without an EVM |
//! | `stage` | worker threads, and one run of a workload on them |
//! | `scheduler` | tasks in block order through a bounded window; a state machine |
//! | `lock_table` | a queue of requests per key; why nothing deadlocks or starves |
//! | `plan` | the four paths, and the function that chooses one |
//!
//! **What it does not know:** what a key stands for, what a value means, what a task does. It
//! touches threads and channels; never files, sockets or revm. The lock table and the scheduler do
//! not even know threads, so that a test can drive them through every order of events.
//!
//! **What it guarantees** to a workload that keeps its contract: serial equivalence for everything
//! reached through granted keys; an error that does not depend on timing; every wait ends; memory
//! bounded by the window and the workload; a panic in the workload fails the run and nothing else.

mod block;
mod execute;
mod inferred;
pub mod lock_table;
mod locked;
mod payments;
mod plan;
mod scheduler;
mod sequential;
mod stage;
mod table;

pub use block::{InferredStats, InferringWorker};
pub use execute::{BlockResult, InferredResult, execute_block, execute_inferred_block};
pub use lock_table::{Access, LockTable};
pub use locked::seal_block;
pub use lockweave_runtime::KeyAccess;
pub use plan::Path;
pub use scheduler::{Fed, RunStats, Scheduler, SchedulerStats, WINDOW_DEFAULT};
/// The decisions of a stage without its threads, to be driven by a simulation. Not a stable interface.
#[cfg(feature = "simulation")]
pub mod simulation {
    pub use crate::stage::{
        Batch, Core, FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST, Step, TaskBits, WorkerContext,
    };
}
pub use stage::{
    BankingStage, Grant, StageConfig, StageError, StartError, TASK_COST_DEFAULT, Workload,
    pin_thread,
};
pub use table::{
    Declare, Table, TableCells, TableKey, TableResult, TableTask, TableValue, Undeclared,
};
