//! When each transaction of a block could start, with gas for time.

use crate::chain::ChainBlock;
use ahash::AHashMap;
use lockweave_runtime::{AccessMode, AccessSet, StateKey};

/// When a key becomes free, and its holders.
#[derive(Debug, Default)]
pub(crate) struct KeyUse {
    /// When the last writer ends, in gas.
    written: u64,
    /// When all later readers end.
    read: u64,
    /// When all later credits end.
    credited: u64,
    /// Gas of the transactions that hold it for writing.
    pub(crate) exclusive_gas: u64,
    pub(crate) holders: Vec<usize>,
}

impl KeyUse {
    /// When a holder in this mode can start.
    fn free_for(&self, mode: AccessMode) -> u64 {
        match mode {
            AccessMode::Read => self.written.max(self.credited),
            AccessMode::Credit => self.written.max(self.read),
            AccessMode::Write => self.written.max(self.read).max(self.credited),
        }
    }

    fn hold(&mut self, mode: AccessMode, index: usize, end: u64, gas: u64) {
        match mode {
            AccessMode::Read => self.read = self.read.max(end),
            AccessMode::Credit => self.credited = self.credited.max(end),
            AccessMode::Write => {
                self.written = end;
                self.exclusive_gas = self.exclusive_gas.saturating_add(gas);
            }
        }
        self.holders.push(index);
    }
}

/// When each transaction could start, with gas for time.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    pub(crate) keys: AHashMap<StateKey, KeyUse>,
    /// Gas of all transactions.
    pub(crate) total: u64,
    /// Gas of the longest chain.
    pub(crate) longest: u64,
    pub(crate) critical_path: Vec<usize>,
    /// Transactions that wait for another one.
    pub(crate) waiting: usize,
    /// For each transaction, the last one that it waits for.
    pub(crate) dependencies: Vec<Option<usize>>,
    /// End of the block with a number of workers.
    pub(crate) with_workers: u64,
}

impl Schedule {
    pub(crate) fn of(block: &ChainBlock, workers: usize) -> Self {
        let mut schedule = Self::default();
        let mut ends: Vec<u64> = Vec::new();
        let mut busy = vec![0_u64; workers.max(1)];
        let mut barrier = (0, None);
        let mut limited_ends: Vec<u64> = Vec::new();
        for (index, (set, receipt)) in block.access.iter().zip(&block.receipts).enumerate() {
            let gas = receipt.gas_used;
            let mut begin = barrier.0;
            let mut waits_for = barrier.1;
            if matches!(set, AccessSet::Everything) {
                for (earlier, end) in ends.iter().enumerate() {
                    if *end > begin {
                        (begin, waits_for) = (*end, Some(earlier));
                    }
                }
            }
            for entry in set.entries() {
                let held = schedule.keys.entry(entry.key).or_default();
                let free = held.free_for(entry.mode);
                if free > begin {
                    begin = free;
                    waits_for = (held.holders.iter().copied()).find(|holder| ends[*holder] == free);
                }
            }
            let end = begin.saturating_add(gas);
            for entry in set.entries() {
                let held = schedule.keys.entry(entry.key).or_default();
                held.hold(entry.mode, index, end, gas);
            }
            if matches!(set, AccessSet::Everything) {
                barrier = (end, Some(index));
            }
            // The same in block order on a limited number of workers.
            let ready = waits_for.map_or(0, |earlier| limited_ends[earlier]);
            let worker = busy.iter_mut().min().expect("there is a worker");
            let limited = (*worker).max(ready).saturating_add(gas);
            *worker = limited;
            limited_ends.push(limited);
            ends.push(end);
            schedule.total = schedule.total.saturating_add(gas);
            schedule.waiting += usize::from(waits_for.is_some());
            schedule.dependencies.push(waits_for);
        }
        schedule.longest = ends.iter().copied().max().unwrap_or_default();
        schedule.with_workers = limited_ends.iter().copied().max().unwrap_or_default();
        let mut at = ends.iter().position(|end| *end == schedule.longest);
        while let Some(index) = at {
            schedule.critical_path.push(index);
            at = schedule.dependencies[index];
        }
        schedule.critical_path.reverse();
        schedule
    }
}
