//! What the stage runs: tasks, each with its access, behind one trait.

use super::grant::Grant;
use crate::lock_table::Access;
use lockweave_runtime::TaskId;
use std::ops::Range;

/// Default cost of a task, in gas.
pub const TASK_COST_DEFAULT: u64 = 50_000;

/// Tasks in block order, what each of them locks, and how to run one.
///
/// The stage calls [`prepare`](Self::prepare) once for every task, from any worker and in no order;
/// then feeds the tasks to the lock table in block order; then calls [`execute`](Self::execute) once
/// for every task, as soon as its locks are granted. Everything reached through a granted key is
/// therefore ordered as if the tasks had run one after another.
///
/// An error stops the run, at once or [as far as others depend on it](Self::is_left_behind). Tasks in
/// front of the failed one still run, so that the reported error does not depend on timing: it is that
/// of the lowest task that fails. Tasks behind it may or may not have run, but none that shares a key
/// with it in a conflicting mode.
pub trait Workload: Send + Sync + 'static {
    /// What a worker keeps between its tasks: an executor with its buffers. Made and dropped on the
    /// worker's own thread.
    type Worker: 'static;
    /// Why a task cannot be prepared or run.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How many tasks there are. Called once, at the start of the run.
    fn tasks(&self) -> usize;

    /// A worker joins the run; `worker` is below the stage's number of threads.
    ///
    /// One worker may join and [leave](Self::retire) several times in one run, and joins only when
    /// there is something to do.
    fn enter(&self, worker: usize) -> Self::Worker;

    /// A worker leaves the run. Not called after a panic, which just drops the state.
    fn retire(&self, worker: usize, state: Self::Worker) {
        let _ = (worker, state);
    }

    /// This worker is about to [prepare](Self::prepare) these tasks, one after another.
    fn announce(&self, worker: &mut Self::Worker, tasks: Range<usize>) {
        let _ = (worker, tasks);
    }

    /// Determines the task's access; the place to intern keys and to load cold state.
    fn prepare(&self, worker: &mut Self::Worker, task: TaskId) -> Result<(), Self::Error> {
        let _ = (worker, task);
        Ok(())
    }

    /// What a prepared task locks: no key twice, and the same at every call.
    ///
    /// Called under the scheduler's lock, so it should be no more than a lookup.
    fn access(&self, task: TaskId) -> Access<'_>;

    /// Whether a task that this worker prepared may run at once, without locks: it shares no key with
    /// any other task of the run in an incompatible mode, and sees everything that its reads depend on.
    /// Such a task is never fed to the lock table.
    ///
    /// Memory safety may rest on the answer, as no lock is taken for the task; see [`Grant`].
    fn is_free(&self, task: TaskId) -> bool {
        let _ = task;
        false
    }

    /// Roughly what the task costs, in gas, so that small ones are handed out in batches. Called
    /// under the scheduler's lock.
    fn cost(&self, task: TaskId) -> u64 {
        let _ = task;
        TASK_COST_DEFAULT
    }

    /// Whether a task that failed with this error is left behind: it keeps its locks to the end of the run.
    /// Tasks that wait for them do not run, all others do. Otherwise no task behind it runs.
    fn is_left_behind(&self, task: TaskId, error: &Self::Error) -> bool {
        let _ = (task, error);
        false
    }

    /// Runs the task that `grant` is for.
    fn execute(&self, worker: &mut Self::Worker, grant: &Grant<'_>) -> Result<(), Self::Error>;
}
