//! How many transactions of a block could run in parallel.

use ahash::AHashMap;
use lockweave_runtime::{AccessMode, AccessSet, DenseId, OpenBlock, StateKey, TaskId};

/// The cost of transactions one after another, and that of the longest chain of them in which each has to
/// wait for the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dependence {
    total: u64,
    longest: u64,
    transactions: usize,
    /// How many transactions wait for another one.
    waiting: usize,
}

/// When the last holder of a key in each mode ends, if every transaction starts as early as possible.
#[derive(Clone, Copy, Default)]
struct Holders {
    read: u64,
    credit: u64,
    write: u64,
}

impl Holders {
    /// When a request in this mode is granted.
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
    /// The dependence of the first transactions of a block, by the sets known so far.
    pub(crate) fn of_first<T>(
        block: &OpenBlock<T>,
        transactions: usize,
        cost: fn(&T) -> u64,
    ) -> Self {
        let mut holders = AHashMap::<StateKey, Holders>::new();
        let mut found = Self::default();
        // When the last one that holds everything ends.
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

    /// Whether parallel execution would gain so little that it would not pay for inferring the sets of the
    /// others.
    pub(crate) const fn is_chain(self) -> bool {
        self.longest.saturating_mul(5) > self.total.saturating_mul(4)
    }

    /// Whether at least a quarter of a block of so many transactions, of which these are the first, will have
    /// to wait for another one. The more transactions stand in front, the likelier a wait.
    pub(crate) const fn is_crowded(self, transactions: usize) -> bool {
        let waiting = self.waiting.saturating_mul(transactions);
        let seen = self.transactions.saturating_mul(self.transactions);
        waiting.saturating_mul(4) >= seen && seen > 0
    }
}

#[cfg(test)]
mod tests {
    use super::{super::test_blocks::block_of, *};

    fn dependence(sets: &[&[(u8, AccessMode)]]) -> Dependence {
        Dependence::of_first(&block_of(sets), sets.len(), |()| 10)
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
    fn a_longer_block_has_more_conflicts() {
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
        // Among 20,000 random payments between the same accounts, the last ones conflict with most others.
        assert!(crowded(4, 20_000));
        assert!(!crowded(4, 5_000));
    }
}
