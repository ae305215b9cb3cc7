//! Execution statistics of the last blocks, to explain why a block took long. They are not part of the blocks
//! and end with the process.

use lockweave_banking_stage::InferredStats;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Blocks whose statistics are kept at most.
const RUNS_REMEMBERED_MAX: usize = 1_024;

/// Statistics of the last blocks that this node made.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    runs: Mutex<VecDeque<(u64, Arc<InferredStats>)>>,
}

impl RunLog {
    /// Records the statistics of a block that is being committed.
    pub(super) fn note(&self, number: u64, stats: InferredStats) {
        let mut runs = self.runs.lock();
        if runs.len() >= RUNS_REMEMBERED_MAX {
            runs.pop_front();
        }
        runs.push_back((number, Arc::new(stats)));
    }

    /// The statistics of a block, if they are still kept.
    pub(super) fn of(&self, number: u64) -> Option<Arc<InferredStats>> {
        let runs = self.runs.lock();
        let newest_first = runs.iter().rev();
        let mut matching = newest_first.filter(|(known, _)| *known == number);
        matching.next().map(|(_, stats)| Arc::clone(stats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_runs_are_forgotten() {
        let log = RunLog::default();
        for number in 0..=RUNS_REMEMBERED_MAX as u64 {
            let stats = InferredStats {
                violations: usize::try_from(number).unwrap(),
                ..InferredStats::default()
            };
            log.note(number, stats);
        }
        assert!(log.of(0).is_none());
        assert_eq!(log.of(7).unwrap().violations, 7);
    }
}
