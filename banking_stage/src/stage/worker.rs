//! A worker in a run: its loop, and the walls around the workload's code.

use crate::{
    stage::batch::{FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST},
    stage::core::{Desk, Step, TaskBits},
    stage::error::{Failure, panic_message},
    stage::grant::Grant,
    stage::run::Run,
    stage::workload::Workload,
};
use lockweave_runtime::{DenseId, TaskId};
use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Works on a run until it is over or, for a helper, until nothing was to be done for a while.
///
/// Does not panic. What the workload panics with is noted as the run's failure: in a task, as the
/// task's; anywhere else it ends the run.
pub(crate) fn work<W: Workload>(run: &Run<W>, workload: &W, worker: usize) {
    let mut desk = Desk::new(worker);
    // The desk outlives a panic, because messages on it are waited for. The rest is dropped.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        Worker {
            run,
            workload,
            desk: &mut desk,
            state: None,
        }
        .work();
    }));
    if let Err(payload) = outcome {
        run.abort(&mut desk, panic_message(&*payload));
    }
}

/// What became of a call into the workload.
enum Called<E> {
    Over,
    Failed(E),
    Panicked,
}

/// What is to become of the locks of a task that was run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Locks {
    Released,
    /// To the end of the run.
    Kept,
}

struct Worker<'a, W: Workload> {
    run: &'a Run<W>,
    workload: &'a W,
    desk: &'a mut Desk,
    /// Made when first needed, so that a worker for whom there is nothing to do leaves no trace.
    state: Option<W::Worker>,
}

impl<W: Workload> Worker<'_, W> {
    fn work(mut self) {
        loop {
            match self.run.turn(self.workload, self.desk) {
                Step::Execute => self.execute(),
                Step::Prepare { chunk, tasks } => {
                    let over = self.prepare(tasks);
                    self.desk.prepared = Some((chunk, over));
                }
                Step::Wait => {
                    if !self.run.wait(self.desk) {
                        break;
                    }
                    self.execute();
                }
                Step::Leave => break,
            }
        }
        if let Some(state) = self.state.take() {
            self.workload.retire(self.desk.worker, state);
        }
    }

    /// Prepares the tasks of a chunk and runs those that need no locks; these are returned.
    fn prepare(&mut self, tasks: Range<usize>) -> TaskBits {
        let first = TaskId::from_index(tasks.start);
        self.guarded(first, |workload, state| {
            workload.announce(state, tasks.clone());
            Ok(())
        });
        let mut over = 0;
        let mut cost_left = FREE_CHUNK_COST_MAX;
        for (place, task) in tasks.map(TaskId::from_index).enumerate() {
            if !self.run.needs(task) {
                break;
            }
            let prepared = self.guarded(task, |workload, state| workload.prepare(state, task));
            if let Called::Failed(source) = prepared {
                self.run.fail(Failure::Task { task, source });
                continue;
            }
            if matches!(prepared, Called::Panicked) || !self.workload.is_free(task) {
                continue;
            }
            let cost = self.workload.cost(task);
            if cost <= FREE_COST_MAX && cost <= cost_left {
                cost_left -= cost;
                // If it is left behind, there is nobody who could wait for it.
                self.execute_one(task);
                over |= 1 << place;
            }
        }
        over
    }

    /// Runs the batch, and stops early if the report should not wait for its end.
    fn execute(&mut self) {
        while let Some(task) = self.desk.batch.pop() {
            if self.run.needs(task) && self.execute_one(task) == Locks::Kept {
                self.desk.left_behind += 1;
            } else {
                self.desk.done.push(task);
            }
            if self.run.somebody_waits() || self.workload.cost(task) >= REPORT_COST {
                return;
            }
        }
    }

    /// Runs a task, and notes if it fails.
    fn execute_one(&mut self, task: TaskId) -> Locks {
        let grant = Grant::new(task, self.workload.access(task));
        let called = self.guarded(task, |workload, state| workload.execute(state, &grant));
        self.desk.executed += 1;
        if let Called::Failed(source) = called {
            if self.workload.is_left_behind(task, &source) {
                self.run.note(Failure::Task { task, source });
                return Locks::Kept;
            }
            self.run.fail(Failure::Task { task, source });
        }
        Locks::Released
    }

    /// Calls into the workload on behalf of a task, and notes if that panics.
    fn guarded(
        &mut self,
        task: TaskId,
        call: impl FnOnce(&W, &mut W::Worker) -> Result<(), W::Error>,
    ) -> Called<W::Error> {
        let workload = self.workload;
        let worker = self.desk.worker;
        let state = self.state.get_or_insert_with(|| workload.enter(worker));
        match catch_unwind(AssertUnwindSafe(|| call(workload, state))) {
            Ok(Ok(())) => Called::Over,
            Ok(Err(source)) => Called::Failed(source),
            Err(payload) => {
                let message = panic_message(&*payload);
                let task = Some(task);
                self.run.fail(Failure::Panicked { task, message });
                // In no known state. The next task gets a new one.
                self.state = None;
                Called::Panicked
            }
        }
    }
}
