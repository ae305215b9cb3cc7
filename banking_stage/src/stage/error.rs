//! Errors of starting a stage and of running a workload.

use lockweave_runtime::TaskId;
use std::{any::Any, io};
use thiserror::Error;

/// Why a stage could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The system did not start a thread.
    #[error(
        "cannot start worker thread {worker} of the banking stage: {source}; \
         configure fewer threads or raise the process limit"
    )]
    Spawn {
        /// The worker that did not start.
        worker: usize,
        /// The error of the system.
        source: io::Error,
    },
}

/// Why a run did not complete.
#[derive(Debug, Error)]
pub enum StageError<E: std::error::Error + 'static> {
    /// The lowest task in block order that cannot be prepared or run. Everything in front of it
    /// has run.
    #[error("task {task} failed: {source}")]
    Task {
        /// The task.
        task: TaskId,
        /// Its error.
        source: E,
    },
    /// The workload panicked. If a task did, it is the lowest that failed, and everything in front
    /// of it has run.
    #[error(
        "the workload panicked {}: {message}; this is a bug in the workload, whose state is to be \
         discarded; the stage itself can be used again",
        match task { Some(task) => format!("in task {task}"), None => "outside of its tasks".into() }
    )]
    Panicked {
        /// The task, unless it was `enter`, `retire`, `access` or `cost` that panicked.
        task: Option<TaskId>,
        /// The payload, if it is text.
        message: String,
    },
    /// Tasks wait for locks that no task holds.
    #[error(
        "{waiting} tasks wait for locks that no task in front of them holds; the workload's \
         `access` must name no key twice and answer the same whenever it is asked"
    )]
    Stalled {
        /// How many tasks wait.
        waiting: usize,
    },
    /// `run` was called from inside a task of a run, which would wait for itself.
    #[error("a task of a banking stage cannot start another run; start it from outside the run")]
    Nested,
    /// More tasks than there are ids.
    #[error("a run of {tasks} tasks is too long; split it into runs of less than 2^32 tasks")]
    TooManyTasks {
        /// How many tasks the workload has.
        tasks: usize,
    },
}

impl<E: std::error::Error + 'static> StageError<E> {
    /// The error of lowest rank is reported. Those that belong to no task come first, because after them the
    /// state of every task is unknown; then block order decides.
    pub(crate) const fn rank(&self) -> Option<TaskId> {
        match self {
            Self::Task { task, .. } => Some(*task),
            Self::Panicked { task, .. } => *task,
            Self::Stalled { .. } | Self::Nested | Self::TooManyTasks { .. } => None,
        }
    }
}

/// The text of a panic.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(a panic without text)".to_owned())
}
