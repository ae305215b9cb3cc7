//! The sequential path.

// The calling thread uses cells of a block on which no run is on.
#![allow(unsafe_code)]

use super::prefetch::{ClosedOnDrop, PrefetchQueue, prefetch};
use crate::{
    block::{
        BlockError, BlockRun, GrantedKeys, Progress, RunPath, Simulator, transaction, with_grant,
    },
    plan::Prefetch,
    scheduler::RunStats,
    stage::StageError,
};
use lockweave_runtime::{
    AccessEntry, DenseId, Executor, GrantedState, Infer, Next, OpenBlock, SequentialState, TaskId,
};
use std::{
    mem,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// So many transactions at a time are announced to the inferrer.
const ANNOUNCED: usize = 32;

/// Helpers are woken if so much time is left.
const TIME_LEFT_MIN: Duration = Duration::from_micros(260);

/// Executes transactions in block order on the calling thread, before any behind them has run.
pub(crate) struct SequentialPath {
    pub(crate) tasks: Range<usize>,
    pub(crate) prefetch: Prefetch,
}

impl<T, E, I> RunPath<T, E, I> for SequentialPath
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    fn run(self, run: &mut BlockRun<'_, T, E, I>) -> Result<Progress, BlockError<E::Invalid>> {
        if self.tasks.is_empty() {
            return Ok(Progress::Done);
        }
        let sequential = self.begin(run.block_mut());
        let queue = ClosedOnDrop(Arc::new(self.queue(run)));
        if self.prefetch == Prefetch::AtOnce {
            call_helpers(run, &queue.0);
        }
        let is_doubtful = self.prefetch == Prefetch::IfSlow;
        let mut estimate = is_doubtful.then(|| TimeEstimate::new(run.block(), run.cost));
        let view = Arc::clone(run.block().cells().view());
        let mut simulator = Simulator::with_executors(run.take_executors(), view);
        let block = run.block();
        let mut state = match sequential {
            Some(sequential) => GrantedState::sequential(Arc::clone(block), sequential),
            None => GrantedState::new(Arc::clone(block)),
        };
        let keeps_touched = block.keeps_touched();
        if !keeps_touched {
            state.forgo_touched();
        }
        let mut queued = queue.0.tasks().iter().enumerate().peekable();
        // Transactions that touched other keys than their simulation.
        let mut mispredicted: Vec<(TaskId, Vec<AccessEntry>)> = Vec::new();
        let mut result = Ok(Progress::Done);
        let (mut done, mut taken) = (0, 0);
        for position in self.tasks.clone() {
            let task = TaskId::from_index(position);
            if (position - self.tasks.start).is_multiple_of(ANNOUNCED) {
                let end = (position + ANNOUNCED).min(self.tasks.end);
                simulator.announce(block, position..end, Next::Run);
            }
            if let Some(known) = estimate.take_if(|estimate| estimate.is_ready())
                && known.time_left() >= TIME_LEFT_MIN
            {
                call_helpers(run, &queue.0);
            }
            let place = queued.next_if(|(_, queued)| **queued == task);
            let execute = |state: &mut GrantedState<T>| {
                let is_simulated = place.is_some_and(|(place, _)| {
                    let simulate = |task| {
                        let since = Instant::now();
                        simulator.simulate(block, task, &run.counters);
                        simulator.add_time(since);
                    };
                    queue.0.wait(place, simulate)
                });
                if is_simulated && let Some(outcome) = state.apply_simulation_sequentially() {
                    taken += 1;
                    return Ok(outcome);
                }
                let outcome = simulator.executor.execute(transaction(block, task), state);
                if keeps_touched && is_simulated {
                    mispredicted.push((task, mem::take(state.touched())));
                }
                outcome
            };
            // SAFETY: no run is on, and this run alone has the block. Prefetch workers read only the state
            // before the block, so no other thread uses its cells. What workers did to cells happened before
            // the end of their run.
            let outcome =
                unsafe { with_grant(&mut state, block, task, GrantedKeys::Everything, execute) };
            if keeps_touched {
                block.note_touched(task, state.touched());
            }
            match outcome {
                Ok(outcome) => block.finish(task, outcome),
                Err(source) => {
                    result = Err(StageError::Task { task, source });
                    break;
                }
            }
            done += 1;
            if let Some(estimate) = &mut estimate {
                estimate.add(run.cost_of(task));
            }
        }
        let sequential = state.into_sequential();
        drop(queue);
        if let Some(sequential) = sequential {
            run.block_mut().end_sequential(sequential);
        }
        run.put_executors(simulator.into_executors(&run.counters));
        for (task, touched) in mispredicted {
            run.block_mut().correct_touched(task, touched);
        }
        run.stats.executed_alone += done - taken;
        run.stats.simulations_taken += taken;
        run.stats.run.add(&RunStats {
            tasks: done,
            executed: vec![done],
            ..RunStats::default()
        });
        result
    }
}

impl SequentialPath {
    /// The state that replaces cells, unless other transactions of the block use some.
    fn begin<T>(&self, block: &mut OpenBlock<T>) -> Option<Box<SequentialState>> {
        let is_whole = self.tasks == (0..block.transactions().len());
        if is_whole {
            block.begin_sequential()
        } else {
            None
        }
    }

    fn queue<T, E: 'static, I: 'static>(&self, run: &BlockRun<'_, T, E, I>) -> PrefetchQueue<T> {
        let tasks = if self.prefetch == Prefetch::Never {
            0..0
        } else {
            self.tasks.clone()
        };
        PrefetchQueue::new(run.block(), tasks.map(TaskId::from_index), run.cost)
    }
}

fn call_helpers<T, E, I>(run: &BlockRun<'_, T, E, I>, queue: &Arc<PrefetchQueue<T>>)
where
    T: Send + Sync + 'static,
    E: 'static,
    I: Infer<T>,
{
    let helpers = run.stage.config().threads.get() - 1;
    for _ in 0..helpers.min(queue.tasks().len()) {
        let queue = Arc::clone(queue);
        let (make, counters) = (Arc::clone(&run.make), Arc::clone(&run.counters));
        // Nothing waits for a helper that has not joined.
        let _ = (run.stage).start_background(move || prefetch(&queue, &*make, &counters));
    }
}

/// The beginning of a block is this part of it, by gas limits.
const BEGINNING: u64 = 8;

/// The progress of a block.
pub(crate) struct TimeEstimate {
    since: Instant,
    /// Gas limits of all transactions.
    total: u64,
    /// Gas limits of those that are done.
    done: u64,
}

impl TimeEstimate {
    pub(crate) fn new<T>(block: &OpenBlock<T>, cost: fn(&T) -> u64) -> Self {
        let transactions = block.transactions().iter();
        let costs = transactions.map(|sanitized| cost(&sanitized.transaction));
        Self {
            since: Instant::now(),
            total: costs.fold(0, u64::saturating_add),
            done: 0,
        }
    }

    pub(crate) const fn add(&mut self, cost: u64) {
        self.done = self.done.saturating_add(cost);
    }

    /// Whether enough is done for an estimate.
    pub(crate) const fn is_ready(&self) -> bool {
        self.done >= self.total / BEGINNING
    }

    /// How long the rest takes at the speed so far.
    pub(crate) fn time_left(&self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = (self.total - self.done) as f64 / self.done.max(1) as f64;
        self.since.elapsed().mul_f64(left)
    }
}
