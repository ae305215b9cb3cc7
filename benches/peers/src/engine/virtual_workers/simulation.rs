//! The simulation: a queue of events that drives the stage's core.

use super::costs::{SimulatedCosts, SimulatedRun, SimulatedTask};
use lockweave_banking_stage::{
    Access, Grant, Scheduler, Workload,
    simulation::{
        Core, FREE_CHUNK_COST_MAX, FREE_COST_MAX, REPORT_COST, Step, TaskBits, WorkerContext,
    },
};
use lockweave_runtime::{DenseId, TaskId};
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

/// Simulates a run of these tasks on a stage with this many workers.
pub fn simulate(tasks: &[SimulatedTask], workers: usize, costs: SimulatedCosts) -> SimulatedRun {
    let workload = Arc::new(TaskList {
        tasks: tasks.to_vec(),
        costs,
        spent: AtomicU64::new(0),
    });
    Simulation::new(workload, workers.max(1), costs).run()
}

/// The tasks as the core reads them, and what reading them costs.
struct TaskList {
    tasks: Vec<SimulatedTask>,
    costs: SimulatedCosts,
    /// Nanoseconds under the lock since they were last taken.
    spent: AtomicU64,
}

impl Workload for TaskList {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.tasks.len()
    }

    fn enter(&self, _worker: usize) {}

    /// Called once for each task that is fed, and once for each that is completed.
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
    /// It joins, for the first time or after it was called.
    Joins,
    /// It takes a turn.
    Turn,
    /// It begins with the next task of its batch.
    Next,
    /// It has run a task of its batch.
    Ran(TaskId),
    /// It stops waiting, if it still waits for the same message.
    GivesUp { waits: usize },
}

struct Simulation {
    workload: Arc<TaskList>,
    core: Core<TaskList>,
    costs: SimulatedCosts,
    contexts: Vec<WorkerContext>,
    /// By worker: how often it has begun to wait.
    waits: Vec<usize>,
    /// Workers that wait for a message, longest first.
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
            contexts: (0..workers).map(WorkerContext::new).collect(),
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
                Event::Joins => self.join(time, worker),
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

    /// As a called helper does.
    fn join(&mut self, time: u64, worker: usize) {
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
        let mut context = std::mem::replace(&mut self.contexts[worker], WorkerContext::new(worker));
        let elapsed = || Duration::from_nanos(start);
        let step = self.core.turn(&*self.workload, &mut context, elapsed);
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
        let end = self.send(end, &mut context);
        self.contexts[worker] = context;
        match step {
            Step::Execute => self.at(end, worker, Event::Next),
            Step::Prepare { chunk, tasks } => self.prepare(end, worker, chunk, tasks),
            Step::Wait => self.wait(end, worker),
            Step::Leave => self.leave(worker),
        }
    }

    /// Sends what the context holds. Returns when that is done.
    fn send(&mut self, time: u64, context: &mut WorkerContext) -> u64 {
        let begins = time + self.costs.hand_over;
        for batch in context.outbox.drain(..) {
            let other = self
                .waiting
                .pop_front()
                .expect("a worker was counted as idle");
            self.contexts[other].batch = batch;
            self.at(begins, other, Event::Next);
        }
        for _ in 0..std::mem::take(&mut context.dismissals) {
            let other = self
                .waiting
                .pop_front()
                .expect("a worker was counted as idle");
            self.result.span = self.result.span.max(begins);
            self.leave(other);
        }
        if !std::mem::take(&mut context.call) {
            return time;
        }
        let other = self.parked.pop().expect("a parked worker is called");
        self.at(time + self.costs.wake, other, Event::Joins);
        time + self.costs.call
    }

    fn wait(&mut self, time: u64, worker: usize) {
        self.waits[worker] += 1;
        self.waiting.push_back(worker);
        if worker != 0 {
            let waits = self.waits[worker];
            self.at(
                time + self.costs.spin_time,
                worker,
                Event::GivesUp { waits },
            );
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
        let (mut done, mut cost_left): (TaskBits, _) = (0, FREE_CHUNK_COST_MAX);
        for (place, index) in tasks.enumerate() {
            let task = &self.workload.tasks[index];
            time += task.prepare;
            self.prepared[index] = Some(time);
            let is_prepared = |other: &TaskId| {
                self.prepared[other.index()].is_some_and(|prepared| prepared <= time)
            };
            let after = task.free_after.as_ref();
            let is_free = after.is_some_and(|tasks| tasks.iter().all(is_prepared));
            if is_free && task.gas <= FREE_COST_MAX && task.gas <= cost_left {
                cost_left -= task.gas;
                time += task.run;
                self.result.free += 1;
                done |= 1 << place;
            }
        }
        self.contexts[worker].prepared = Some((chunk, done));
        self.at(time, worker, Event::Turn);
    }

    fn next(&mut self, time: u64, worker: usize) {
        match self.contexts[worker].batch.pop() {
            Some(task) => {
                let run = self.workload.tasks[task.index()].run;
                self.at(time + run, worker, Event::Ran(task));
            }
            None => self.turn(time, worker),
        }
    }

    fn ran(&mut self, time: u64, worker: usize, task: TaskId) {
        self.contexts[worker].done.push(task);
        let reports = self.core.idle > 0 || self.workload.cost(task) >= REPORT_COST;
        let event = if reports { Event::Turn } else { Event::Next };
        self.at(time, worker, event);
    }
}
