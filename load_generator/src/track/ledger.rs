//! The state of every transaction of a run. The ledger has no clock: callers pass times in.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use alloy_primitives::B256;
use hdrhistogram::Histogram;

use super::series::{BlockSeen, Series};
use crate::transaction::Signed;

/// Largest number of a sender's oldest pending transactions that are resent at a time.
const RESEND_WINDOW: usize = 16;

/// A delay doubles with each try at most this often.
const DOUBLINGS_MAX: u32 = 4;

/// Largest number of distinct kinds of refusals, and of failed queries.
const KINDS_MAX: usize = 64;

/// State of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not submitted.
    Unsent,
    /// Submitted, without an answer that decides its state.
    Sent,
    /// Accepted by the node.
    Accepted,
    /// Refused by the node's last answer.
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
    /// Time of the last submission or query.
    last_tried: Duration,
    tries: u32,
    accepted: bool,
}

/// The node's answer to one `eth_sendRawTransaction`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Accepted, or already known.
    Accepted,
    /// The nonce is used: this transaction or another one with its nonce is in a block.
    NonceUsed,
    /// Refused, with the node's message.
    Refused(String),
    /// It is unknown whether the transaction arrived; with the error.
    Unknown(String),
}

/// Totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Transactions whose intended time has come.
    pub due: u64,
    /// Transactions submitted at least once.
    pub sent: u64,
    /// In a block, successful.
    pub included: u64,
    /// In a block, reverted.
    pub reverted: u64,
    /// Refused by the node's last answer.
    pub refused: u64,
    /// Submitted, and neither refused nor in a block. At the end of the run they are lost.
    pub waiting: u64,
}

/// The needed parts of a receipt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Receipt {
    /// Hash of the transaction.
    pub hash: B256,
    /// Whether the transaction succeeded.
    pub success: bool,
    /// Gas used.
    pub gas_used: u64,
}

/// The state of every transaction of a run. Times are since the run's start.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    by_hash: HashMap<B256, usize>,
    /// By sender: its transactions in nonce order.
    by_sender: Vec<Vec<usize>>,
    /// By sender: the number of its first transactions that are in blocks.
    in_blocks_prefix: Vec<usize>,
    /// By sender: when one of its transactions was last seen in a block.
    progress: Vec<Duration>,
    sender_of: Vec<usize>,
    counts: Counts,
    /// From the intended time to submission, in microseconds.
    pub lag_us: Histogram<u64>,
    /// From the intended time to acceptance, in microseconds.
    pub accepted_us: Histogram<u64>,
    /// From the intended time to reading the receipt, in microseconds.
    pub included_us: Histogram<u64>,
    /// From the intended time to the announcement of the block, in microseconds.
    pub seen_us: Histogram<u64>,
    /// Number of refusals and transport errors by kind, including those of resends.
    pub refusals: BTreeMap<String, u64>,
    /// Number of failed queries about blocks and transactions by kind. They delay observed inclusions.
    pub troubles: BTreeMap<String, u64>,
    /// Number of resends.
    pub repeats: u64,
    /// Transactions that the node accepted and later did not know.
    pub dropped: u64,
    /// Gas used by the transactions in blocks.
    pub gas: u64,
    /// When the last transaction was seen in a block.
    pub last_included: Duration,
    /// Counts of each second.
    pub series: Series,
    /// Blocks with transactions of the run.
    pub blocks: Vec<BlockSeen>,
}

impl Ledger {
    /// A ledger of transactions that are not sent yet.
    pub(crate) fn new(signed: &[Signed], senders: usize) -> Self {
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
            in_blocks_prefix: vec![0; senders],
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
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether every due transaction is in a block.
    pub(crate) fn all_in_blocks(&self) -> bool {
        self.counts.included + self.counts.reverted == self.counts.due
    }

    /// Whether this hash belongs to a submitted transaction that is not in a block yet.
    pub(crate) fn waits_for(&self, hash: &B256) -> bool {
        self.by_hash.get(hash).is_some_and(|&index| {
            let state = self.entries[index].state;
            state != State::Unsent && !in_block(state)
        })
    }

    /// The intended time of a transaction has come.
    pub(crate) fn due(&mut self, index: usize, intended: Duration) {
        self.entries[index].intended = intended;
        self.counts.due += 1;
        self.series.counts(intended).intended += 1;
    }

    /// A transaction is submitted, for the first time or again.
    pub(crate) fn sent(&mut self, index: usize, now: Duration) {
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
    pub(crate) fn answered(&mut self, index: usize, answer: &Answer, now: Duration) {
        if let Answer::Refused(message) | Answer::Unknown(message) = answer {
            count_kind(&mut self.refusals, message);
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
            // A refused resend says nothing about the accepted copy.
            (Answer::Refused(_), State::Sent) if !entry.accepted => self.set(index, State::Refused),
            // It is unknown again whether the transaction arrived.
            (Answer::NonceUsed | Answer::Unknown(_), State::Refused) => {
                self.set(index, State::Sent);
            }
            _ => {}
        }
    }

    /// A block was read at `now`, and announced at `announced_at`. `gas` is the gas used by all of its transactions.
    pub(crate) fn block(
        &mut self,
        number: u64,
        gas: u64,
        receipts: &[Receipt],
        now: Duration,
        announced_at: Option<Duration>,
    ) {
        let receipts = receipts.iter();
        let transactions = receipts
            .filter(|receipt| self.receipt(receipt, now, announced_at))
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

    /// Whether the transaction belongs to the run. A second receipt changes nothing.
    fn receipt(
        &mut self,
        receipt: &Receipt,
        now: Duration,
        announced_at: Option<Duration>,
    ) -> bool {
        let Some(&index) = self.by_hash.get(&receipt.hash) else {
            return false;
        };
        let entry = &self.entries[index];
        if entry.state == State::Unsent || in_block(entry.state) {
            return false;
        }
        let latency = now.saturating_sub(entry.intended);
        record(&mut self.included_us, latency);
        if let Some(announced_at) = announced_at {
            record(
                &mut self.seen_us,
                announced_at.saturating_sub(entry.intended),
            );
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

    /// A query about the chain failed.
    pub(crate) fn query_failed(&mut self, message: &str) {
        count_kind(&mut self.troubles, message);
    }

    /// Refused transactions to resend now, at most `budget`: those among their senders' oldest that were refused at
    /// least `delay` ago, doubled with each try.
    pub(crate) fn take_refused(
        &mut self,
        now: Duration,
        delay: Duration,
        budget: usize,
    ) -> Vec<usize> {
        let mut resends = Vec::new();
        if self.counts.refused == 0 {
            return resends;
        }
        for sender in 0..self.by_sender.len() {
            for index in self.window(sender) {
                if resends.len() >= budget {
                    return resends;
                }
                let entry = &mut self.entries[index];
                let waited = now.saturating_sub(entry.last_tried);
                if entry.state == State::Refused && waited >= doubled(delay, entry.tries) {
                    entry.last_tried = now;
                    self.set(index, State::Sent);
                    resends.push(index);
                }
            }
        }
        resends
    }

    /// The oldest transaction of each stalled sender: it has no final state, and no transaction of the sender reached a
    /// block for `delay`, doubled with each try. The node may have dropped it, and the sender's later nonces would wait
    /// forever, so the caller asks the node.
    pub(crate) fn take_stalled(&mut self, now: Duration, delay: Duration) -> Vec<usize> {
        let mut stalled = Vec::new();
        for sender in 0..self.by_sender.len() {
            let first = self.first_pending(sender);
            let Some(&index) = self.by_sender[sender].get(first) else {
                continue;
            };
            let entry = &mut self.entries[index];
            let since = entry.last_tried.max(self.progress[sender]);
            if matches!(entry.state, State::Sent | State::Accepted)
                && now.saturating_sub(since) >= doubled(delay, entry.tries)
            {
                entry.last_tried = now;
                entry.tries += 1;
                stalled.push(index);
            }
        }
        stalled
    }

    /// The node does not know this transaction. Returns the sender's transactions to resend. Resent bytes are
    /// identical, so a resend does no harm.
    pub(crate) fn mark_dropped(&mut self, index: usize) -> Vec<usize> {
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

    /// Transactions that are in blocks, successful.
    pub(crate) fn included(&self) -> impl Iterator<Item = usize> {
        self.with_state(State::Included)
    }

    /// Transactions that are in blocks, reverted.
    pub(crate) fn reverted(&self) -> impl Iterator<Item = usize> {
        self.with_state(State::Reverted)
    }

    fn with_state(&self, state: State) -> impl Iterator<Item = usize> {
        let all = self.entries.iter().enumerate();
        all.filter(move |(_, entry)| entry.state == state)
            .map(|(index, _)| index)
    }

    /// By sender: the number of its transactions in blocks.
    pub(crate) fn in_blocks_by_sender(&self) -> Vec<u64> {
        let senders = self.by_sender.iter();
        senders
            .map(|indexes| {
                let indexes = indexes.iter();
                indexes
                    .filter(|&&index| in_block(self.entries[index].state))
                    .count() as u64
            })
            .collect()
    }

    /// The sender's oldest transactions that are not in blocks, at most [`RESEND_WINDOW`].
    fn window(&mut self, sender: usize) -> Vec<usize> {
        let first = self.first_pending(sender);
        let rest = self.by_sender[sender].iter().skip(first);
        rest.take(RESEND_WINDOW).copied().collect()
    }

    fn first_pending(&mut self, sender: usize) -> usize {
        let of_sender = &self.by_sender[sender];
        let first = &mut self.in_blocks_prefix[sender];
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

/// `tries` includes the first try.
fn doubled(delay: Duration, tries: u32) -> Duration {
    delay * 2_u32.pow(tries.saturating_sub(1).min(DOUBLINGS_MAX))
}

fn count_kind(kinds: &mut BTreeMap<String, u64>, message: &str) {
    // Digits (fees, nonces, ports) would make every refusal its own kind.
    let blanked = message.chars().take(120);
    let kind: String = blanked
        .map(|c| if c.is_ascii_digit() { '#' } else { c })
        .collect();
    let known = kinds.len() < KINDS_MAX - 1 || kinds.contains_key(&kind);
    let kind = if known { kind } else { "other".to_owned() };
    *kinds.entry(kind).or_default() += 1;
}

fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram
        .record(microseconds)
        .expect("an auto-resizing histogram takes every value");
}

#[cfg(test)]
mod tests;
