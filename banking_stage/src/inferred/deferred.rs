//! Looking at long transactions beside all else.
//!
//! A block that is looked at as a whole before it runs has to wait for its longest transaction, with most
//! workers idle. So helpers look at those that may be long, while the others look at the rest, number the
//! keys and run the block. Whoever is not known by then is *late*: it is left out of the run, and what
//! turns out to depend on it is taken back.

use crate::{
    inferred::run::Make,
    inferred::simulate::{Counters, Looker},
    stage::error::{StageError, panic_message},
    stage::threads::{self, BankingStage},
};
use crossbeam_channel::{Receiver, Sender, unbounded};
use lockweave_runtime::{
    DenseId, INFERRED_KEYS_MAX, Infer, Inference, OpenBlock, Sanitized, SimulatedState, StateView,
    TaskId,
};
use std::{
    cmp::Reverse,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Waiting so long for the last ones takes less time than having them late.
const PATIENCE: Duration = Duration::from_micros(200);

/// Long transactions that are being looked at.
pub(crate) struct Aside {
    tasks: Arc<[TaskId]>,
    /// Those of whom nothing is known yet, in block order.
    missing: Vec<TaskId>,
    queue: Arc<Queue>,
    done: Sender<Found>,
    found: Receiver<Found>,
    helpers: Vec<threads::Aside<()>>,
}

/// The longest first.
struct Queue {
    tasks: Vec<TaskId>,
    next: AtomicUsize,
}

impl Queue {
    fn next(&self) -> Option<TaskId> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.tasks.get(next).copied()
    }

    /// There is no next one any more.
    fn end(&self) {
        self.next.store(self.tasks.len(), Ordering::Relaxed);
    }
}

/// What was found out about a transaction: nothing, if the state could not be read.
struct Found {
    task: TaskId,
    inference: Option<(Inference, SimulatedState)>,
}

impl Aside {
    /// Begins to look at these transactions, which stand in block order, with what helpers there are.
    pub(crate) fn begin<T, E, I>(
        stage: &BankingStage,
        block: &OpenBlock<T>,
        make: &Arc<Make<E, I>>,
        counters: &Arc<Counters>,
        mut tasks: Vec<TaskId>,
        cost: fn(&T) -> u64,
    ) -> Self
    where
        T: Send + Sync + 'static,
        E: 'static,
        I: Infer<T>,
    {
        let (done, found) = unbounded();
        let mut longest_first = tasks.clone();
        longest_first
            .sort_by_key(|task| Reverse(cost(&block.transactions()[task.index()].transaction)));
        let queue = Arc::new(Queue {
            tasks: longest_first,
            next: AtomicUsize::new(0),
        });
        let mut helpers = Vec::new();
        for _ in 0..tasks.len().min(stage.config().threads.get() - 1) {
            let (queue, done) = (Arc::clone(&queue), done.clone());
            let (make, counters) = (Arc::clone(make), Arc::clone(counters));
            let transactions = block.shared_transactions();
            let view = Arc::clone(block.cells().view());
            helpers.extend(
                stage.aside(move || look(&queue, &transactions, &view, &*make, &counters, &done)),
            );
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

    /// Those that somebody looks at here, in block order.
    pub(crate) fn tasks(&self) -> Arc<[TaskId]> {
        Arc::clone(&self.tasks)
    }

    /// Those of whom nothing is known yet, in block order.
    pub(crate) fn missing(&self) -> &[TaskId] {
        &self.missing
    }

    /// Looks at those that nobody has begun to look at, and waits a little for the others.
    pub(crate) fn help<T, E, I>(
        &mut self,
        block: &OpenBlock<T>,
        make: &Make<E, I>,
        counters: &Counters,
    ) where
        E: 'static,
        I: Infer<T>,
    {
        if self.missing.is_empty() {
            return;
        }
        let view = block.cells().view();
        look(
            &self.queue,
            block.transactions(),
            view,
            make,
            counters,
            &self.done,
        );
        let end = Instant::now() + PATIENCE;
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

impl Drop for Aside {
    /// Nobody looks at the state when the block is over.
    fn drop(&mut self) {
        self.queue.end();
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
    }
}

/// Looks at transactions of the queue until none is left.
fn look<T, E, I>(
    queue: &Queue,
    transactions: &[Sanitized<T>],
    view: &Arc<dyn StateView>,
    make: &Make<E, I>,
    counters: &Counters,
    done: &Sender<Found>,
) where
    E: 'static,
    I: Infer<T>,
{
    let mut looker = None;
    while let Some(task) = queue.next() {
        let looker = looker.get_or_insert_with(|| Looker::new(make, Arc::clone(view)));
        let inference = looker.look(transactions, task, counters).ok();
        let inference = inference.map(|inference| (inference, looker.take_state()));
        // If nobody wants to know any more, that is as well.
        let _ = done.send(Found { task, inference });
    }
    if let Some(looker) = looker {
        looker.retire(counters);
    }
}
