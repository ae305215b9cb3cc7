//! The stage: worker threads, and one run of a workload on them.
//!
//! Files, each using only those below it:
//!
//! * `threads`: [`BankingStage`], the threads that live as long as it does;
//! * `worker`: how a thread takes part in a run, and its loop, which contains panics of the workload;
//! * `run`: what the workers of a run share, and how they wait for each other;
//! * `core`: the part of it that is under one lock, and every decision made there;
//! * `batch`: a few tasks that one worker runs in a row;
//! * `workload`: [`Workload`], what a stage runs;
//! * `grant`: [`Grant`], the proof that a task's locks are held;
//! * `config`: [`StageConfig`];
//! * `spin_wait`: polling for a while before sleeping;
//! * `cores`: how many there are, and pinning threads to them;
//! * `error`: [`StageError`] and [`StartError`].

mod batch;
mod config;
mod core;
mod cores;
mod error;
mod grant;
mod run;
mod spin_wait;
mod threads;
mod worker;
mod workload;

pub use config::StageConfig;
pub use cores::pin_thread;
pub use error::{StageError, StartError};
pub use grant::Grant;
pub use threads::BankingStage;
pub use workload::{TASK_COST_DEFAULT, Workload};

#[cfg(feature = "simulation")]
pub use self::{
    batch::{Batch, FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST},
    core::{Core, Step, TaskBits, WorkerContext},
};
pub(crate) use error::panic_message;
pub(crate) use threads::BackgroundWork;

#[cfg(all(test, not(loom)))]
mod tests;
