//! What executing a block with inferred sets counts.

use crate::scheduler::RunStats;
use lockweave_runtime::{DenseId, TaskId};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// Statistics of executing a block with inferred sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InferredStats {
    /// Sets that follow from the transaction alone.
    pub known: usize,
    /// Sets found by template.
    pub by_template: usize,
    /// Sets found by a simulation, whether or not it could be taken as the execution.
    pub by_simulation: usize,
    /// Simulations that were taken as executions.
    pub simulations_taken: usize,
    /// Long-running transactions whose sets were known only after the others had run.
    pub deferred: usize,
    /// Transactions that were granted a key beyond their sets.
    pub late_grants: usize,
    /// Access violations: transactions that accessed a key outside their sets.
    pub violations: usize,
    /// Transactions that were rolled back.
    pub rolled_back: usize,
    /// Transactions that were executed alone.
    pub executed_alone: usize,
    /// Payments that ran without locks.
    pub payments: usize,
    /// Time spent on inference, the sum over all workers.
    pub inference: Duration,
    /// The parallel runs that were completed, added up.
    pub run: RunStats,
}

/// What workers count and note.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By transaction: whether its set came from a template.
    by_template_of: Box<[AtomicBool]>,
    known: AtomicUsize,
    by_template: AtomicUsize,
    by_simulation: AtomicUsize,
    simulations_taken: AtomicUsize,
    inference_nanoseconds: AtomicU64,
}

/// What one worker counts for itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerCounts {
    pub(crate) known: usize,
    pub(crate) by_template: usize,
    pub(crate) by_simulation: usize,
}

impl Counters {
    /// Counters for so many transactions whose sets are inferred.
    pub(crate) fn new(transactions: usize) -> Self {
        Self {
            by_template_of: (0..transactions).map(|_| AtomicBool::new(false)).collect(),
            ..Self::default()
        }
    }

    /// Notes that a transaction's set came from a template.
    pub(crate) fn note_template(&self, task: TaskId) {
        self.by_template_of[task.index()].store(true, Ordering::Relaxed);
    }

    /// Whether a transaction's set came from a template.
    pub(crate) fn is_by_template(&self, task: TaskId) -> bool {
        self.by_template_of[task.index()].load(Ordering::Relaxed)
    }

    /// Adds the time since then to the time spent on inference.
    pub(crate) fn add_time(&self, since: Instant) {
        let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        (self.inference_nanoseconds).fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Adds simulations that were taken as executions.
    pub(crate) fn add_simulations_taken(&self, simulations: usize) {
        (self.simulations_taken).fetch_add(simulations, Ordering::Relaxed);
    }

    /// Adds what a worker has counted.
    pub(crate) fn add(&self, counts: WorkerCounts) {
        let add = |counter: &AtomicUsize, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.known, counts.known);
        add(&self.by_template, counts.by_template);
        add(&self.by_simulation, counts.by_simulation);
    }

    /// Adds the counters to the statistics.
    pub(crate) fn add_to(&self, stats: &mut InferredStats) {
        stats.known += self.known.load(Ordering::Relaxed);
        stats.by_template += self.by_template.load(Ordering::Relaxed);
        stats.by_simulation += self.by_simulation.load(Ordering::Relaxed);
        stats.simulations_taken += self.simulations_taken.load(Ordering::Relaxed);
        let nanoseconds = self.inference_nanoseconds.load(Ordering::Relaxed);
        stats.inference += Duration::from_nanos(nanoseconds);
    }
}
