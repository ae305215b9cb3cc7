//! Running a block in order on one thread, while helpers look at what comes next.
//!
//! A short block is over before all of it could be looked at, numbered and run under locks, and each of these
//! steps waits for the slowest worker. So the calling thread begins at once and runs one transaction after another, and
//! helpers simulate those behind it on the state before the block. Where nothing that a simulation looked at
//! has changed by the time it is the transaction's turn, it is the execution, and takes the calling thread a
//! microsecond or two; where something has, the transaction runs, as it would have without. Nobody leaves a
//! set, and nothing is taken back.

// The caller's thread uses cells of a block on which no run is on.
#![allow(unsafe_code)]

use crate::{
    inferred::run::{InferredRun, Make},
    inferred::simulate::{Counters, Looker},
    scheduler::stats::RunStats,
    stage::batch::{ASIDE_COST, RUN_TIME_LEFT},
    stage::error::StageError,
};
use lockweave_runtime::{
    AccessEntry, DenseId, ExecutionError, Executor, GrantedState, Infer, Next, OpenBlock,
    SequentialState, TaskId,
};
use parking_lot::Mutex;
use std::{
    hint, mem,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A transaction that costs less, in gas, is a payment, which is run sooner than it is looked at.
const COST_MIN: u64 = 22_000;

/// The beginning of a block, by its gas limits, is this part of it.
const BEGINNING: u64 = 8;

/// The state is told what so many transactions in a row will look at.
const ANNOUNCED: usize = 32;

/// Whether helpers look ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Help {
    None,
    AtOnce,
    /// If the beginning of the block shows that much is left to do.
    IfLong,
}

/// A block of which its beginning has yet to show how long it takes.
struct Doubt {
    since: Instant,
    /// Gas limits of all transactions.
    cost: u64,
    /// Of those that are done.
    done: u64,
}

impl Doubt {
    /// Nothing has run.
    fn of<T>(block: &OpenBlock<T>, cost: fn(&T) -> u64) -> Self {
        let transactions = block.transactions().iter();
        let costs = transactions.map(|sanitized| cost(&sanitized.transaction));
        Self {
            since: Instant::now(),
            cost: costs.fold(0, u64::saturating_add),
            done: 0,
        }
    }

    /// Whether enough is done to say how long the rest takes.
    const fn is_over(&self) -> bool {
        self.done >= self.cost / BEGINNING
    }

    /// How long the rest takes, if it goes on like that.
    fn left(&self) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let left = (self.cost - self.done) as f64 / self.done.max(1) as f64;
        self.since.elapsed().mul_f64(left)
    }
}

/// Nobody has begun to look at it.
const NEW: u8 = 0;
/// Somebody looks at it.
const BEGUN: u8 = 1;
/// Nobody will look at it any more.
const OVER: u8 = 2;

/// What helpers are to look at.
struct Lookout<T> {
    /// Until the block is over. Who comes later finds nothing to do.
    block: Mutex<Option<Arc<OpenBlock<T>>>>,
    /// Helpers that have the block.
    inside: AtomicUsize,
    /// In block order.
    tasks: Vec<TaskId>,
    /// In which helpers look: places in that list.
    order: Vec<usize>,
    /// By place in that list.
    states: Vec<AtomicU8>,
    next: AtomicUsize,
}

impl<T> Lookout<T> {
    /// Enters as a helper, if the block is not over.
    fn enter(&self) -> Option<Inside<'_, T>> {
        let block = self.block.lock();
        let block = Arc::clone(block.as_ref()?);
        self.inside.fetch_add(1, Ordering::Relaxed);
        Some(Inside {
            lookout: self,
            block: Some(block),
        })
    }

    /// Waits for the helpers inside, and lets no more in.
    fn close(&self) {
        self.next.store(self.tasks.len(), Ordering::Relaxed);
        drop(self.block.lock().take());
        wait_until(|| self.inside.load(Ordering::Acquire) == 0);
    }

    /// The next transaction that nobody has begun with.
    fn next(&self) -> Option<(TaskId, Looking<'_>)> {
        loop {
            let place = *self.order.get(self.next.fetch_add(1, Ordering::Relaxed))?;
            let state = &self.states[place];
            if claim(state) {
                return Some((self.tasks[place], Looking(state)));
            }
        }
    }

    /// Waits until somebody has looked at the transaction at a place, if somebody has begun to; returns whether.
    /// `look` is asked to look at others meanwhile.
    fn wait(&self, place: usize, mut look: impl FnMut(TaskId)) -> bool {
        let state = &self.states[place];
        if claim(state) {
            return false;
        }
        while state.load(Ordering::Acquire) == BEGUN
            && let Some((task, looking)) = self.next()
        {
            look(task);
            drop(looking);
        }
        wait_until(|| state.load(Ordering::Acquire) != BEGUN);
        true
    }
}

/// Waits for a helper, who is at work.
fn wait_until(is_so: impl Fn() -> bool) {
    let mut looks = 0_u32;
    while !is_so() {
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(64) {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}

fn claim(state: &AtomicU8) -> bool {
    let claimed = state.compare_exchange(NEW, BEGUN, Ordering::Acquire, Ordering::Acquire);
    claimed.is_ok()
}

/// The right to look at a transaction. Whoever waits for it need not any more when it is dropped, even by a panic.
struct Looking<'a>(&'a AtomicU8);

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Release);
    }
}

/// A helper that has the block.
struct Inside<'a, T> {
    lookout: &'a Lookout<T>,
    block: Option<Arc<OpenBlock<T>>>,
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        self.block = None;
        self.lookout.inside.fetch_sub(1, Ordering::Release);
    }
}

/// Closes a lookout when it is dropped.
struct Closing<T>(Arc<Lookout<T>>);

impl<T> Drop for Closing<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Looks at what there is to look at, as a helper.
fn look<T, E, I>(lookout: &Lookout<T>, make: &Make<E, I>, counters: &Counters)
where
    E: 'static,
    I: Infer<T>,
{
    let Some(inside) = lookout.enter() else {
        return;
    };
    let Some(block) = &inside.block else {
        return;
    };
    let mut looker = None;
    while let Some((task, looking)) = lookout.next() {
        let looker =
            looker.get_or_insert_with(|| Looker::new(make, Arc::clone(block.cells().view())));
        looker.look_at(block, task, counters);
        drop(looking);
    }
    if let Some(looker) = looker {
        looker.retire(counters);
    }
}

impl<T, E, I> InferredRun<'_, T, E, I>
where
    T: Send + Sync + 'static,
    E: Executor<GrantedState<T>, Transaction = T> + 'static,
    I: Infer<T>,
{
    /// Runs all transactions one after another on this thread, before any other has run; with helpers who look
    /// at those behind it, if they are worth it.
    pub(crate) fn run_in_order(
        &mut self,
        help: Help,
    ) -> Result<(), StageError<ExecutionError<E::Invalid>>> {
        let ordered = self.begin_ordered();
        let lookout = Closing(self.begin_lookout(help != Help::None));
        if help == Help::AtOnce {
            self.call_helpers(&lookout.0);
        }
        let mut doubt = (help == Help::IfLong).then(|| Doubt::of(self.block(), self.cost));
        let lone = self.take_lone();
        let view = Arc::clone(self.block().cells().view());
        let mut looker = Looker::with_executors(lone, view);
        let block = Arc::clone(self.block());
        let mut state = match ordered {
            Some(ordered) => GrantedState::sequential(block, ordered),
            None => GrantedState::new(block),
        };
        let keeps_touched = self.block().keeps_touched();
        if !keeps_touched {
            state.forgo_touched();
        }
        let mut looked_at = lookout.0.tasks.iter().enumerate().peekable();
        // Those that touched something else than they were seen to.
        let mut mistaken: Vec<(TaskId, Vec<AccessEntry>)> = Vec::new();
        let mut result = Ok(());
        let (mut done, mut taken) = (0, 0);
        for (position, task) in self.pending.iter().enumerate() {
            if position.is_multiple_of(ANNOUNCED) {
                let end = (position + ANNOUNCED).min(self.pending.len());
                let last = self.pending[end - 1];
                // They are transactions in a row.
                looker.announce(self.block(), task.index()..last.index() + 1, Next::Run);
            }
            if let Some(known) = doubt.take_if(|doubt| doubt.is_over())
                && known.left() >= RUN_TIME_LEFT
            {
                self.call_helpers(&lookout.0);
            }
            // SAFETY: no run is on and the block is this run's alone, so nobody else uses its cells: helpers look at
            // the state before the block. What workers did to cells is ordered before the end of their run.
            unsafe { state.enter_everything(*task) };
            let place = looked_at.next_if(|(_, looked_at)| *looked_at == task);
            let is_known = place.is_some_and(|(place, _)| {
                let look = |task| {
                    let since = Instant::now();
                    looker.look_at(self.block(), task, &self.counters);
                    self.counters.note_time(since);
                };
                lookout.0.wait(place, look)
            });
            let simulated = is_known
                .then(|| state.apply_simulation_sequentially())
                .flatten();
            let outcome = if let Some(outcome) = simulated {
                taken += 1;
                Ok(outcome)
            } else {
                let transaction = &self.block().transactions()[task.index()].transaction;
                let outcome = looker.executor.execute(transaction, &mut state);
                if keeps_touched && is_known {
                    mistaken.push((*task, mem::take(state.touched())));
                }
                outcome
            };
            if !state.is_entered(self.block(), *task) {
                // As in `block.rs`: the executor kept the window.
                std::process::abort();
            }
            state.leave();
            if keeps_touched {
                self.block().note_touched(*task, state.touched());
            }
            match outcome {
                Ok(outcome) => self.block().finish(*task, outcome),
                Err(source) => {
                    result = Err(StageError::Task {
                        task: *task,
                        source,
                    });
                    break;
                }
            }
            done += 1;
            if let Some(doubt) = &mut doubt {
                let transaction = &self.block().transactions()[task.index()].transaction;
                doubt.done = doubt.done.saturating_add((self.cost)(transaction));
            }
        }
        let ordered = state.into_sequential();
        drop(lookout);
        if let Some(ordered) = ordered {
            self.block_mut().end_sequential(ordered);
        }
        self.lone = Some(looker.into_executors(&self.counters));
        for (task, touched) in mistaken {
            self.block_mut().correct_touched(task, touched);
        }
        self.stats.alone += done - taken;
        self.stats.simulations_taken += taken;
        self.stats.run.add(&RunStats {
            tasks: done,
            executed: vec![done],
            ..RunStats::default()
        });
        result
    }

    /// What stands for cells, unless others of the block use some.
    fn begin_ordered(&mut self) -> Option<Box<SequentialState>> {
        let is_whole = self.pending.len() == self.block().transactions().len();
        if is_whole {
            self.block_mut().begin_sequential()
        } else {
            None
        }
    }

    fn begin_lookout(&self, with_helpers: bool) -> Arc<Lookout<T>> {
        let block = self.block();
        let is_worth_it = |task: &TaskId| {
            let transaction = &block.transactions()[task.index()].transaction;
            with_helpers && block.is_inferred(*task) && (self.cost)(transaction) >= COST_MIN
        };
        let tasks: Vec<_> = self.pending.iter().copied().filter(is_worth_it).collect();
        let is_long = |place: &usize| {
            let task = tasks[*place];
            (self.cost)(&block.transactions()[task.index()].transaction) >= ASIDE_COST
        };
        // The calling thread would wait for those that take longest.
        let (mut order, others): (Vec<_>, Vec<_>) = (0..tasks.len()).partition(is_long);
        order.extend(others);
        Arc::new(Lookout {
            block: Mutex::new(Some(Arc::clone(block))),
            inside: AtomicUsize::new(0),
            states: tasks.iter().map(|_| AtomicU8::new(NEW)).collect(),
            tasks,
            order,
            next: AtomicUsize::new(0),
        })
    }

    fn call_helpers(&self, lookout: &Arc<Lookout<T>>) {
        let helpers = self.stage.config().threads.get() - 1;
        for _ in 0..helpers.min(lookout.tasks.len()) {
            let lookout = Arc::clone(lookout);
            let (make, counters) = (Arc::clone(&self.make), Arc::clone(&self.counters));
            // Nobody waits for a helper that has not come.
            let _ = self.stage.aside(move || look(&lookout, &*make, &counters));
        }
    }
}
