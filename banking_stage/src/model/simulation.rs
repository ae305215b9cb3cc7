//! The stage on virtual workers: a discrete-event simulation of runs on more cores than there are.
//!
//! Every decision is the stage's own: the simulation drives the same `Core` that threads drive, with its
//! scheduler, lock table, batches and free tasks. What is simulated is time, and with it who comes to the
//! lock when: how long tasks take is given, and what turns, locks and messages take in [`SimulatedCosts`].
//! There is no randomness; the same costs give the same answer.
//!
//! What it leaves out: caches and memory that cores share. Where those bind, it promises too much.

use crate::{
    lock_table::Access,
    scheduler::state_machine::Scheduler,
    stage::batch::{FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST},
    stage::core::{Core, Desk, Step, TaskBits},
    stage::grant::Grant,
    stage::workload::Workload,
};
use lockweave_runtime::{DenseId, KeyAccess, TaskId};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    convert::Infallible,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What the stage's own work takes, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedCosts {
    /// A turn at the scheduler beside what is done in it, if this worker had the last one too.
    pub turn_again: u64,
    /// The same if another worker had the last one: the lock and all behind it come from another core.
    pub turn: u64,
    /// Feeding a task or completing it, beside its keys.
    pub task: u64,
    /// A key's part of that.
    pub key: u64,
    /// What it takes a worker, after its turn, to call a parked one.
    pub call: u64,
    /// From the end of a turn until a worker that waits for a message begins with what it was sent.
    pub hand_over: u64,
    /// From the end of a turn until a parked worker that it called comes.
    pub wake: u64,
    /// How long a worker waits for a message before it parks.
    pub patience: u64,
}

/// A task as the simulation sees it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedTask {
    /// The locks it takes.
    pub access: Vec<KeyAccess>,
    /// If it may run as soon as it is prepared, without locks and without having been fed: tasks that
    /// have to be prepared before that.
    pub free_after: Option<Vec<TaskId>>,
    /// Nanoseconds to prepare it.
    pub prepare: u64,
    /// Nanoseconds to run it.
    pub run: u64,
    /// What it is thought to cost, in gas.
    pub gas: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedRun {
    /// Nanoseconds until the run was over and everybody had left.
    pub span: u64,
    /// Nanoseconds for which the scheduler's lock was held.
    pub lock_held: u64,
    /// Turns at the scheduler.
    pub turns: usize,
    /// Tasks that ran as soon as they were prepared, without having been fed.
    pub free: usize,
    /// Batches sent to workers that waited.
    pub handed_over: usize,
    /// Parked workers that were called.
    pub called: usize,
}

/// Simulates a run of these tasks on a stage with so many workers.
pub fn simulate(tasks: &[SimulatedTask], workers: usize, costs: SimulatedCosts) -> SimulatedRun {
    let workload = Arc::new(TaskList {
        tasks: tasks.to_vec(),
        costs,
        spent: AtomicU64::new(0),
    });
    Simulation::new(workload, workers.max(1), costs).run()
}

/// The tasks as the core asks for them, and what asking cost.
struct TaskList {
    tasks: Vec<SimulatedTask>,
    costs: SimulatedCosts,
    /// Nanoseconds under the lock since somebody last took them.
    spent: AtomicU64,
}

impl Workload for TaskList {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn enter(&self, _worker: usize) {}

    fn prepare(&self, (): &mut (), _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    /// Asked once for each task that is fed, and once for each that is completed.
    fn access(&self, task: TaskId) -> Access<'_> {
        let access = &self.tasks[task.index()].access;
        let cost = self.costs.task + self.costs.key * access.len() as u64;
        self.spent.fetch_add(cost, Ordering::Relaxed);
        Access::Keys(access)
    }

    fn cost(&self, task: TaskId) -> u64 {
        self.tasks[task.index()].gas
    }

    fn execute(&self, (): &mut (), _grant: &Grant<'_>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// What happens next to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// It comes for the first time, or after it was called.
    Comes,
    /// It wants a turn.
    Turn,
    /// It begins with the next task of its batch.
    Next,
    /// It has been running a task of its batch and is done.
    Ran(TaskId),
    /// Its patience is over, if it is still waiting for the same message.
    GivesUp { waits: usize },
}

struct Simulation {
    workload: Arc<TaskList>,
    core: Core<TaskList>,
    costs: SimulatedCosts,
    desks: Vec<Desk>,
    /// By worker: how often it has begun to wait.
    waits: Vec<usize>,
    /// Who waits for a message, longest first.
    waiting: VecDeque<usize>,
    parked: Vec<usize>,
    /// By task: when it was prepared.
    prepared: Vec<Option<u64>>,
    events: BinaryHeap<Reverse<(u64, usize, Event)>>,
    lock_free_at: u64,
    last_holder: usize,
    result: SimulatedRun,
}

impl Simulation {
    fn new(workload: Arc<TaskList>, workers: usize, costs: SimulatedCosts) -> Self {
        let tasks = workload.tasks.len();
        Self {
            core: Core::new(Arc::clone(&workload), tasks, Scheduler::default(), workers),
            desks: (0..workers).map(Desk::new).collect(),
            waits: vec![0; workers],
            waiting: VecDeque::new(),
            parked: (1..workers).rev().collect(),
            prepared: vec![None; tasks],
            events: BinaryHeap::from([Reverse((0, 0, Event::Turn))]),
            lock_free_at: 0,
            last_holder: 0,
            result: SimulatedRun::default(),
            workload,
            costs,
        }
    }

    fn run(mut self) -> SimulatedRun {
        while let Some(Reverse((time, worker, event))) = self.events.pop() {
            match event {
                Event::Comes => self.comes(time, worker),
                Event::Turn => self.turn(time, worker),
                Event::Next => self.next(time, worker),
                Event::Ran(task) => self.ran(time, worker, task),
                Event::GivesUp { waits } => self.gives_up(worker, waits),
            }
        }
        assert!(self.core.scheduler.is_done(), "every task becomes ready");
        self.result.turns = self.core.stats.turns;
        self.result.handed_over = self.core.stats.handed_over;
        self.result.called = self.core.stats.called;
        self.result
    }

    fn at(&mut self, time: u64, worker: usize, event: Event) {
        self.events.push(Reverse((time, worker, event)));
    }

    /// As a helper does that was called.
    fn comes(&mut self, time: u64, worker: usize) {
        self.core.called = self.core.called.saturating_sub(1);
        if self.core.closed {
            self.parked.push(worker);
        } else {
            self.core.inside += 1;
            self.turn(time, worker);
        }
    }

    fn turn(&mut self, time: u64, worker: usize) {
        let start = time.max(self.lock_free_at);
        let mut desk = std::mem::replace(&mut self.desks[worker], Desk::new(worker));
        let elapsed = || Duration::from_nanos(start);
        let step = self.core.turn(&*self.workload, &mut desk, elapsed);
        let again = self.last_holder == worker;
        let turn = if again {
            self.costs.turn_again
        } else {
            self.costs.turn
        };
        let held = turn + self.workload.spent.swap(0, Ordering::Relaxed);
        let end = start + held;
        self.lock_free_at = end;
        self.last_holder = worker;
        self.result.lock_held += held;
        self.result.span = self.result.span.max(end);
        let end = self.send(end, &mut desk);
        self.desks[worker] = desk;
        match step {
            Step::Execute => self.at(end, worker, Event::Next),
            Step::Prepare { chunk, tasks } => self.prepare(end, worker, chunk, tasks),
            Step::Wait => self.wait(end, worker),
            Step::Leave => self.leave(worker),
        }
    }

    /// Sends what is on the desk; the time when that is done.
    fn send(&mut self, time: u64, desk: &mut Desk) -> u64 {
        let begins = time + self.costs.hand_over;
        for batch in desk.outbox.drain(..) {
            let other = self
                .waiting
                .pop_front()
                .expect("somebody was counted as idle");
            self.desks[other].batch = batch;
            self.at(begins, other, Event::Next);
        }
        for _ in 0..std::mem::take(&mut desk.dismissals) {
            let other = self
                .waiting
                .pop_front()
                .expect("somebody was counted as idle");
            self.result.span = self.result.span.max(begins);
            self.leave(other);
        }
        if !std::mem::take(&mut desk.call) {
            return time;
        }
        let other = self.parked.pop().expect("only who is not inside is called");
        self.at(time + self.costs.wake, other, Event::Comes);
        time + self.costs.call
    }

    fn wait(&mut self, time: u64, worker: usize) {
        self.waits[worker] += 1;
        self.waiting.push_back(worker);
        if worker != 0 {
            let waits = self.waits[worker];
            self.at(time + self.costs.patience, worker, Event::GivesUp { waits });
        }
    }

    fn gives_up(&mut self, worker: usize, waits: usize) {
        let place = self.waiting.iter().position(|other| *other == worker);
        if let Some(place) = place.filter(|_| self.waits[worker] == waits) {
            self.waiting.remove(place);
            self.core.idle -= 1;
            self.leave(worker);
        }
    }

    fn leave(&mut self, worker: usize) {
        if worker != 0 {
            self.core.inside -= 1;
            self.parked.push(worker);
        }
    }

    /// As a worker does: prepares a chunk and runs those of its tasks that need no locks.
    fn prepare(&mut self, mut time: u64, worker: usize, chunk: usize, tasks: Range<usize>) {
        let (mut over, mut cost_left): (TaskBits, _) = (0, FREE_CHUNK_COST_MAX);
        for (place, index) in tasks.enumerate() {
            let task = &self.workload.tasks[index];
            time += task.prepare;
            self.prepared[index] = Some(time);
            let is_there = |other: &TaskId| {
                self.prepared[other.index()].is_some_and(|prepared| prepared <= time)
            };
            let after = task.free_after.as_ref();
            let is_free = after.is_some_and(|tasks| tasks.iter().all(is_there));
            if is_free && task.gas <= FREE_COST_MAX && task.gas <= cost_left {
                cost_left -= task.gas;
                time += task.run;
                self.result.free += 1;
                over |= 1 << place;
            }
        }
        self.desks[worker].prepared = Some((chunk, over));
        self.at(time, worker, Event::Turn);
    }

    fn next(&mut self, time: u64, worker: usize) {
        match self.desks[worker].batch.pop() {
            Some(task) => {
                let run = self.workload.tasks[task.index()].run;
                self.at(time + run, worker, Event::Ran(task));
            }
            None => self.turn(time, worker),
        }
    }

    fn ran(&mut self, time: u64, worker: usize, task: TaskId) {
        self.desks[worker].done.push(task);
        let reports = self.core.idle > 0 || self.workload.cost(task) >= REPORT_COST;
        let event = if reports { Event::Turn } else { Event::Next };
        self.at(time, worker, event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockweave_runtime::{AccessMode, KeyId};

    const FREE: SimulatedCosts = SimulatedCosts {
        turn_again: 0,
        turn: 0,
        task: 0,
        key: 0,
        call: 0,
        hand_over: 0,
        wake: 0,
        patience: 40_000,
    };

    /// Tasks of a microsecond each that write one key.
    fn tasks(count: usize, key: impl Fn(usize) -> usize) -> Vec<SimulatedTask> {
        let task = |index| SimulatedTask {
            access: vec![KeyAccess {
                key: KeyId::from_index(key(index)),
                mode: AccessMode::Write,
            }],
            run: 1_000,
            gas: 300_000,
            ..SimulatedTask::default()
        };
        (0..count).map(task).collect()
    }

    #[test]
    fn scheduling_that_costs_nothing_divides_independent_work() {
        let tasks = tasks(1_024, |index| index);
        assert_eq!(simulate(&tasks, 1, FREE).span, 1_024_000);
        assert_eq!(simulate(&tasks, 8, FREE).span, 128_000);
    }

    #[test]
    fn a_chain_is_as_long_on_any_number_of_workers() {
        let tasks = tasks(100, |_| 0);
        for workers in [1, 3, 64] {
            assert_eq!(simulate(&tasks, workers, FREE).span, 100_000);
        }
    }

    #[test]
    fn tasks_without_locks_run_where_they_are_prepared() {
        let task = SimulatedTask {
            prepare: 100,
            run: 900,
            gas: 21_000,
            free_after: Some(Vec::new()),
            ..SimulatedTask::default()
        };
        let mut tasks = vec![task; 2_048];
        let result = simulate(&tasks, 4, FREE);
        assert_eq!((result.free, result.span), (2_048, 512_000));
        // One that needs a cell of a task behind it is not free, and is fed.
        tasks[0].free_after = Some(vec![TaskId::from_index(1)]);
        assert_eq!(simulate(&tasks, 4, FREE).free, 2_047);
    }

    #[test]
    fn helpers_that_are_called_come_late() {
        let costs = SimulatedCosts {
            wake: 50_000,
            ..FREE
        };
        let tasks = tasks(1_024, |index| index);
        let result = simulate(&tasks, 4, costs);
        // The caller calls one in each of its turns, and they come 50, 51 and 52 us late: a quarter of 1,024 us
        // and of these 153 us, on the next whole microsecond at which somebody ends.
        assert_eq!(result.called, 3);
        assert!((293_250..=295_000).contains(&result.span), "{result:?}");
    }

    #[test]
    fn the_lock_bounds_what_many_workers_gain() {
        let costs = SimulatedCosts {
            turn: 500,
            turn_again: 500,
            task: 250,
            ..FREE
        };
        let tasks = tasks(4_096, |index| index);
        let result = simulate(&tasks, 128, costs);
        assert!(result.lock_held >= 4_096 * 1_000);
        assert!(result.span >= result.lock_held);
        assert_eq!(result, simulate(&tasks, 128, costs));
    }
}
