//! Payments without locks.
//!
//! What a payment between accounts without code does to an account depends on that account alone: the sender
//! has to have a nonce and a balance, and neither may have code. The two have to do with each other in one
//! respect only, which is whether the payment is valid. So where all transactions in a row are payments, every
//! account's history, which is what they do to it in block order, can be followed for itself, on any
//! thread, whatever becomes of other accounts meanwhile.
//!
//! **Why the result is serial.** Take the first payment that would not be valid if they ran one after another. All in front
//! of it are, so its accounts' histories up to it are what they would be, and following them shows that it is
//! not. Then nothing counts of what was done, and the block is run in another way, which says what is
//! wrong. If nothing shows, there is no such payment, and all histories are what they would be.
//!
//! That takes two [rounds](PaymentRound): the transactions are cut into parts, and what those of a part do to accounts is sorted by
//! shard of the interner; then the histories of each shard's accounts are followed by somebody who has that shard for
//! himself. What becomes of them goes into the block's changes at once, and no memory is needed but for the accounts of one shard
//! for each thread. An account that has a cell, as it was used in front, changes there; and one that is used behind gets a cell then, with what it
//! had come to.

// Whoever has a shard of the interner for himself has its accounts.
#![allow(unsafe_code)]

use crate::{
    account_history::{FollowedAccounts, FollowedChanges, Place, ShardAccounts},
    block::{AccountCell, OpenBlock, StateCells, StateRules},
    executor::{Payment, Transfer},
    grant::FEW_KEYS,
    keys::SHARDS,
    model::{
        AccessEntry, AccessMode, AccessSet, Account, DenseId, KeyPart, StateError, StateKey,
        TaskId, is_credit_safe,
    },
};
use alloy_primitives::{Address, U256};
use parking_lot::{Mutex, RwLock};
use std::{
    fmt, mem,
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
    /// Follows what is done to the accounts of a shard.
    Follow,
}

/// Payments in a row, being carried out.
pub struct Payments {
    tasks: Range<usize>,
    part_tasks: usize,
    parts: Vec<RwLock<Part>>,
    /// What becomes of accounts that have no cells.
    changes: FollowedChanges,
    /// Memory for those accounts, as much as is not in use.
    followed: Mutex<Vec<FollowedAccounts>>,
    is_declined: AtomicBool,
}

/// Memory that payments use.
#[derive(Debug, Default)]
pub(crate) struct PaymentsMemory {
    parts: Vec<Part>,
    followed: Vec<FollowedAccounts>,
    places: Vec<Vec<Place>>,
}

impl PaymentsMemory {
    /// Takes back what payments left to a block.
    pub(crate) fn keep_places(&mut self, places: Vec<Vec<Place>>) {
        if !places.is_empty() {
            self.places = places;
        }
    }
}

/// What the payments of a part do.
#[derive(Default)]
pub(crate) struct Part {
    /// By shard: what is done to its accounts, in block order.
    shards: Vec<Vec<Event>>,
    tips: Option<Tips>,
    /// What a payment touches, while it is noted.
    touched: Vec<AccessEntry>,
}

/// What the beneficiary gets.
#[derive(Clone, Copy)]
struct Tips {
    beneficiary: Address,
    sum: Amount,
}

/// What a payment does to an account. Amounts are in wei.
struct Event {
    /// Of the account's key.
    hash: u64,
    address: Address,
    action: Action,
}

enum Action {
    /// Adds to the balance.
    Credit(Amount),
    /// Takes from the balance, of an account that has this nonce and as much as is needed.
    Debit {
        nonce: u64,
        needed: Amount,
        cost: Amount,
    },
}

/// An amount below 2^128 wei, on which words suffice as alignment: there are two events for every payment.
#[derive(Clone, Copy)]
struct Amount([u64; 2]);

impl Amount {
    const ZERO: Self = Self([0, 0]);

    const fn new(amount: U256) -> Option<Self> {
        match *amount.as_limbs() {
            [low, high, 0, 0] => Some(Self([low, high])),
            _ => None,
        }
    }

    const fn get(self) -> U256 {
        let [low, high] = self.0;
        U256::from_limbs([low, high, 0, 0])
    }

    fn plus(self, other: Self) -> Option<Self> {
        let ([low, high], [more_low, more_high]) = (self.0, other.0);
        let (low, carry) = low.carrying_add(more_low, false);
        let (high, carry) = high.carrying_add(more_high, carry);
        if carry { None } else { Some(Self([low, high])) }
    }
}

impl Part {
    fn clear(&mut self) {
        self.shards.resize_with(SHARDS, Vec::new);
        self.shards.iter_mut().for_each(Vec::clear);
        self.tips = None;
    }

    /// Notes what a payment does; `None` if that is more than is done here.
    fn add(&mut self, cells: &StateCells, transfer: &Transfer) -> Option<()> {
        let Transfer {
            sender,
            recipient,
            beneficiary,
            ..
        } = *transfer;
        // What it has got by now would have to stand in its history, payment by payment.
        if sender == beneficiary {
            return None;
        }
        let value = Amount::new(transfer.value)?;
        let gas = Amount::new(transfer.gas_cost)?;
        let is_paid = recipient != sender;
        let debit = Action::Debit {
            nonce: transfer.nonce,
            needed: Amount::new(transfer.needed)?,
            cost: if is_paid { gas.plus(value)? } else { gas },
        };
        self.push(cells, sender, debit);
        if is_paid {
            self.push(cells, recipient, Action::Credit(value));
        }
        let tips = self.tips.get_or_insert(Tips {
            beneficiary,
            sum: Amount::ZERO,
        });
        tips.sum = tips.sum.plus(Amount::new(transfer.tip)?)?;
        (tips.beneficiary == beneficiary).then_some(())
    }

    fn push(&mut self, cells: &StateCells, address: Address, action: Action) {
        let (hash, shard) = cells.place_of(&StateKey::account(address));
        let events = &mut self.shards[shard];
        // Some accounts are paid by everybody.
        if let Action::Credit(amount) = action
            && let Some(last) = events.last_mut()
            && last.address == address
            && let Action::Credit(before) = &mut last.action
            && let Some(sum) = before.plus(amount)
        {
            *before = sum;
            return;
        }
        events.push(Event {
            hash,
            address,
            action,
        });
    }

    /// Makes what a transfer touches the set that a transaction is known by.
    fn note_touched<T>(&mut self, block: &OpenBlock<T>, task: TaskId, transfer: &Transfer) {
        let touched = touches(transfer).map(|(key, mode)| AccessEntry { key, mode });
        self.touched.extend(touched);
        block.note_touched(task, &mut self.touched);
    }
}

/// What a transfer touches, in no order; some of it twice, if it is one to oneself.
fn touches(transfer: &Transfer) -> [(StateKey, AccessMode); 5] {
    let Transfer {
        sender,
        recipient,
        beneficiary,
        ..
    } = *transfer;
    let paid = if recipient == sender {
        AccessMode::Write
    } else {
        AccessMode::Credit
    };
    [
        (StateKey::account(sender), AccessMode::Write),
        (StateKey::code(sender), AccessMode::Read),
        (StateKey::account(recipient), paid),
        (StateKey::code(recipient), AccessMode::Read),
        (StateKey::account(beneficiary), AccessMode::Credit),
    ]
}

/// Whether a set allows a transfer.
fn allows(set: &AccessSet, transfer: &Transfer) -> bool {
    let entries = set.entries();
    if *set == AccessSet::Everything || entries.len() > FEW_KEYS {
        let mut needed = touches(transfer).into_iter();
        return needed.all(|(key, mode)| set.allows(&key, mode));
    }
    let Transfer {
        sender,
        recipient,
        beneficiary,
        ..
    } = *transfer;
    let (mut payer, mut payer_code) = (false, false);
    let (mut paid, mut paid_code, mut tipped) = (false, false, false);
    for AccessEntry { key, mode } in entries {
        let address = key.address;
        match key.part {
            KeyPart::Account => {
                payer |= address == sender && mode.allows(AccessMode::Write);
                paid |= address == recipient && mode.allows(AccessMode::Credit);
                tipped |= address == beneficiary && mode.allows(AccessMode::Credit);
            }
            KeyPart::Code => {
                let is_read = mode.allows(AccessMode::Read);
                payer_code |= address == sender && is_read;
                paid_code |= address == recipient && is_read;
            }
            KeyPart::Slot(_) => {}
        }
    }
    payer && payer_code && paid && paid_code && tipped
}

impl AccountCell {
    /// Adds an amount, if the balance can take it.
    fn be_paid(&mut self, amount: U256) -> Option<()> {
        if !is_credit_safe(self.value.balance, amount) {
            return None;
        }
        self.credits.add_alone(amount);
        Some(())
    }

    /// Takes an amount from who has this nonce and as much as is needed.
    fn pay(&mut self, rules: StateRules, nonce: u64, needed: U256, cost: U256) -> Option<()> {
        let mut value = self.current(rules);
        if value.nonce != nonce || value.balance < needed {
            return None;
        }
        value.balance = value.balance.checked_sub(cost)?;
        value.nonce = nonce.checked_add(1)?;
        value.exists = true;
        self.replace(value);
        Some(())
    }
}

impl Payments {
    /// To be carried out: these transactions of a block. Those in front of them have run, and nobody else has.
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
            followed,
            places,
        } = mem::take(&mut cells.spare.payments);
        let places = (!are_last).then_some(places);
        let accounts = ACCOUNTS_MAX * tasks.len() + 1;
        let part_tasks = (tasks.len().div_ceil(PARTS)).clamp(PART_TASKS_MIN, PART_TASKS_MAX);
        parts.resize_with(tasks.len().div_ceil(part_tasks), Part::default);
        parts.iter_mut().for_each(Part::clear);
        Self {
            // Accounts that have got code, or lost it, are for others.
            is_declined: AtomicBool::new(cells.is_recoded()),
            parts: parts.into_iter().map(RwLock::new).collect(),
            changes: FollowedChanges::with_room(cells, accounts, places),
            followed: Mutex::new(followed),
            part_tasks,
            tasks,
        }
    }

    /// How many pieces a round has.
    pub fn pieces(&self, round: PaymentRound) -> usize {
        match round {
            PaymentRound::Sort => self.parts.len(),
            PaymentRound::Follow => SHARDS,
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
    /// `block` is the one of [`new`](Self::new), and nobody runs its transactions meanwhile, or asks whether they have
    /// run, but other calls of this function.
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
                sorted.add(block.cells(), transfer)?;
                if notes_touched && is_inferred {
                    sorted.note_touched(block, task, transfer);
                }
                Some(payment.outcome)
            });
            match added {
                // SAFETY: the part is locked, and nobody else has to do with its transactions.
                Some(outcome) => unsafe { block.finish_alone(task, outcome) },
                None => self.decline(),
            }
        }
    }

    /// Does a piece of the second round. From any thread, once.
    ///
    /// # Safety
    ///
    /// `block` is the one of [`new`](Self::new), and nobody uses its cells meanwhile but other calls of this function.
    pub unsafe fn follow<T>(&self, block: &OpenBlock<T>, shard: usize) {
        // SAFETY: as of this function.
        let followed = unsafe { self.try_follow(block.cells(), shard) };
        // A state that cannot be read says so again to whoever runs the block.
        if !matches!(followed, Ok(Some(()))) {
            self.decline();
        }
    }

    /// # Safety
    ///
    /// As of [`follow`](Self::follow).
    unsafe fn try_follow(
        &self,
        cells: &StateCells,
        shard: usize,
    ) -> Result<Option<()>, StateError> {
        let mut memory = self.followed.lock().pop().unwrap_or_default();
        // SAFETY: as of this function.
        let done = unsafe { self.follow_shard(cells, shard, &mut memory) };
        memory.clear();
        self.followed.lock().push(memory);
        done
    }

    /// # Safety
    ///
    /// As of [`follow`](Self::follow).
    unsafe fn follow_shard(
        &self,
        cells: &StateCells,
        shard: usize,
        memory: &mut FollowedAccounts,
    ) -> Result<Option<()>, StateError> {
        let mut accounts = ShardAccounts::lock(cells, shard, memory);
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
                    // SAFETY: as of this function.
                    let done = unsafe {
                        accounts.change(event.hash, key, |before, account| {
                            if before.is_some_and(Account::has_code) {
                                return None;
                            }
                            event.action.apply(account, cells.rules)
                        })?
                    };
                    if done.is_none() {
                        return Ok(None);
                    }
                }
            }
        }
        // SAFETY: as of this function.
        let tipped = unsafe { self.tip(cells, &mut accounts, shard)? };
        accounts.collect(&self.changes, shard);
        Ok(tipped)
    }

    /// Pays the beneficiary, if it belongs to this shard.
    ///
    /// # Safety
    ///
    /// As of [`follow`](Self::follow).
    unsafe fn tip(
        &self,
        cells: &StateCells,
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
            let (hash, place) = cells.place_of(&key);
            if place != shard {
                continue;
            }
            // SAFETY: as of this function.
            let paid =
                unsafe { accounts.change(hash, &key, |_, account| account.be_paid(sum.get()))? };
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
        cells.set_followed(self.changes);
        cells.spare.payments = PaymentsMemory {
            parts: self.parts.into_iter().map(RwLock::into_inner).collect(),
            followed: self.followed.into_inner(),
            places: Vec::new(),
        };
        is_done
    }
}

impl Action {
    fn apply(&self, account: &mut AccountCell, rules: StateRules) -> Option<()> {
        match self {
            Self::Credit(amount) => account.be_paid(amount.get()),
            Self::Debit {
                nonce,
                needed,
                cost,
            } => account.pay(rules, *nonce, needed.get(), cost.get()),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let events: usize = self.shards.iter().map(Vec::len).sum();
        f.debug_struct("Part")
            .field("events", &events)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Payments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payments")
            .field("tasks", &self.tasks)
            .field("is_declined", &self.is_declined())
            .finish_non_exhaustive()
    }
}
