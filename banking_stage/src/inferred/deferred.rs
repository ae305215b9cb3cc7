//! Long-running transactions, simulated in the background.
//!
//! A block that is simulated as a whole before it runs has to wait for its longest transaction, with most
//! workers idle. So helpers simulate those that may be long, while the other workers simulate the rest, number the
//! keys and run the block. A transaction whose set is not known by then is *deferred*: it is left out of the run,
//! and what turns out to depend on it is rolled back.

use crate::{
    block::{BlockRun, Counters, MakeExecutors, Simulator},
    stage::{BackgroundWork, StageError, panic_message},
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use lockweave_runtime::{
    INFERRED_KEYS_MAX, Infer, Inference, OpenBlock, Sanitized, SimulatedState, StateView, TaskId,
};
use std::{
    cmp::Reverse,
    sync::Arc,
    time::{Duration, Instant},
};

/// Waiting so long for the last ones takes less time than deferring them.
const WAIT_MAX: Duration = Duration::from_micros(200);

/// Long-running transactions that are being simulated.
pub(crate) struct Deferred {
    tasks: Arc<[TaskId]>,
    /// Those whose sets are not known yet, in block order.
    missing: Vec<TaskId>,
    /// Those with which no thread has begun, the longest first.
    queue: Receiver<TaskId>,
    done: Sender<Found>,
    found: Receiver<Found>,
    helpers: Vec<BackgroundWork<()>>,
}

/// The inference of a transaction: `None` if the state could not be read.
struct Found {
    task: TaskId,
    inference: Option<(Inference, SimulatedState)>,
}

impl Deferred {
    /// Starts simulating these transactions, given in block order, on the helpers that are parked.
    pub(crate) fn begin<T, E, I>(run: &BlockRun<'_, T, E, I>, mut tasks: Vec<TaskId>) -> Self
    where
        T: Send + Sync + 'static,
        E: 'static,
        I: Infer<T>,
    {
        let (done, found) = unbounded();
        let mut longest_first = tasks.clone();
        longest_first.sort_by_key(|task| Reverse(run.cost_of(*task)));
        let (waiting, queue) = unbounded();
        for task in longest_first {
            let _ = waiting.send(task);
        }
        let mut helpers = Vec::new();
        for _ in 0..tasks.len().min(run.stage.config().threads.get() - 1) {
            let (queue, done) = (queue.clone(), done.clone());
            let (make, counters) = (Arc::clone(&run.make), Arc::clone(&run.counters));
            let transactions = run.block().shared_transactions();
            let view = Arc::clone(run.block().cells().view());
            helpers.extend(run.stage.start_background(move || {
                simulate_all(&queue, &transactions, &view, &*make, &counters, &done);
            }));
        }
        if helpers.is_empty() {
            tasks.clear();
        }
        Self {
            tasks: Arc::from(&*tasks),
            missing: tasks,
            queue,
            done,
            found,
            helpers,
        }
    }

    pub(crate) fn tasks(&self) -> Arc<[TaskId]> {
        Arc::clone(&self.tasks)
    }

    pub(crate) fn missing(&self) -> &[TaskId] {
        &self.missing
    }

    /// Simulates those that no helper has begun with, and waits a little for the others.
    pub(crate) fn help<T, E, I>(&mut self, run: &BlockRun<'_, T, E, I>)
    where
        E: 'static,
        I: Infer<T>,
    {
        if self.missing.is_empty() {
            return;
        }
        let block = run.block();
        let view = block.cells().view();
        simulate_all(
            &self.queue,
            block.transactions(),
            view,
            &*run.make,
            &run.counters,
            &self.done,
        );
        let end = Instant::now() + WAIT_MAX;
        while !self.missing.is_empty()
            && let Ok(found) = self.found.recv_deadline(end)
        {
            self.conclude(block, found);
        }
    }

    /// Waits until nothing is missing.
    pub(crate) fn wait<T, S>(&mut self, block: &OpenBlock<T>) -> Result<(), StageError<S>>
    where
        S: std::error::Error + 'static,
    {
        for helper in self.helpers.drain(..) {
            helper.join().map_err(|payload| StageError::Panicked {
                task: None,
                message: panic_message(&*payload),
            })?;
        }
        while let Ok(found) = self.found.try_recv() {
            self.conclude(block, found);
        }
        Ok(())
    }

    fn conclude<T>(&mut self, block: &OpenBlock<T>, found: Found) {
        self.missing.retain(|task| *task != found.task);
        if let Some((inference, mut state)) = found.inference {
            state.conclude(block, found.task, inference, INFERRED_KEYS_MAX);
        }
    }
}

impl Drop for Deferred {
    /// Ends the simulations: no thread may read the state when the block is over.
    fn drop(&mut self) {
        self.queue.try_iter().for_each(drop);
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

/// Simulates transactions of the queue until none is left.
fn simulate_all<T, E, I>(
    queue: &Receiver<TaskId>,
    transactions: &[Sanitized<T>],
    view: &Arc<dyn StateView>,
    make: &MakeExecutors<E, I>,
    counters: &Counters,
    done: &Sender<Found>,
) where
    E: 'static,
    I: Infer<T>,
{
    let mut simulator = None;
    for task in queue.try_iter() {
        let simulator = simulator.get_or_insert_with(|| Simulator::new(make, Arc::clone(view)));
        let inference = simulator.infer(transactions, task, counters).ok();
        let inference = inference.map(|inference| (inference, simulator.take_state()));
        // The receiver may be gone.
        let _ = done.send(Found { task, inference });
    }
    if let Some(simulator) = simulator {
        simulator.retire(counters);
    }
}
