//! What all paths share: the block being executed, its executors, and what is counted.
//!
//! Files, each using only those below it:
//!
//! * `run`: [`BlockRun`], a block on its way through a path, and [`RunPath`], what a path is;
//! * `simulator`: simulates transactions on the state before the block;
//! * `counters`: [`InferredStats`], and the counters that workers share;
//! * `executors`: the executors that a thread keeps between runs;
//! * `granted`: executing a transaction with its grant.

mod counters;
mod executors;
mod granted;
mod run;
mod simulator;

pub(crate) use counters::Counters;
pub use counters::InferredStats;
pub use executors::InferringWorker;
pub(crate) use executors::{MakeExecutors, keep_executors, kept_executors};
pub(crate) use granted::{AloneExecution, GrantedKeys, execute_alone, with_grant};
pub(crate) use run::{
    BlockError, BlockRun, LONG_TRANSACTION_GAS, Progress, RunPath, state_error, transaction,
};
pub(crate) use run::{EVEN_ROUND, ODD_ROUND};
pub(crate) use simulator::Simulator;
