//! A worker in a run: its loop, and the containment of panics in the workload's code.

use super::{
    batch::{FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST},
    core::{Step, TaskBits, WorkerContext},
    error::{StageError, panic_message},
    grant::Grant,
    run::{Run, RunOutcome},
    workload::Workload,
};
use lockweave_runtime::{DenseId, TaskId};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// A run whose workload's type is erased, as helpers see it.
pub(crate) trait Job: Send + Sync {
    /// Takes part as worker `worker`, until the run is over or there is nothing to do.
    fn help(&self, worker: usize);
}

impl<W: Workload> Job for Run<W> {
    fn help(&self, worker: usize) {
        let Some(workload) = self.join() else {
            return;
        };
        work(self, &workload, worker);
        drop(workload);
        self.leave();
    }
}

/// Takes part as worker 0 until the run is over, and waits for the helpers inside.
pub(crate) fn lead<W: Workload>(run: &Run<W>, workload: Arc<W>) -> RunOutcome<W> {
    work(run, &workload, 0);
    drop(workload);
    run.finish()
}

/// Works on a run until it is over or, for a helper, until there was nothing to do for a while.
///
/// Does not panic. A panic of the workload is noted as the run's failure: inside a task, as the
/// task's; anywhere else it ends the run.
fn work<W: Workload>(run: &Run<W>, workload: &W, worker: usize) {
    let mut context = WorkerContext::new(worker);
    // The context outlives a panic, because workers wait for the messages in it. The rest is dropped.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Worker {
            run,
            workload,
            context: &mut context,
            state: None,
        }
        .work();
    }));
    if let Err(payload) = outcome {
        run.abort(&mut context, panic_message(&*payload));
    }
}

enum CallResult<E> {
    Done,
    Failed(E),
    Panicked,
}

/// What happens to the locks of a task that was run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Released,
    /// To the end of the run.
    Kept,
}

struct Worker<'a, W: Workload> {
    run: &'a Run<W>,
    workload: &'a W,
    context: &'a mut WorkerContext,
    /// Made when first needed: a worker without work never enters the workload.
    state: Option<W::Worker>,
}

impl<W: Workload> Worker<'_, W> {
    fn work(mut self) {
        loop {
            match self.run.turn(self.workload, self.context) {
                Step::Execute => self.execute(),
                Step::Prepare { chunk, tasks } => {
                    let done = self.prepare(tasks);
                    self.context.prepared = Some((chunk, done));
                }
                Step::Wait => {
                    if !self.run.wait(self.context) {
                        break;
                    }
                    self.execute();
                }
                Step::Leave => break,
            }
        }
        if let Some(state) = self.state.take() {
            self.workload.retire(self.context.worker, state);
        }
    }

    /// Prepares the tasks of a chunk and runs those that need no locks. Returns which it ran.
    fn prepare(&mut self, tasks: Range<usize>) -> TaskBits {
        let first = TaskId::from_index(tasks.start);
        self.guarded(first, |workload, state| {
            workload.announce(state, tasks.clone());
            Ok(())
        });
        let mut done = 0;
        let mut cost_left = FREE_CHUNK_COST_MAX;
        for (place, task) in tasks.map(TaskId::from_index).enumerate() {
            if !self.run.needs(task) {
                break;
            }
            let prepared = self.guarded(task, |workload, state| workload.prepare(state, task));
            if let CallResult::Failed(source) = prepared {
                self.run.fail(StageError::Task { task, source });
                continue;
            }
            if matches!(prepared, CallResult::Panicked) || !self.workload.is_free(task) {
                continue;
            }
            let cost = self.workload.cost(task);
            if cost <= FREE_COST_MAX && cost <= cost_left {
                cost_left -= cost;
                // If it is left behind, no task could wait for it.
                self.execute_one(task);
                done |= 1 << place;
            }
        }
        done
    }

    /// Runs the batch. Stops early if the report should not wait for its end.
    fn execute(&mut self) {
        while let Some(task) = self.context.batch.pop() {
            if self.run.needs(task) && self.execute_one(task) == Locks::Kept {
                self.context.left_behind += 1;
            } else {
                self.context.done.push(task);
            }
            if self.run.has_idle_worker() || self.workload.cost(task) >= REPORT_COST {
                return;
            }
        }
    }

    /// Runs a task, and notes if it fails.
    fn execute_one(&mut self, task: TaskId) -> Locks {
        let grant = Grant::new(task, self.workload.access(task));
        let result = self.guarded(task, |workload, state| workload.execute(state, &grant));
        self.context.executed += 1;
        if let CallResult::Failed(source) = result {
            if self.workload.is_left_behind(task, &source) {
                self.run.note(StageError::Task { task, source });
                return Locks::Kept;
            }
            self.run.fail(StageError::Task { task, source });
        }
        Locks::Released
    }

    /// Calls into the workload on behalf of a task, and notes if that panics.
    fn guarded(
        &mut self,
        task: TaskId,
        call: impl FnOnce(&W, &mut W::Worker) -> Result<(), W::Error>,
    ) -> CallResult<W::Error> {
        let workload = self.workload;
        let worker = self.context.worker;
        let state = self.state.get_or_insert_with(|| workload.enter(worker));
        match catch_unwind(AssertUnwindSafe(|| call(workload, state))) {
            Ok(Ok(())) => CallResult::Done,
            Ok(Err(source)) => CallResult::Failed(source),
            Err(payload) => {
                let message = panic_message(&*payload);
                let task = Some(task);
                self.run.fail(StageError::Panicked { task, message });
                // Its state is unknown. The next task gets a new one.
                self.state = None;
                CallResult::Panicked
            }
        }
    }
}
