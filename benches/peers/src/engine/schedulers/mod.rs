//! Schedulers alone, on one thread: transactions with three keys, two written and one read by all.
//!
//! A batch of transactions is inserted; ready ones are taken and completed until none is left; then the next batch
//! follows. Ours gets numbered keys, as in the engine and, for comparison with schedulers that hash their keys, keys
//! without numbers.

#[cfg(feature = "unified-scheduler")]
mod unified;

use super::measure::Samples;
use ahash::AHashMap;
use lockweave_banking_stage::{Access, Scheduler};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};
use prio_graph::{AccessKind, GraphNode, PrioGraph, TopLevelId};
use std::{hint::black_box, time::Instant};

/// Transactions in a batch.
const BATCH: usize = 2_048;
/// Batches in a run.
const BATCHES: usize = 50;
/// Runs of each.
const RUNS: usize = 11;

/// A scheduler that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchedulerKind {
    /// Ours, with numbered keys.
    Lockweave,
    /// Ours, numbering keys of eight bytes first.
    LockweaveNumbering,
    /// Agave's older scheduler, with keys of eight bytes.
    PrioGraph,
    /// Agave's newer scheduler, with tasks that know their queues.
    #[cfg(feature = "unified-scheduler")]
    Unified,
    /// The same, with lookup of 32-byte keys and creation of tasks.
    #[cfg(feature = "unified-scheduler")]
    UnifiedMaking,
}

impl SchedulerKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Lockweave,
        Self::LockweaveNumbering,
        Self::PrioGraph,
        #[cfg(feature = "unified-scheduler")]
        Self::Unified,
        #[cfg(feature = "unified-scheduler")]
        Self::UnifiedMaking,
    ];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lockweave => "lockweave",
            Self::LockweaveNumbering => "lockweave, numbering",
            Self::PrioGraph => "prio-graph",
            #[cfg(feature = "unified-scheduler")]
            Self::Unified => "unified-scheduler",
            #[cfg(feature = "unified-scheduler")]
            Self::UnifiedMaking => "unified-scheduler, making tasks",
        }
    }
}

/// The measurements of one scheduler.
#[derive(Clone, Debug)]
pub struct SchedulerResult {
    /// The scheduler.
    pub kind: SchedulerKind,
    /// Transactions in a hundred that write the same key.
    pub conflict_percent: u64,
    /// Nanoseconds of one thread for each transaction.
    pub ns: Samples,
    /// Transactions of a run.
    pub transactions: usize,
}

/// The keys of a transaction: read by all, written, written.
type Keys = [u64; 3];

/// Measures all schedulers in turn, at one rate of conflicts.
pub fn measure(conflict_percent: u64) -> Vec<SchedulerResult> {
    let batches: Vec<Vec<Keys>> = (0..BATCHES as u64)
        .map(|batch| keys(batch, conflict_percent))
        .collect();
    let mut results: Vec<_> = SchedulerKind::ALL
        .iter()
        .map(|&kind| SchedulerResult {
            kind,
            conflict_percent,
            ns: Samples::default(),
            transactions: BATCH * BATCHES,
        })
        .collect();
    for run in 0..=RUNS {
        for result in &mut results {
            let ns = match result.kind {
                SchedulerKind::Lockweave => lockweave(&batches, false),
                SchedulerKind::LockweaveNumbering => lockweave(&batches, true),
                SchedulerKind::PrioGraph => prio_graph(&batches),
                #[cfg(feature = "unified-scheduler")]
                SchedulerKind::Unified => unified::run(&batches, false),
                #[cfg(feature = "unified-scheduler")]
                SchedulerKind::UnifiedMaking => unified::run(&batches, true),
            };
            // The first one warms up.
            if run > 0 {
                result.ns.push(ns);
            }
        }
    }
    results
}

fn keys(batch: u64, conflict_percent: u64) -> Vec<Keys> {
    (0..BATCH as u64)
        .map(|task| {
            let own = 2 + 2 * (batch * BATCH as u64 + task);
            let is_hot = crate::workload::mix(own) % 100 < conflict_percent;
            [0, if is_hot { 1 } else { own }, own + 1]
        })
        .collect()
}

fn mode(place: usize) -> AccessMode {
    if place == 0 {
        AccessMode::Read
    } else {
        AccessMode::Write
    }
}

fn per_transaction(start: Instant) -> f64 {
    let transactions = u32::try_from(BATCH * BATCHES).unwrap_or(u32::MAX);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(transactions)
}

fn lockweave(batches: &[Vec<Keys>], numbering: bool) -> f64 {
    let mut scheduler = Scheduler::default();
    // Within a batch ids are dense, as in a block.
    let mut sets: Vec<[KeyAccess; 3]> = Vec::new();
    let mut ids: AHashMap<u64, KeyId> = AHashMap::new();
    let mut freed = Vec::new();
    let numbered: Vec<Vec<[KeyAccess; 3]>> = batches
        .iter()
        .map(|batch| number(batch, &mut ids))
        .collect();
    let start = Instant::now();
    for (batch, known) in batches.iter().zip(&numbered) {
        if numbering {
            sets = number(batch, &mut ids);
        }
        let sets = if numbering { &sets } else { known };
        scheduler.begin(sets.len());
        for (task, set) in sets.iter().enumerate() {
            let fed = scheduler.feed(TaskId::from_index(task), Access::Keys(set));
            let _ = black_box(fed);
        }
        while let Some(task) = freed.pop().or_else(|| scheduler.next_ready()) {
            scheduler.complete(task, Access::Keys(&sets[task.index()]), &mut freed);
        }
        assert!(scheduler.is_done(), "every task becomes ready");
    }
    per_transaction(start)
}

fn number(batch: &[Keys], ids: &mut AHashMap<u64, KeyId>) -> Vec<[KeyAccess; 3]> {
    ids.clear();
    let mut sets = Vec::with_capacity(batch.len());
    for keys in batch {
        let mut place = 0;
        sets.push(keys.map(|key| {
            let next = ids.len();
            let key = *ids.entry(key).or_insert_with(|| KeyId::from_index(next));
            place += 1;
            KeyAccess {
                key,
                mode: mode(place - 1),
            }
        }));
    }
    sets
}

/// The order of a transaction: earlier ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Earliest(std::cmp::Reverse<u64>);

impl TopLevelId<u64> for Earliest {
    fn id(&self) -> u64 {
        self.0.0
    }
}

fn prio_graph(batches: &[Vec<Keys>]) -> f64 {
    let mut graph = PrioGraph::new(|id: &u64, _: &GraphNode<u64>| Earliest(std::cmp::Reverse(*id)));
    let start = Instant::now();
    for batch in batches {
        for (id, keys) in (0_u64..).zip(batch) {
            let accesses = keys.iter().enumerate().map(|(place, key)| {
                let kind = if place == 0 {
                    AccessKind::Read
                } else {
                    AccessKind::Write
                };
                (*key, kind)
            });
            graph.insert_transaction(id, accesses);
        }
        let mut completed = 0;
        while let Some(freed) = graph.pop_and_unblock() {
            black_box(freed);
            completed += 1;
        }
        assert_eq!(completed, batch.len(), "every transaction becomes ready");
        graph.clear();
    }
    per_transaction(start)
}
