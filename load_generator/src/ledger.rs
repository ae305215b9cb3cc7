//! What became of every transaction. Pure: times come from the caller.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use alloy_primitives::B256;
use hdrhistogram::Histogram;

use crate::signing::Signed;

/// Of how many of an account's oldest waiting transactions a repeat consists at most.
const REPEAT_WINDOW: usize = 16;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its time has not come.
    Unsent,
    /// Handed to a connection; no answer that settles anything.
    Sent,
    /// The node took it.
    Accepted,
    /// The node said no, last time it was asked.
    Refused,
    /// In a block, successful.
    Included,
    /// In a block, reverted.
    Reverted,
}

#[derive(Debug)]
struct Entry {
    state: State,
    intended: Duration,
    last_sent: Duration,
    accepted: bool,
}

/// The node's answer to one `eth_sendRawTransaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken, or known already.
    Accepted,
    /// The nonce has been used: this transaction is in a block, or another one took its place.
    NonceUsed,
    /// Not taken; the node's words.
    Refused(String),
    /// Nobody knows whether it arrived.
    Unknown(String),
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Handed to the node at least once.
    pub sent: u64,
    /// In a block, successful.
    pub included: u64,
    /// In a block, reverted.
    pub reverted: u64,
    /// Refused by the node, last time it was asked.
    pub refused: u64,
    /// Sent and neither refused nor in a block: lost, if the run is over.
    pub waiting: u64,
}

/// See the module. Times are since the run's start.
#[derive(Debug)]
pub struct Ledger {
    entries: Vec<Entry>,
    by_hash: HashMap<B256, usize>,
    /// Per sender, its transactions in nonce order.
    by_sender: Vec<Vec<usize>>,
    /// Per sender, how many of its first transactions are in blocks.
    settled: Vec<usize>,
    counts: Counts,
    /// From intended time to the node's yes, in microseconds.
    pub accepted_us: Histogram<u64>,
    /// From intended time to the block being seen, in microseconds.
    pub included_us: Histogram<u64>,
    /// How often the node said no, by its words; repeats counted. At most 64 kinds.
    pub refusals: BTreeMap<String, u64>,
    /// Transactions handed to the node again.
    pub repeats: u64,
    /// Gas that the included and reverted ones used.
    pub gas: u64,
    /// When the last one was seen in a block.
    pub last_included: Duration,
}

impl Ledger {
    /// A ledger of what will be sent.
    pub fn new(signed: &[Signed], senders: usize) -> Self {
        let mut by_sender = vec![Vec::new(); senders];
        for (index, one) in signed.iter().enumerate() {
            by_sender[one.sender].push(index);
        }
        let histogram = || Histogram::new(3).expect("3 significant digits are allowed");
        Self {
            entries: signed
                .iter()
                .map(|_| Entry {
                    state: State::Unsent,
                    intended: Duration::ZERO,
                    last_sent: Duration::ZERO,
                    accepted: false,
                })
                .collect(),
            by_hash: signed
                .iter()
                .enumerate()
                .map(|(index, one)| (one.hash, index))
                .collect(),
            by_sender,
            settled: vec![0; senders],
            counts: Counts::default(),
            accepted_us: histogram(),
            included_us: histogram(),
            refusals: BTreeMap::new(),
            repeats: 0,
            gas: 0,
            last_included: Duration::ZERO,
        }
    }

    /// Totals.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether everything that was sent is in a block.
    pub fn all_in_blocks(&self) -> bool {
        self.counts.included + self.counts.reverted == self.counts.sent
    }

    /// A transaction's state.
    pub fn state(&self, index: usize) -> State {
        self.entries[index].state
    }

    /// It is handed to a connection, and was meant to be at `intended`.
    pub fn sent(&mut self, index: usize, intended: Duration, now: Duration) {
        self.entries[index].intended = intended;
        self.entries[index].last_sent = now;
        self.set(index, State::Sent);
    }

    /// The node answered.
    pub fn answered(&mut self, index: usize, answer: &Answer, now: Duration) {
        if let Answer::Refused(words) | Answer::Unknown(words) = answer {
            // Digits (fees, nonces, ports) would make every refusal its own kind.
            let kind: String = words
                .chars()
                .map(|c| if c.is_ascii_digit() { '#' } else { c })
                .take(120)
                .collect();
            let known = self.refusals.len() < 63 || self.refusals.contains_key(&kind);
            *self
                .refusals
                .entry(if known { kind } else { "other".to_owned() })
                .or_default() += 1;
        }
        let entry = &mut self.entries[index];
        match (answer, entry.state) {
            (Answer::Accepted, State::Sent | State::Refused) => {
                if !entry.accepted {
                    entry.accepted = true;
                    record(&mut self.accepted_us, now.saturating_sub(entry.intended));
                }
                self.set(index, State::Accepted);
            }
            // A refused repeat says nothing of the copy that was accepted.
            (Answer::Refused(_), State::Sent) if !entry.accepted => self.set(index, State::Refused),
            // Whether it arrived is open again.
            (Answer::NonceUsed | Answer::Unknown(_), State::Refused) => {
                self.set(index, State::Sent);
            }
            _ => {}
        }
    }

    /// A receipt of a block: whether it is one of ours. A second receipt of the same transaction changes nothing.
    pub fn receipt(&mut self, hash: &B256, success: bool, gas_used: u64, now: Duration) -> bool {
        let Some(&index) = self.by_hash.get(hash) else {
            return false;
        };
        if matches!(
            self.entries[index].state,
            State::Unsent | State::Included | State::Reverted
        ) {
            return false;
        }
        self.set(
            index,
            if success {
                State::Included
            } else {
                State::Reverted
            },
        );
        self.gas = self
            .gas
            .checked_add(gas_used)
            .expect("gas of a run fits 64 bits");
        self.last_included = self.last_included.max(now);
        record(
            &mut self.included_us,
            now.saturating_sub(self.entries[index].intended),
        );
        true
    }

    /// What should be sent again now: each sender's oldest ones that the node refused at least `refused_after` ago, or
    /// that have been silent for `silent_after`. A node may have dropped what it accepted; without the repeat all later
    /// nonces of that sender would wait for ever. Same bytes, so a repeat can do no harm.
    pub fn take_repeats(
        &mut self,
        now: Duration,
        refused_after: Duration,
        silent_after: Duration,
    ) -> Vec<usize> {
        let mut repeats = Vec::new();
        for sender in 0..self.by_sender.len() {
            let of_sender = &self.by_sender[sender];
            let mut first = self.settled[sender];
            while of_sender
                .get(first)
                .is_some_and(|&index| in_block(self.entries[index].state))
            {
                first += 1;
            }
            self.settled[sender] = first;
            for &index in of_sender.iter().skip(first).take(REPEAT_WINDOW) {
                let entry = &mut self.entries[index];
                let after = match entry.state {
                    State::Refused => refused_after,
                    State::Sent | State::Accepted => silent_after,
                    State::Unsent => break,
                    State::Included | State::Reverted => continue,
                };
                if now.saturating_sub(entry.last_sent) >= after {
                    entry.last_sent = now;
                    repeats.push(index);
                }
            }
        }
        for &index in &repeats {
            if self.entries[index].state == State::Refused {
                self.set(index, State::Sent);
            }
        }
        self.repeats += repeats.len() as u64;
        repeats
    }

    /// Per sender, how many of its transactions are in blocks.
    pub fn in_blocks_by_sender(&self) -> Vec<u64> {
        self.by_sender
            .iter()
            .map(|indexes| {
                indexes
                    .iter()
                    .filter(|&&index| in_block(self.entries[index].state))
                    .count() as u64
            })
            .collect()
    }

    fn set(&mut self, index: usize, state: State) {
        if let Some(count) = self.count_of(self.entries[index].state) {
            *count -= 1;
        } else {
            self.counts.sent += 1;
        }
        self.entries[index].state = state;
        if let Some(count) = self.count_of(state) {
            *count += 1;
        }
    }

    fn count_of(&mut self, state: State) -> Option<&mut u64> {
        match state {
            State::Unsent => None,
            State::Sent | State::Accepted => Some(&mut self.counts.waiting),
            State::Refused => Some(&mut self.counts.refused),
            State::Included => Some(&mut self.counts.included),
            State::Reverted => Some(&mut self.counts.reverted),
        }
    }
}

fn in_block(state: State) -> bool {
    matches!(state, State::Included | State::Reverted)
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    // An auto-resizing histogram takes every value that a run can last.
    histogram
        .record(microseconds)
        .expect("an auto-resizing histogram takes it");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use alloy_primitives::B256;

    use super::{Answer, Counts, Ledger, State};
    use crate::signing::Signed;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn ledger(count: u8) -> Ledger {
        let signed: Vec<Signed> = (0..count)
            .map(|index| Signed {
                sender: 0,
                nonce: index.into(),
                hash: B256::repeat_byte(index),
                raw: String::new(),
            })
            .collect();
        Ledger::new(&signed, 1)
    }

    #[test]
    fn latency_counts_from_the_intended_time() {
        let mut ledger = ledger(1);
        ledger.sent(0, ms(10), ms(500));
        ledger.answered(0, &Answer::Accepted, ms(510));
        assert!(ledger.receipt(&B256::ZERO, true, 21_000, ms(1010)));
        assert!(ledger.accepted_us.max().abs_diff(500_000) < 1_000);
        assert!(ledger.included_us.max().abs_diff(1_000_000) < 1_000);
        assert!(
            !ledger.receipt(&B256::ZERO, true, 21_000, ms(2000)),
            "a second receipt"
        );
        assert_eq!(ledger.gas, 21_000);
        assert!(ledger.all_in_blocks());
    }

    #[test]
    fn a_refused_repeat_does_not_undo_an_acceptance() {
        let mut ledger = ledger(1);
        ledger.sent(0, ms(0), ms(0));
        ledger.answered(0, &Answer::Accepted, ms(1));
        assert_eq!(ledger.take_repeats(ms(100), ms(10), ms(50)), [0]);
        ledger.answered(0, &Answer::Refused("pool is full".to_owned()), ms(101));
        assert_eq!(ledger.state(0), State::Accepted);
        assert_eq!(
            ledger.counts(),
            Counts {
                sent: 1,
                waiting: 1,
                ..Counts::default()
            }
        );
    }

    #[test]
    fn the_oldest_are_repeated_and_nothing_unsent() {
        let mut ledger = ledger(4);
        for index in 0..3 {
            ledger.sent(index, ms(0), ms(0));
        }
        ledger.answered(1, &Answer::Refused("pool is full 17".to_owned()), ms(1));
        assert_eq!(ledger.counts().refused, 1);
        assert_eq!(ledger.take_repeats(ms(20), ms(10), ms(1000)), [1]);
        assert_eq!(ledger.counts().refused, 0);
        assert!(ledger.receipt(&B256::ZERO, true, 1, ms(30)));
        assert_eq!(ledger.take_repeats(ms(1020), ms(10), ms(1000)), [1, 2]);
        assert_eq!(ledger.refusals["pool is full ##"], 1);
        assert_eq!(ledger.in_blocks_by_sender(), [1]);
    }
}
