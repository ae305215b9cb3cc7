//! The first transactions of a block, by which it is judged.

use super::dependence::Dependence;
use lockweave_runtime::{Contention, DenseId, OpenBlock, TaskId};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// So many transactions of a long block tell whether simulating the others pays.
const PILOT: usize = 512;
/// In shorter blocks the judgement makes no difference.
const PILOT_BLOCK_MIN: usize = 4 * PILOT;

/// The first transactions of a block that is being simulated, by which it is judged.
///
/// The worker that simulates the last of them judges, while others simulate what comes next.
#[derive(Debug)]
pub(crate) struct Pilot {
    tasks: usize,
    /// How many of them are not simulated yet.
    left: AtomicUsize,
    verdict: AtomicU8,
}

/// The block is not judged yet.
const PENDING: u8 = 0;
/// It is short, or neither of the following.
const OPEN: u8 = 1;
/// Parallel execution would gain nothing.
const CHAIN: u8 = 2;
/// Many of its transactions will wait for others.
const CROWDED: u8 = 3;

impl Pilot {
    pub(crate) const fn of(transactions: usize) -> Self {
        let (tasks, verdict) = if transactions < PILOT_BLOCK_MIN {
            (0, OPEN)
        } else {
            (PILOT, PENDING)
        };
        Self {
            tasks,
            left: AtomicUsize::new(tasks),
            verdict: AtomicU8::new(verdict),
        }
    }

    /// How many transactions it has; none in a short block, which is not judged.
    pub(crate) const fn tasks(&self) -> usize {
        self.tasks
    }

    pub(crate) fn note_simulated<T>(
        &self,
        block: &OpenBlock<T>,
        task: TaskId,
        cost: fn(&T) -> u64,
    ) {
        // Acquires the sets that other workers found.
        if task.index() < self.tasks && self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let dependence = Dependence::of_first(block, self.tasks, cost);
            let verdict = if dependence.is_chain() {
                CHAIN
            } else if dependence.is_crowded(block.transactions().len()) {
                CROWDED
            } else {
                OPEN
            };
            self.verdict.store(verdict, Ordering::Relaxed);
        }
    }

    /// Whether the transactions turned out to be a chain, so that parallel execution would gain nothing.
    pub(crate) fn is_chain(&self) -> bool {
        self.verdict.load(Ordering::Relaxed) == CHAIN
    }

    /// What the inferrer is told about the block.
    pub(crate) fn contention(&self) -> Contention {
        match self.verdict.load(Ordering::Relaxed) {
            PENDING => Contention::Early,
            CROWDED => Contention::Crowded,
            _ => Contention::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::test_blocks::block_of, *};
    use lockweave_runtime::AccessMode;

    #[test]
    fn a_long_block_is_judged_when_its_first_transactions_are_simulated() {
        use AccessMode::Write;
        let alone: &[&[(u8, AccessMode)]] = &[&[]];
        let chain: &[&[(u8, AccessMode)]] = &[&[(1, Write)]];
        let pairs: &[&[(u8, AccessMode)]] = &[&[(1, Write)], &[(2, Write)]];
        for (sets, is_chain, contention) in [
            (alone, false, Contention::Open),
            (chain, true, Contention::Open),
            (pairs, false, Contention::Crowded),
        ] {
            let sets: Vec<_> = sets.iter().copied().cycle().take(PILOT_BLOCK_MIN).collect();
            let block = block_of(&sets);
            let pilot = Pilot::of(sets.len());
            assert_eq!(pilot.tasks(), PILOT);
            for task in (1..sets.len()).map(TaskId::from_index) {
                pilot.note_simulated(&block, task, |()| 10);
            }
            assert_eq!(
                (pilot.is_chain(), pilot.contention()),
                (false, Contention::Early)
            );
            pilot.note_simulated(&block, TaskId::FIRST, |()| 10);
            assert_eq!(
                (pilot.is_chain(), pilot.contention()),
                (is_chain, contention)
            );
        }
        let short = Pilot::of(PILOT_BLOCK_MIN - 1);
        assert_eq!((short.tasks(), short.contention()), (0, Contention::Open));
    }
}
