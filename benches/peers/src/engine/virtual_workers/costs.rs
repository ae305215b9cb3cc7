//! What a simulation is given and what it returns.

use lockweave_runtime::{KeyAccess, TaskId};

/// What the stage's own work costs, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedCosts {
    /// A turn at the scheduler, without the work done in it, if this worker had the last turn too.
    pub turn_again: u64,
    /// The same if another worker had the last turn: the lock and the data come from another core.
    pub turn: u64,
    /// Feeding or completing a task, without its keys.
    pub task: u64,
    /// The same, per key.
    pub key: u64,
    /// For a worker, after its turn, to call a parked one.
    pub call: u64,
    /// From the end of a turn until a waiting worker begins with the tasks it was sent.
    pub hand_over: u64,
    /// From the end of a turn until a parked worker that it called joins.
    pub wake: u64,
    /// How long a worker waits for a message before it parks.
    pub spin_time: u64,
}

/// A task of the simulation.
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
    /// Its estimated cost, in gas.
    pub gas: u64,
}

/// The result of a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulatedRun {
    /// Nanoseconds until the run was over and every worker had left.
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
