//! The queue of the prefetch workers: transactions that are simulated before their turn.

use crate::block::{Counters, LONG_TRANSACTION_GAS, MakeExecutors, Simulator, transaction};
use lockweave_runtime::{Infer, OpenBlock, TaskId};
use parking_lot::Mutex;
use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    thread,
};

/// A transaction that costs less, in gas, is a payment, which is executed faster than it is simulated.
const COST_MIN: u64 = 22_000;

/// No thread has claimed it.
const UNCLAIMED: u8 = 0;
/// A prefetch worker simulates it.
const CLAIMED: u8 = 1;
/// No thread will simulate it any more.
const DONE: u8 = 2;

pub(crate) struct PrefetchQueue<T> {
    /// Taken when the block is over. A worker that arrives later finds nothing to do.
    block: Mutex<Option<Arc<OpenBlock<T>>>>,
    /// Workers that have the block.
    inside: AtomicUsize,
    /// In block order.
    tasks: Vec<TaskId>,
    /// The order in which they are simulated: places in that list.
    order: Vec<usize>,
    /// By place in that list.
    states: Vec<AtomicU8>,
    next: AtomicUsize,
}

impl<T> PrefetchQueue<T> {
    /// The transactions among these that are worth simulating.
    pub(crate) fn new(
        block: &Arc<OpenBlock<T>>,
        tasks: impl Iterator<Item = TaskId>,
        cost: fn(&T) -> u64,
    ) -> Self {
        let cost = |task| cost(transaction(block, task));
        let pays = |task: &TaskId| block.is_inferred(*task) && cost(*task) >= COST_MIN;
        let tasks: Vec<_> = tasks.filter(pays).collect();
        // Long ones first: the calling thread would have to wait for them.
        let is_long = |place: &usize| cost(tasks[*place]) >= LONG_TRANSACTION_GAS;
        let (mut order, others): (Vec<_>, Vec<_>) = (0..tasks.len()).partition(is_long);
        order.extend(others);
        Self {
            block: Mutex::new(Some(Arc::clone(block))),
            inside: AtomicUsize::new(0),
            states: tasks.iter().map(|_| AtomicU8::new(UNCLAIMED)).collect(),
            tasks,
            order,
            next: AtomicUsize::new(0),
        }
    }

    pub(crate) fn tasks(&self) -> &[TaskId] {
        &self.tasks
    }

    /// Joins as a prefetch worker, if the block is not over.
    fn join(&self) -> Option<Inside<'_, T>> {
        let block = self.block.lock();
        let block = Arc::clone(block.as_ref()?);
        self.inside.fetch_add(1, Ordering::Relaxed);
        Some(Inside {
            queue: self,
            block: Some(block),
        })
    }

    /// Admits no more workers, and waits for those inside.
    fn close(&self) {
        self.next.store(self.tasks.len(), Ordering::Relaxed);
        drop(self.block.lock().take());
        spin_until(|| self.inside.load(Ordering::Acquire) == 0);
    }

    /// Claims the next transaction that is unclaimed.
    fn next(&self) -> Option<(TaskId, Claim<'_>)> {
        loop {
            let place = *self.order.get(self.next.fetch_add(1, Ordering::Relaxed))?;
            let state = &self.states[place];
            if claim(state) {
                return Some((self.tasks[place], Claim(state)));
            }
        }
    }

    /// Waits until the transaction at a place is simulated, if a worker has begun to; returns whether one
    /// has. Meanwhile calls `simulate` for others. If none has begun, none will.
    pub(crate) fn wait(&self, place: usize, mut simulate: impl FnMut(TaskId)) -> bool {
        let state = &self.states[place];
        if claim(state) {
            return false;
        }
        while state.load(Ordering::Acquire) == CLAIMED
            && let Some((task, claim)) = self.next()
        {
            simulate(task);
            drop(claim);
        }
        spin_until(|| state.load(Ordering::Acquire) != CLAIMED);
        true
    }
}

/// Waits for a prefetch worker that is at work.
fn spin_until(is_so: impl Fn() -> bool) {
    let mut polls = 0_u32;
    while !is_so() {
        polls = polls.wrapping_add(1);
        if polls.is_multiple_of(64) {
            thread::yield_now();
        }
        hint::spin_loop();
    }
}

fn claim(state: &AtomicU8) -> bool {
    let claimed = state.compare_exchange(UNCLAIMED, CLAIMED, Ordering::Acquire, Ordering::Acquire);
    claimed.is_ok()
}

/// The right to simulate a transaction. Dropping it, even by a panic, ends the wait for the transaction.
struct Claim<'a>(&'a AtomicU8);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.store(DONE, Ordering::Release);
    }
}

struct Inside<'a, T> {
    queue: &'a PrefetchQueue<T>,
    block: Option<Arc<OpenBlock<T>>>,
}

impl<T> Drop for Inside<'_, T> {
    fn drop(&mut self) {
        self.block = None;
        self.queue.inside.fetch_sub(1, Ordering::Release);
    }
}

pub(crate) struct ClosedOnDrop<T>(pub(crate) Arc<PrefetchQueue<T>>);

impl<T> Drop for ClosedOnDrop<T> {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub(crate) fn prefetch<T, E, I>(
    queue: &PrefetchQueue<T>,
    make: &MakeExecutors<E, I>,
    counters: &Counters,
) where
    E: 'static,
    I: Infer<T>,
{
    let Some(inside) = queue.join() else {
        return;
    };
    let Some(block) = &inside.block else {
        return;
    };
    let mut simulator = None;
    while let Some((task, claim)) = queue.next() {
        let simulator =
            simulator.get_or_insert_with(|| Simulator::new(make, Arc::clone(block.cells().view())));
        simulator.simulate(block, task, counters);
        drop(claim);
    }
    if let Some(simulator) = simulator {
        simulator.retire(counters);
    }
}
