//! How much of a block could run side by side.

use ahash::AHashMap;
use lockweave_runtime::{AccessMode, AccessSet, Contention, DenseId, OpenBlock, StateKey, TaskId};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// So many of a long block's transactions say whether it is worth while to look at the others.
const PILOT: usize = 512;
/// In shorter blocks it makes no difference.
const PILOT_BLOCK_MIN: usize = 4 * PILOT;

/// The first transactions of a block that is being looked at, by which it is judged.
///
/// Whoever looked at the last one of them judges, while others look at what comes next.
#[derive(Debug)]
pub(crate) struct Pilot {
    tasks: usize,
    /// How many of them nobody has looked at yet.
    left: AtomicUsize,
    verdict: AtomicU8,
}

/// The block is not judged yet.
const PENDING: u8 = 0;
/// It is short, or there is nothing special about it.
const OPEN: u8 = 1;
/// There is nothing to be won by running it side by side.
const CHAIN: u8 = 2;
/// Most of its transactions depend on one in front of them.
const CROWDED: u8 = 3;

impl Pilot {
    /// Of a block of so many transactions.
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

    /// How many there are; none in a short block, which is not judged.
    pub(crate) const fn tasks(&self) -> usize {
        self.tasks
    }

    /// Notes that a transaction was looked at.
    pub(crate) fn note_looked_at<T>(
        &self,
        block: &OpenBlock<T>,
        task: TaskId,
        cost: fn(&T) -> u64,
    ) {
        // Acquires what the others found out.
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

    /// Whether they turned out to be a chain, so that there is nothing to be won by running the block side by
    /// side.
    pub(crate) fn is_chain(&self) -> bool {
        self.verdict.load(Ordering::Relaxed) == CHAIN
    }

    /// What is thought of the block.
    pub(crate) fn contention(&self) -> Contention {
        match self.verdict.load(Ordering::Relaxed) {
            PENDING => Contention::Early,
            CROWDED => Contention::Crowded,
            _ => Contention::Open,
        }
    }
}

/// What transactions cost one after another, and what the longest chain of them costs in which each has to
/// wait for the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dependence {
    total: u64,
    longest: u64,
    transactions: usize,
    /// How many of them wait for another one.
    waiting: usize,
}

/// When the last holder of a key in each mode is through, if everybody begins as early as possible.
#[derive(Clone, Copy, Default)]
struct Holders {
    read: u64,
    credit: u64,
    write: u64,
}

impl Holders {
    /// When somebody who asks for it in this mode has it.
    fn free_for(self, mode: AccessMode) -> u64 {
        match mode {
            AccessMode::Read => self.write.max(self.credit),
            AccessMode::Credit => self.write.max(self.read),
            AccessMode::Write => self.write.max(self.read).max(self.credit),
        }
    }

    fn hold(&mut self, mode: AccessMode, until: u64) {
        let last = match mode {
            AccessMode::Read => &mut self.read,
            AccessMode::Credit => &mut self.credit,
            AccessMode::Write => &mut self.write,
        };
        *last = until.max(*last);
    }
}

impl Dependence {
    /// That of the first transactions of a block, by what is known of their sets.
    pub(crate) fn of_first<T>(
        block: &OpenBlock<T>,
        transactions: usize,
        cost: fn(&T) -> u64,
    ) -> Self {
        let mut holders = AHashMap::<StateKey, Holders>::new();
        let mut found = Self::default();
        // When the last one that holds everything is through.
        let mut begin = 0;
        for task in (0..transactions).map(TaskId::from_index) {
            let cost = (block.gas_seen(task))
                .unwrap_or_else(|| cost(&block.transactions()[task.index()].transaction));
            let access = block.access(task);
            let entries = access.entries();
            let start = if *access == AccessSet::Everything {
                found.longest
            } else {
                let free = entries.iter().map(|entry| {
                    let holders = holders.get(&entry.key);
                    holders.map_or(0, |holders| holders.free_for(entry.mode))
                });
                free.max().unwrap_or(0).max(begin)
            };
            let until = start.saturating_add(cost);
            if *access == AccessSet::Everything {
                begin = until;
            }
            for entry in entries {
                let holders = holders.entry(entry.key).or_default();
                holders.hold(entry.mode, until);
            }
            found.transactions += 1;
            found.waiting += usize::from(start > 0);
            found.total = found.total.saturating_add(cost);
            found.longest = found.longest.max(until);
        }
        found
    }

    /// Whether there is so little to be won by running side by side that it would not pay for finding out
    /// what the others touch.
    pub(crate) const fn is_chain(self) -> bool {
        self.longest.saturating_mul(5) > self.total.saturating_mul(4)
    }

    /// Whether a quarter and more of a block of so many transactions, of which these are the first, will have
    /// to wait for another one. The more there are in front of it, the more likely one has to.
    pub(crate) const fn is_crowded(self, transactions: usize) -> bool {
        let waiting = self.waiting.saturating_mul(transactions);
        let seen = self.transactions.saturating_mul(self.transactions);
        waiting.saturating_mul(4) >= seen && seen > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::Address;
    use lockweave_runtime::{Declaration, MemoryState, Sanitized, StateRules};
    use std::sync::Arc;

    const RULES: StateRules = StateRules {
        clear_empty_accounts: true,
    };

    fn block_of(sets: &[&[(u8, AccessMode)]]) -> OpenBlock<()> {
        let sanitized = |accesses: &&[(u8, AccessMode)]| Sanitized {
            transaction: (),
            access: AccessSet::build(|set| {
                for (account, mode) in *accesses {
                    set.insert(StateKey::account(Address::repeat_byte(*account)), *mode);
                }
            })
            .unwrap(),
            declaration: Declaration::Recorded,
        };
        let transactions = sets.iter().map(sanitized).collect();
        OpenBlock::new(Arc::new(MemoryState::new()), RULES, transactions)
    }

    fn dependence(sets: &[&[(u8, AccessMode)]]) -> Dependence {
        Dependence::of_first(&block_of(sets), sets.len(), |()| 10)
    }

    #[test]
    fn a_long_block_is_judged_when_its_first_were_looked_at() {
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
                pilot.note_looked_at(&block, task, |()| 10);
            }
            assert_eq!(
                (pilot.is_chain(), pilot.contention()),
                (false, Contention::Early)
            );
            pilot.note_looked_at(&block, TaskId::FIRST, |()| 10);
            assert_eq!(
                (pilot.is_chain(), pilot.contention()),
                (is_chain, contention)
            );
        }
        let short = Pilot::of(PILOT_BLOCK_MIN - 1);
        assert_eq!((short.tasks(), short.contention()), (0, Contention::Open));
    }

    #[test]
    fn the_longest_chain_is_found() {
        use AccessMode::{Credit, Read, Write};
        let found = |transactions, longest, waiting| Dependence {
            total: 10 * transactions as u64,
            longest,
            transactions,
            waiting,
        };
        assert_eq!(dependence(&[]), found(0, 0, 0));
        assert_eq!(dependence(&[&[(1, Write)], &[(2, Write)]]), found(2, 10, 0));
        assert_eq!(
            dependence(&[&[(1, Write)], &[(1, Read)], &[(1, Read)], &[(1, Write)]]),
            found(4, 30, 3)
        );
        assert_eq!(
            dependence(&[&[(1, Credit)], &[(1, Credit)], &[(1, Read)]]),
            found(3, 20, 1)
        );
    }

    #[test]
    fn a_chain_is_one_that_leaves_less_than_a_quarter_beside_it() {
        let chain = |total, longest| {
            let found = Dependence {
                total,
                longest,
                ..Dependence::default()
            };
            found.is_chain()
        };
        assert!(chain(100, 100));
        assert!(chain(100, 81));
        assert!(!chain(100, 80));
        assert!(!chain(0, 0));
    }

    #[test]
    fn conflicts_are_the_more_the_longer_the_block() {
        let crowded = |waiting, transactions| {
            let found = Dependence {
                transactions: 512,
                waiting,
                ..Dependence::default()
            };
            found.is_crowded(transactions)
        };
        assert!(crowded(128, 512));
        assert!(!crowded(127, 512));
        assert!(!crowded(0, 1 << 20));
        // Of 20,000 that pay each other at random the last wait for nearly as many as there are.
        assert!(crowded(4, 20_000));
        assert!(!crowded(4, 5_000));
    }
}
