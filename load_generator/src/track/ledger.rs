//! What became of every transaction. Pure: times come from the caller.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use alloy_primitives::B256;
use hdrhistogram::Histogram;

use super::series::{BlockSeen, Series};
use crate::transaction::Signed;

/// Of how many of an account's oldest waiting transactions a repeat consists at most.
const REPEAT_WINDOW: usize = 16;

/// A patience doubles with each try at most so often.
const DOUBLINGS_MAX: u32 = 4;

/// Kinds of refusals, and of troubles, that are told apart.
const KINDS_MAX: usize = 64;

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not handed over.
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

#[derive(Clone, Debug)]
struct Entry {
    state: State,
    intended: Duration,
    /// Last handed over, or last asked about.
    last_tried: Duration,
    tries: u32,
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
    /// Intended: their time has come.
    pub due: u64,
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

/// A receipt of a block, as far as it matters.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Of the transaction.
    pub hash: B256,
    /// Whether it did not revert.
    pub success: bool,
    /// Gas it used.
    pub gas_used: u64,
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
    /// Per sender, when one of its transactions was last seen in a block.
    progress: Vec<Duration>,
    sender_of: Vec<usize>,
    counts: Counts,
    /// From intended time to being handed over, in microseconds.
    pub lag_us: Histogram<u64>,
    /// From intended time to the node's yes, in microseconds.
    pub accepted_us: Histogram<u64>,
    /// From intended time to the receipt being read, in microseconds.
    pub included_us: Histogram<u64>,
    /// From intended time to the block being told of by subscription, in microseconds.
    pub seen_us: Histogram<u64>,
    /// How often the node said no, by its words; repeats counted.
    pub refusals: BTreeMap<String, u64>,
    /// Failed questions about blocks and transactions, by kind. They delay what is seen.
    pub troubles: BTreeMap<String, u64>,
    /// Transactions handed to the node again.
    pub repeats: u64,
    /// Transactions that the node had accepted and then did not know.
    pub dropped: u64,
    /// Gas that the included and reverted ones used.
    pub gas: u64,
    /// When the last one was seen in a block.
    pub last_included: Duration,
    /// What happened when.
    pub series: Series,
    /// Blocks with transactions of the run.
    pub blocks: Vec<BlockSeen>,
}

impl Ledger {
    /// A ledger of what will be sent.
    pub fn new(signed: &[Signed], senders: usize) -> Self {
        let mut by_sender = vec![Vec::new(); senders];
        for (index, one) in signed.iter().enumerate() {
            by_sender[one.sender].push(index);
        }
        let histogram = || Histogram::new(3).expect("3 significant digits are allowed");
        let unsent = Entry {
            state: State::Unsent,
            intended: Duration::ZERO,
            last_tried: Duration::ZERO,
            tries: 0,
            accepted: false,
        };
        let by_hash = signed.iter().enumerate();
        Self {
            entries: vec![unsent; signed.len()],
            by_hash: by_hash.map(|(index, one)| (one.hash, index)).collect(),
            by_sender,
            settled: vec![0; senders],
            progress: vec![Duration::ZERO; senders],
            sender_of: signed.iter().map(|one| one.sender).collect(),
            counts: Counts::default(),
            lag_us: histogram(),
            accepted_us: histogram(),
            included_us: histogram(),
            seen_us: histogram(),
            refusals: BTreeMap::new(),
            troubles: BTreeMap::new(),
            repeats: 0,
            dropped: 0,
            gas: 0,
            last_included: Duration::ZERO,
            series: Series::default(),
            blocks: Vec::new(),
        }
    }

    /// Totals.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether everything that was intended is in a block.
    pub fn all_in_blocks(&self) -> bool {
        self.counts.included + self.counts.reverted == self.counts.due
    }

    /// A transaction's state.
    pub fn state(&self, index: usize) -> State {
        self.entries[index].state
    }

    /// Whether a transaction of this hash is waited for.
    pub fn waits_for(&self, hash: &B256) -> bool {
        self.by_hash.get(hash).is_some_and(|&index| {
            let state = self.entries[index].state;
            state != State::Unsent && !in_block(state)
        })
    }

    /// Its time has come.
    pub fn due(&mut self, index: usize, intended: Duration) {
        self.entries[index].intended = intended;
        self.counts.due += 1;
        self.series.counts(intended).intended += 1;
    }

    /// It is handed to the node now; again, maybe.
    pub fn sent(&mut self, index: usize, now: Duration) {
        let entry = &mut self.entries[index];
        entry.last_tried = now;
        entry.tries += 1;
        if entry.state != State::Unsent {
            self.repeats += 1;
            return;
        }
        record(&mut self.lag_us, now.saturating_sub(entry.intended));
        self.series.counts(now).sent += 1;
        self.set(index, State::Sent);
    }

    /// The node answered.
    pub fn answered(&mut self, index: usize, answer: &Answer, now: Duration) {
        if let Answer::Refused(words) | Answer::Unknown(words) = answer {
            count_kind(&mut self.refusals, words);
            self.series.counts(now).refused += 1;
        }
        let entry = &mut self.entries[index];
        match (answer, entry.state) {
            (Answer::Accepted, State::Sent | State::Refused) => {
                if !entry.accepted {
                    entry.accepted = true;
                    record(&mut self.accepted_us, now.saturating_sub(entry.intended));
                    self.series.counts(now).accepted += 1;
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

    /// A block was read at `now`, and told of by subscription at `told`; `gas` is what all in it used.
    pub fn block(
        &mut self,
        number: u64,
        gas: u64,
        receipts: &[Receipt],
        now: Duration,
        told: Option<Duration>,
    ) {
        let ours = receipts.iter();
        let transactions = ours
            .filter(|receipt| self.receipt(receipt, now, told))
            .count() as u64;
        if transactions > 0 {
            self.blocks.push(BlockSeen {
                number,
                seconds: now.as_secs_f64(),
                gas,
                transactions,
            });
        }
    }

    /// Whether it is one of ours. A second receipt of the same transaction changes nothing.
    fn receipt(&mut self, receipt: &Receipt, now: Duration, told: Option<Duration>) -> bool {
        let Some(&index) = self.by_hash.get(&receipt.hash) else {
            return false;
        };
        let entry = &self.entries[index];
        if entry.state == State::Unsent || in_block(entry.state) {
            return false;
        }
        let latency = now.saturating_sub(entry.intended);
        record(&mut self.included_us, latency);
        if let Some(told) = told {
            record(&mut self.seen_us, told.saturating_sub(entry.intended));
        }
        self.series
            .in_block(now, receipt.success, receipt.gas_used, latency);
        let state = if receipt.success {
            State::Included
        } else {
            State::Reverted
        };
        self.set(index, state);
        let gas = self.gas.checked_add(receipt.gas_used);
        self.gas = gas.expect("gas of a run fits 64 bits");
        self.last_included = self.last_included.max(now);
        self.progress[self.sender_of[index]] = now;
        true
    }

    /// A question about the chain failed.
    pub fn trouble(&mut self, words: &str) {
        count_kind(&mut self.troubles, words);
    }

    /// Which refused transactions should be offered again now, at most `budget`: those among their senders' oldest
    /// that were refused at least `patience` ago, doubled with each try.
    pub fn take_refused(&mut self, now: Duration, patience: Duration, budget: usize) -> Vec<usize> {
        let mut repeats = Vec::new();
        if self.counts.refused == 0 {
            return repeats;
        }
        for sender in 0..self.by_sender.len() {
            for index in self.window(sender) {
                if repeats.len() >= budget {
                    return repeats;
                }
                let entry = &mut self.entries[index];
                let waited = now.saturating_sub(entry.last_tried);
                if entry.state == State::Refused && waited >= doubled(patience, entry.tries) {
                    entry.last_tried = now;
                    self.set(index, State::Sent);
                    repeats.push(index);
                }
            }
        }
        repeats
    }

    /// Senders whose oldest transaction has been silent, and that have got nothing into a block, for `patience`
    /// (doubled with each try): those oldest transactions. The node may have dropped them, and all later nonces of
    /// their senders would wait for ever; it should be asked.
    pub fn take_stalled(&mut self, now: Duration, patience: Duration) -> Vec<usize> {
        let mut stalled = Vec::new();
        for sender in 0..self.by_sender.len() {
            let first = self.first_unsettled(sender);
            let Some(&index) = self.by_sender[sender].get(first) else {
                continue;
            };
            let entry = &mut self.entries[index];
            let since = entry.last_tried.max(self.progress[sender]);
            if matches!(entry.state, State::Sent | State::Accepted)
                && now.saturating_sub(since) >= doubled(patience, entry.tries)
            {
                entry.last_tried = now;
                entry.tries += 1;
                stalled.push(index);
            }
        }
        stalled
    }

    /// The node does not know this transaction: what of its sender should be sent again. Same bytes, so a repeat can
    /// do no harm.
    pub fn forgotten(&mut self, index: usize) -> Vec<usize> {
        let entry = &self.entries[index];
        if !matches!(entry.state, State::Sent | State::Accepted) {
            return Vec::new();
        }
        if entry.accepted {
            self.dropped += 1;
        }
        let mut window = self.window(self.sender_of[index]);
        window.retain(|&index| matches!(self.entries[index].state, State::Sent | State::Accepted));
        window
    }

    /// Transactions that are in a block and successful.
    pub fn included(&self) -> impl Iterator<Item = usize> {
        self.with_state(State::Included)
    }

    /// Transactions that are in a block and reverted.
    pub fn reverted(&self) -> impl Iterator<Item = usize> {
        self.with_state(State::Reverted)
    }

    fn with_state(&self, state: State) -> impl Iterator<Item = usize> {
        let all = self.entries.iter().enumerate();
        all.filter(move |(_, entry)| entry.state == state)
            .map(|(index, _)| index)
    }

    /// Per sender, how many of its transactions are in blocks.
    pub fn in_blocks_by_sender(&self) -> Vec<u64> {
        let senders = self.by_sender.iter();
        senders
            .map(|indexes| {
                let settled = indexes.iter();
                settled
                    .filter(|&&index| in_block(self.entries[index].state))
                    .count() as u64
            })
            .collect()
    }

    /// The sender's oldest transactions that are not in blocks.
    fn window(&mut self, sender: usize) -> Vec<usize> {
        let first = self.first_unsettled(sender);
        let rest = self.by_sender[sender].iter().skip(first);
        rest.take(REPEAT_WINDOW).copied().collect()
    }

    fn first_unsettled(&mut self, sender: usize) -> usize {
        let of_sender = &self.by_sender[sender];
        let first = &mut self.settled[sender];
        while of_sender
            .get(*first)
            .is_some_and(|&index| in_block(self.entries[index].state))
        {
            *first += 1;
        }
        *first
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

/// The first try is part of `tries`.
fn doubled(patience: Duration, tries: u32) -> Duration {
    patience * 2_u32.pow(tries.saturating_sub(1).min(DOUBLINGS_MAX))
}

fn count_kind(kinds: &mut BTreeMap<String, u64>, words: &str) {
    // Digits (fees, nonces, ports) would make every refusal its own kind.
    let blanked = words.chars().take(120);
    let kind: String = blanked
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    let known = kinds.len() < KINDS_MAX - 1 || kinds.contains_key(&kind);
    let kind = if known { kind } else { "other".to_owned() };
    *kinds.entry(kind).or_default() += 1;
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    // An auto-resizing histogram takes every value that a run can last.
    histogram
        .record(microseconds)
        .expect("an auto-resizing histogram takes it");
}

#[cfg(test)]
mod tests;
