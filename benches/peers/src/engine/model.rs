//! The scheduler on more workers than this machine has: a discrete-event model.
//!
//! Scheduler and lock table are the engine's own code; workers and their clock are not. A worker that
//! is done waits for the one lock, and in its turn reports, feeds and takes a batch, by the rules of the
//! banking stage: tasks are prepared in chunks, what a completion freed goes to whoever completed it,
//! a batch is at most the worker's share. What each of these takes is given in [`Costs`]. There is no
//! randomness: the same costs give the same answer.
//!
//! What it leaves out: caches and memory that workers share. Where those bind, it promises too much.

use lockweave_banking_stage::{Access, Fed, Scheduler};
use lockweave_runtime::{DenseId, KeyAccess, KeyId, TaskId};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    ops::Range,
};

/// As in the banking stage: tasks prepared in one go, fed in one turn, and run in a row.
const CHUNK_TASKS_MAX: usize = 32;
const CHUNK_TASKS_MIN: usize = 4;
const FEED_MAX: usize = 4 * CHUNK_TASKS_MAX;
const BATCH_TASKS_MAX: usize = 32;
/// In gas.
const BATCH_COST_MAX: u64 = 300_000;
const BATCH_COST_SHARED: u64 = 50_000;

/// What things take, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Taking the lock and giving it back, whatever is done under it.
    pub turn: u64,
    /// Putting a task into its queues, under the lock.
    pub feed: u64,
    /// Releasing a task and finding what that frees, under the lock.
    pub complete: u64,
    /// From handing work to a waiting worker until it runs.
    pub wake: u64,
}

/// A task as the model sees it.
#[derive(Clone, Debug)]
pub struct ModelTask {
    /// Its keys.
    pub access: Vec<KeyAccess>,
    /// Nanoseconds to prepare it.
    pub prepare: u64,
    /// Nanoseconds to run it.
    pub run: u64,
    /// What it is thought to cost, for batching.
    pub gas: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Nanoseconds until the last task was completed.
    pub span: u64,
    /// Nanoseconds for which the lock was held.
    pub lock_held: u64,
    /// Turns that were taken.
    pub turns: u64,
}

/// What a worker has in hand.
#[derive(Clone, Debug, Default)]
struct Hand {
    done: Vec<TaskId>,
    prepared: Option<usize>,
    own: Range<usize>,
}

struct Model<'t> {
    tasks: &'t [ModelTask],
    costs: Costs,
    workers: usize,
    scheduler: Scheduler,
    hands: Vec<Hand>,
    prepared: Vec<bool>,
    chunk_tasks: usize,
    next_chunk: usize,
    idle: VecDeque<usize>,
    /// When workers want their next turns, earliest first.
    events: BinaryHeap<Reverse<(u64, usize)>>,
    lock_free_at: u64,
    result: Simulated,
}

/// Runs tasks on so many workers.
pub fn simulate(tasks: &[ModelTask], workers: usize, costs: Costs) -> Simulated {
    let workers = workers.max(1);
    let chunk_tasks = (tasks.len() / (4 * workers)).clamp(CHUNK_TASKS_MIN, CHUNK_TASKS_MAX);
    let mut model = Model {
        tasks,
        costs,
        workers,
        scheduler: Scheduler::default(),
        hands: vec![Hand::default(); workers],
        prepared: vec![false; tasks.len().div_ceil(chunk_tasks)],
        chunk_tasks,
        next_chunk: 0,
        idle: VecDeque::new(),
        events: BinaryHeap::new(),
        lock_free_at: 0,
        result: Simulated::default(),
    };
    model.scheduler.begin(tasks.len());
    for worker in 0..workers {
        // Helpers are called one by one, each by the one before.
        let called = costs.wake * worker as u64;
        model.events.push(Reverse((called, worker)));
    }
    while let Some(Reverse((time, worker))) = model.events.pop() {
        model.turn(time, worker);
    }
    assert!(model.scheduler.is_done(), "every task becomes ready");
    model.result
}

impl Model<'_> {
    fn turn(&mut self, time: u64, worker: usize) {
        let start = time.max(self.lock_free_at);
        let mut held = self.costs.turn;
        let mut freed = Vec::new();
        let tasks = self.tasks;
        for task in std::mem::take(&mut self.hands[worker].done) {
            let access = Access::Keys(&tasks[task.index()].access);
            self.scheduler.complete(task, access, &mut freed);
            held += self.costs.complete;
        }
        freed.sort_unstable_by(|left: &TaskId, right| right.cmp(left));
        if let Some(chunk) = self.hands[worker].prepared.take() {
            self.prepared[chunk] = true;
        }
        held += self.feed(!freed.is_empty());
        let own = self.hands[worker].own.clone();
        let batch = self.fill(&mut freed, &own);
        for task in freed {
            self.scheduler.give_back(task);
        }
        let mut hand_over = Vec::new();
        let chunk = if batch.is_empty() { self.claim() } else { None };
        if batch.is_empty() && chunk.is_none() {
            self.idle.push_back(worker);
        }
        while self.scheduler.ready() > 0
            && let Some(other) = self.idle.pop_front()
        {
            let batch = self.fill(&mut Vec::new(), &(0..0));
            hand_over.push((other, batch));
        }
        let end = start + held;
        self.lock_free_at = end;
        self.result.lock_held += held;
        self.result.turns += 1;
        if self.scheduler.is_done() {
            self.result.span = self.result.span.max(end);
        }
        for (other, batch) in hand_over {
            self.execute(end + self.costs.wake, other, batch);
        }
        if let Some(chunk) = chunk {
            let range =
                chunk * self.chunk_tasks..((chunk + 1) * self.chunk_tasks).min(self.tasks.len());
            let time: u64 = self.tasks[range.clone()]
                .iter()
                .map(|task| task.prepare)
                .sum();
            self.hands[worker].prepared = Some(chunk);
            self.hands[worker].own = range;
            self.events.push(Reverse((end + time, worker)));
        } else if !batch.is_empty() {
            self.execute(end, worker, batch);
        }
    }

    fn execute(&mut self, start: u64, worker: usize, batch: Vec<TaskId>) {
        let time: u64 = batch.iter().map(|task| self.tasks[task.index()].run).sum();
        self.hands[worker].done = batch;
        self.events.push(Reverse((start + time, worker)));
    }

    /// Feeds what is prepared; the time that takes.
    fn feed(&mut self, something_freed: bool) -> u64 {
        let mut fed = 0;
        let mut time = 0;
        while fed < FEED_MAX || (self.scheduler.ready() == 0 && !something_freed) {
            let Some(task) = self.scheduler.next_to_feed() else {
                break;
            };
            if !self.prepared[task.index() / self.chunk_tasks] {
                break;
            }
            let tasks = self.tasks;
            let access = Access::Keys(&tasks[task.index()].access);
            if self.scheduler.feed(task, access) == Fed::WindowFull {
                break;
            }
            fed += 1;
            time += self.costs.feed;
        }
        time
    }

    fn fill(&mut self, freed: &mut Vec<TaskId>, own: &Range<usize>) -> Vec<TaskId> {
        let available = self.scheduler.ready() + freed.len();
        let share = available.div_ceil(self.workers);
        let shared = if self.idle.is_empty() {
            BATCH_COST_SHARED
        } else {
            0
        };
        let (mut batch, mut cost) = (Vec::new(), 0);
        while batch.len() < BATCH_TASKS_MAX {
            let enough = cost >= BATCH_COST_MAX || (batch.len() >= share && cost >= shared);
            if enough && !batch.is_empty() {
                break;
            }
            let task = freed
                .pop()
                .or_else(|| self.scheduler.next_ready_in(own))
                .or_else(|| self.scheduler.next_ready());
            let Some(task) = task else {
                break;
            };
            batch.push(task);
            cost += self.tasks[task.index()].gas;
        }
        batch
    }

    fn claim(&mut self) -> Option<usize> {
        let chunk = self.next_chunk;
        let is_left = chunk * self.chunk_tasks < self.tasks.len();
        self.next_chunk += usize::from(is_left);
        is_left.then_some(chunk)
    }
}

/// The longest chain of tasks that wait for each other, in nanoseconds: no number of workers does
/// better.
pub fn critical_path(tasks: &[ModelTask]) -> u64 {
    use lockweave_runtime::AccessMode;
    use std::collections::HashMap;
    /// Ends of the last group of holders, and of those before it.
    struct Ends {
        mode: AccessMode,
        group: u64,
        before: u64,
    }
    let mut keys: HashMap<KeyId, Ends> = HashMap::new();
    let mut longest = 0;
    for task in tasks {
        let start = task.access.iter().map(|entry| {
            keys.get(&entry.key).map_or(0, |ends| {
                let joins = ends.mode.is_compatible_with(entry.mode);
                if joins { ends.before } else { ends.group }
            })
        });
        let end = start.max().unwrap_or(0) + task.run;
        longest = longest.max(end);
        for entry in &task.access {
            let ends = keys.entry(entry.key).or_insert(Ends {
                mode: entry.mode,
                group: 0,
                before: 0,
            });
            if !ends.mode.is_compatible_with(entry.mode) {
                ends.before = ends.group;
                ends.mode = entry.mode;
            }
            ends.group = ends.group.max(end);
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockweave_runtime::AccessMode;

    const FREE: Costs = Costs {
        turn: 0,
        feed: 0,
        complete: 0,
        wake: 0,
    };

    fn tasks(count: usize, key: impl Fn(usize) -> usize) -> Vec<ModelTask> {
        (0..count)
            .map(|index| ModelTask {
                access: vec![KeyAccess {
                    key: KeyId::from_index(key(index)),
                    mode: AccessMode::Write,
                }],
                prepare: 0,
                run: 1_000,
                gas: 300_000,
            })
            .collect()
    }

    #[test]
    fn free_scheduling_divides_independent_work() {
        let tasks = tasks(1_024, |index| index);
        assert_eq!(simulate(&tasks, 1, FREE).span, 1_024_000);
        assert_eq!(simulate(&tasks, 8, FREE).span, 128_000);
        assert_eq!(critical_path(&tasks), 1_000);
    }

    #[test]
    fn a_chain_is_as_long_on_any_number_of_workers() {
        let tasks = tasks(100, |_| 0);
        assert_eq!(critical_path(&tasks), 100_000);
        for workers in [1, 3, 64] {
            assert_eq!(simulate(&tasks, workers, FREE).span, 100_000);
        }
    }

    #[test]
    fn the_lock_bounds_what_many_workers_gain() {
        let costs = Costs {
            turn: 500,
            feed: 250,
            complete: 250,
            wake: 0,
        };
        let result = simulate(&tasks(4_096, |index| index), 128, costs);
        assert!(result.lock_held >= 4_096 * 500);
        assert!(result.span >= result.lock_held);
        assert_eq!(result, simulate(&tasks(4_096, |index| index), 128, costs));
    }
}
