//! What executing a block with inferred sets counts.

use crate::scheduler::RunStats;
use lockweave_runtime::{DenseId, TaskId};
use parking_lot::Mutex;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
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

impl InferredStats {
    /// Adds what a worker has counted.
    fn add_counts(&mut self, counts: &Self) {
        self.known += counts.known;
        self.by_template += counts.by_template;
        self.by_simulation += counts.by_simulation;
        self.simulations_taken += counts.simulations_taken;
        self.inference += counts.inference;
    }
}

/// What workers count and note.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By transaction: whether its set came from a template.
    by_template_of: Box<[AtomicBool]>,
    counts: Mutex<InferredStats>,
}

impl Counters {
    pub(crate) fn new(transactions: usize) -> Self {
        Self {
            by_template_of: (0..transactions).map(|_| AtomicBool::new(false)).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn note_template(&self, task: TaskId) {
        self.by_template_of[task.index()].store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_by_template(&self, task: TaskId) -> bool {
        self.by_template_of[task.index()].load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, counts: &InferredStats) {
        self.counts.lock().add_counts(counts);
    }

    pub(crate) fn add_to(&self, stats: &mut InferredStats) {
        stats.add_counts(&self.counts.lock());
    }
}
