//! Payments without locks.
//!
//! What a payment between accounts without code does to an account depends on that account alone: the sender
//! needs its nonce and balance, and neither account may have code. The two accounts share only the question
//! whether the payment is valid. So in a run of payments the history of each account, which is what the
//! payments do to it in block order, can be replayed on its own, on any thread.
//!
//! **Why the result is serial.** Take the first payment that would be invalid if all ran one after another.
//! All payments before it are valid, so the histories of its accounts up to it are the serial ones, and
//! replaying them shows that it is invalid. Then the partial result is discarded and the block is executed in
//! another way, which reports the error. If no replay fails, no such payment exists, and all histories are
//! the serial ones.
//!
//! There are two [rounds](PaymentRound). The first cuts the transactions into parts and sorts what each part
//! does to accounts by shard of the interner. The second replays the histories of each shard's accounts, on a
//! thread that has locked the shard. The results go into the block's changes at once; memory is needed only
//! for the accounts of one shard per thread. An account that earlier transactions gave a cell changes in its
//! cell. An account that later transactions use gets a cell then, with the value that the replay left.

// A thread that locks an interner shard has exclusive access to the cells of that shard's accounts.
#![allow(unsafe_code)]

use crate::{
    account_history::{
        Part, PaymentsMemory, ReplayedAccounts, ReplayedChanges, ShardAccounts, Tips,
    },
    block::OpenBlock,
    cells::KeyCells,
    executor::{Payment, allows, touches},
    keys::SHARDS,
    model::{AccessEntry, Account, Changes, DenseId, StateError, StateKey, TaskId},
};
use parking_lot::{Mutex, RwLock};
use std::{
    mem,
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
};

/// Parts, unless they would be too small or too large.
const PARTS: usize = 32;
/// Transactions in a part.
const PART_TASKS_MIN: usize = 64;
const PART_TASKS_MAX: usize = 2_048;

/// The state is told of so many accounts in a row.
const ANNOUNCED: usize = 32;

/// Accounts that a payment changes at most, besides the beneficiary.
const ACCOUNTS_MAX: usize = 2;

/// A round. Its pieces may be done in any order and on any threads, once all of the round before are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentRound {
    /// Sorts what the payments of a part do, by account.
    Sort,
    /// Replays the histories of the accounts of a shard.
    Replay,
}

/// Payments in a row, being carried out.
#[derive(derive_more::Debug)]
#[debug("Payments {{ tasks: {tasks:?}, is_declined: {} }}", self.is_declined())]
pub struct Payments {
    tasks: Range<usize>,
    part_tasks: usize,
    parts: Vec<RwLock<Part>>,
    /// What becomes of accounts that have no cells.
    changes: ReplayedChanges,
    /// Memory for those accounts, as much as is not in use.
    replayed: Mutex<Vec<ReplayedAccounts>>,
    is_declined: AtomicBool,
}

impl Payments {
    /// Payments for these transactions of a block. Those before them have run, and no others have.
    ///
    /// # Panics
    ///
    /// If the block's keys are numbered and transactions have run: then they are in other cells.
    pub fn new<T>(block: &mut OpenBlock<T>, tasks: Range<usize>) -> Self {
        assert!(
            !block.is_numbered() || tasks.len() == block.transactions().len(),
            "payments among others are carried out before keys are numbered"
        );
        let are_last = tasks.end == block.transactions().len();
        let cells = block.cells_mut();
        let PaymentsMemory {
            mut parts,
            replayed,
            places,
        } = mem::take(&mut cells.spare.payments);
        let places = (!are_last).then_some(places);
        let accounts = ACCOUNTS_MAX * tasks.len() + 1;
        let changes = cells.changes_with_room(accounts + Changes::slack(SHARDS));
        let part_tasks = (tasks.len().div_ceil(PARTS)).clamp(PART_TASKS_MIN, PART_TASKS_MAX);
        parts.resize_with(tasks.len().div_ceil(part_tasks), Part::default);
        parts.iter_mut().for_each(Part::clear);
        Self {
            // Accounts that have got code, or lost it, are for others.
            is_declined: AtomicBool::new(cells.keys.is_recoded()),
            parts: parts.into_iter().map(RwLock::new).collect(),
            changes: ReplayedChanges::new(changes, places),
            replayed: Mutex::new(replayed),
            part_tasks,
            tasks,
        }
    }

    /// How many pieces a round has.
    pub fn pieces(&self, round: PaymentRound) -> usize {
        match round {
            PaymentRound::Sort => self.parts.len(),
            PaymentRound::Replay => SHARDS,
        }
    }

    /// The transactions of a part.
    pub fn tasks_of(&self, part: usize) -> Range<usize> {
        let first = self.tasks.start + part * self.part_tasks;
        first..(first + self.part_tasks).min(self.tasks.end)
    }

    /// Whether it is known that the block has to be run in another way.
    pub fn is_declined(&self) -> bool {
        self.is_declined.load(Ordering::Relaxed)
    }

    fn decline(&self) {
        self.is_declined.store(true, Ordering::Relaxed);
    }

    /// Does a piece of the first round: `payment` says what a transaction is, if it is a payment. From any
    /// thread, once.
    ///
    /// # Safety
    ///
    /// `block` is the one of [`new`](Self::new). During the call no thread runs its transactions or asks
    /// whether they have run, except other calls of this function.
    pub unsafe fn sort<T>(
        &self,
        block: &OpenBlock<T>,
        part: usize,
        mut payment: impl FnMut(&T) -> Option<Payment>,
    ) {
        let notes_touched = block.keeps_touched();
        let sorted = &mut *self.parts[part].write();
        for task in self.tasks_of(part).map(TaskId::from_index) {
            if self.is_declined() {
                return;
            }
            let transaction = &block.transactions()[task.index()].transaction;
            let added = payment(transaction).and_then(|payment| {
                let transfer = &payment.transfer;
                let is_inferred = block.is_inferred(task);
                if !is_inferred && !allows(block.access(task), transfer) {
                    return None;
                }
                sorted.add(block.key_cells(), transfer)?;
                if notes_touched && is_inferred {
                    let touched = touches(transfer).map(|(key, mode)| AccessEntry { key, mode });
                    sorted.touched.extend(touched);
                    block.note_touched(task, &mut sorted.touched);
                }
                Some(payment.outcome)
            });
            match added {
                Some(outcome) => {
                    // SAFETY: the part is locked, so no other call finishes this transaction; by this function's contract
                    // nothing else does, or asks whether it is finished.
                    let first = unsafe { block.outcomes.set_alone(task, outcome) };
                    assert!(first, "transaction {task} was finished twice");
                }
                None => self.decline(),
            }
        }
    }

    /// Does a piece of the second round. From any thread, once.
    ///
    /// # Safety
    ///
    /// `block` is the one of [`new`](Self::new). During the call no thread uses its cells, except other calls
    /// of this function with other shards.
    pub unsafe fn replay<T>(&self, block: &OpenBlock<T>, shard: usize) {
        let cells = block.key_cells();
        let mut memory = self.replayed.lock().pop().unwrap_or_default();
        // SAFETY: by this function's contract only its other calls use the cells, and each locks another shard.
        let mut accounts = unsafe { ShardAccounts::lock(cells, shard, &mut memory) };
        let replayed = self.replay_shard(cells, shard, &mut accounts);
        drop(accounts);
        memory.clear();
        self.replayed.lock().push(memory);
        // A state that cannot be read fails again when the block is run in another way.
        if !matches!(replayed, Ok(Some(()))) {
            self.decline();
        }
    }

    fn replay_shard(
        &self,
        cells: &KeyCells,
        shard: usize,
        accounts: &mut ShardAccounts<'_>,
    ) -> Result<Option<()>, StateError> {
        let mut announced = Vec::with_capacity(ANNOUNCED);
        for part in &self.parts {
            if self.is_declined() {
                return Ok(None);
            }
            for events in part.read().shards[shard].chunks(ANNOUNCED) {
                announced.clear();
                announced.extend(events.iter().map(|event| StateKey::account(event.address)));
                cells.view().prefetch(&announced);
                for (event, key) in events.iter().zip(&announced) {
                    let done = accounts.change(event.hash, key, |before, account| {
                        if before.is_some_and(Account::has_code) {
                            return None;
                        }
                        event.action.apply(account, cells.rules)
                    })?;
                    if done.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        let tipped = self.tip(cells, accounts, shard)?;
        accounts.collect(&self.changes, shard);
        Ok(tipped)
    }

    /// Pays the beneficiary, if it belongs to this shard.
    fn tip(
        &self,
        cells: &KeyCells,
        accounts: &mut ShardAccounts<'_>,
        shard: usize,
    ) -> Result<Option<()>, StateError> {
        let mut first = None;
        for part in &self.parts {
            let Some(Tips { beneficiary, sum }) = part.read().tips else {
                continue;
            };
            if *first.get_or_insert(beneficiary) != beneficiary {
                return Ok(None);
            }
            let key = StateKey::account(beneficiary);
            let (hash, place) = cells.interner.place_of(&key);
            if place != shard {
                continue;
            }
            let paid = accounts.change(hash, &key, |_, account| account.be_paid(sum.get()))?;
            if paid.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// Ends it, when all pieces of both rounds are done. Returns whether all transactions were valid payments; if not, the block
    /// has to be [restarted](OpenBlock::restart).
    pub fn finish<T>(self, block: &mut OpenBlock<T>) -> bool {
        let is_done = !self.is_declined();
        let cells = block.cells_mut();
        cells.replayed = Some(self.changes);
        cells.spare.payments = PaymentsMemory {
            parts: self.parts.into_iter().map(RwLock::into_inner).collect(),
            replayed: self.replayed.into_inner(),
            places: Vec::new(),
        };
        is_done
    }
}
