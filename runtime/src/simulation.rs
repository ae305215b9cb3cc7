//! Running a transaction too early: on the state before the block, to see what it touches.
//!
//! A simulation reads the origins of the block's cells, which never change, so it needs no grant and
//! meets nobody. What it finds is the transaction's access set. And if, when the locks are granted,
//! nothing that it read has changed, its effects are those the transaction would have: then it *was*
//! the execution, and is applied as it is
//! ([`GrantedState::apply_simulation`](crate::GrantedState::apply_simulation)).

// The origin of a cell is read by its id; no grant is needed for that.
#![allow(unsafe_code)]

use crate::{
    access::{AccessEntry, AccessMode, AccessSet, KeyAccess},
    executor::{AccessError, StateAccess},
    id::{KeyId, TaskId},
    interner::RecentKeys,
    key::{KeyPart, StateKey},
    open_block::OpenBlock,
    outcome::Outcome,
    state::{CodeRef, StateError},
    state_cells::Origin,
    write_set::{AccountValue, WriteSet, is_credit_safe},
};
use alloy_primitives::{Address, B256, U256};
use std::{fmt, sync::Arc};

/// The outcome and effects of a transaction that ran on the state before the block.
#[derive(Debug)]
pub struct Simulation {
    /// Until it is taken.
    pub(crate) outcome: Option<Outcome>,
    pub(crate) writes: WriteSet,
    /// The cells that the effects change, in the order in which they are applied.
    pub(crate) cells: Vec<KeyId>,
}

/// What inference found of one transaction, by the ids of one block's cells.
#[derive(Debug)]
pub(crate) struct InferredSet {
    pub(crate) access: AccessSet,
    pub(crate) keys: Option<Box<[KeyAccess]>>,
    pub(crate) simulation: Option<Box<Simulation>>,
    /// What the transaction is thought to use; zero where nobody knows.
    pub(crate) gas: u64,
}

/// Finds out what a transaction touches.
pub trait Infer<T>: 'static {
    /// Looks at a transaction, and leaves in `state` every access it is expected to make, either by
    /// running it there or by [naming keys](SimulatedState::expect).
    ///
    /// A wrong answer costs time, never correctness. An error is the state's alone: a transaction
    /// that cannot run is left to its execution, which will say why.
    fn infer(
        &mut self,
        transaction: &T,
        state: &mut SimulatedState<T>,
    ) -> Result<Inference, StateError>;

    /// Is told that a transaction left the set that was found for it by
    /// [template](Inference::Template), so that the template is not used again. `state` is that before
    /// the block.
    fn refute(&mut self, transaction: &T, state: &mut SimulatedState<T>) {
        let _ = (transaction, state);
    }
}

/// How a set was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inference {
    /// By running the transaction, to this outcome.
    Simulated(Outcome),
    /// By running it under assumptions that do not hold yet (an earlier transaction of the sender
    /// is in the block), or up to an error. The outcome says nothing.
    Assumed,
    /// From what earlier runs of the same code have shown.
    Template {
        /// What such runs used lately, in gas.
        gas: u64,
    },
    /// It follows from the transaction alone.
    Known,
}

impl Inference {
    /// What the transaction is thought to use, in gas, if anybody knows.
    pub const fn gas(&self) -> Option<u64> {
        match self {
            Self::Simulated(outcome) => Some(outcome.gas_used),
            Self::Template { gas } => Some(*gas),
            Self::Assumed | Self::Known => None,
        }
    }
}

/// What a sender is assumed to have when its transaction is simulated before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// Whose nonce and balance.
    pub address: Address,
    /// The nonce that earlier transactions of the block will have brought it to.
    pub nonce: u64,
    /// A balance that suffices, in wei; more, if it has more.
    pub balance: U256,
}

/// How many of the last touches are looked through before a key is looked up.
const TOUCHES_AT_HAND: usize = 12;

#[derive(Clone, Copy, Debug)]
struct Touched {
    entry: AccessEntry,
    id: KeyId,
}

/// The state before the block, as a transaction sees it that runs too early. Notes what it touches.
pub struct SimulatedState<T> {
    block: Option<Arc<OpenBlock<T>>>,
    recent: RecentKeys<StateKey>,
    touched: Vec<Touched>,
    writes: WriteSet,
    cells: Vec<KeyId>,
    assumption: Option<Assumption>,
}

impl<T> SimulatedState<T> {
    /// The state before `block`.
    pub fn new(block: Arc<OpenBlock<T>>) -> Self {
        Self {
            block: Some(block),
            ..Self::default()
        }
    }

    /// Forgets what was touched.
    pub fn clear(&mut self) {
        self.touched.clear();
        self.writes.clear();
        self.cells.clear();
        self.assumption = None;
    }

    /// From now on, until [`clear`](Self::clear), lets an account have more than it has.
    pub fn assume(&mut self, assumption: Assumption) {
        self.assumption = Some(assumption);
    }

    /// Expects an access without making it.
    pub fn expect(&mut self, key: StateKey, mode: AccessMode) -> Result<(), StateError> {
        self.touch(key, mode).map(|_| ())
    }

    /// Nonce and balance before the block, without noting a look.
    pub fn peek_account(&mut self, address: Address) -> Result<AccountValue, StateError> {
        let id = self.intern(&StateKey::account(address))?;
        Ok(AccountValue::from(self.origin(id).account()))
    }

    /// Code before the block, without noting a look.
    pub fn peek_code(&mut self, address: Address) -> Result<&CodeRef, StateError> {
        let id = self.intern(&StateKey::code(address))?;
        Ok(self.origin(id).code())
    }

    /// A slot before the block, without noting a look.
    pub fn peek_slot(&mut self, address: Address, slot: U256) -> Result<U256, StateError> {
        let id = self.intern(&StateKey::slot(address, slot))?;
        Ok(self.origin(id).slot())
    }

    /// The accesses noted so far, in no order and with duplicates.
    pub fn touched(&self) -> impl Iterator<Item = AccessEntry> {
        self.touched.iter().map(|touched| touched.entry)
    }

    /// The accesses noted so far, in the order in which they were made and with duplicates, and what
    /// slots held before the block.
    pub fn observed(&self) -> impl Iterator<Item = (AccessEntry, Option<U256>)> {
        self.touched.iter().map(|touched| {
            let is_slot = matches!(touched.entry.key.part, KeyPart::Slot(_));
            let value = is_slot.then(|| self.origin(touched.id).slot());
            (touched.entry, value)
        })
    }

    /// Makes what was found since [`clear`](Self::clear) the access set of `task` in this block, and
    /// is clear again. With more keys than `limit` the set is everything.
    pub fn conclude(&mut self, task: TaskId, inference: Inference, limit: usize) {
        let found = self.take_found(inference, limit);
        if let Some(block) = &self.block {
            block.set_inferred(task, found);
        }
        self.clear();
    }

    fn take_found(&mut self, inference: Inference, limit: usize) -> InferredSet {
        self.touched
            .sort_unstable_by_key(|touched| touched.entry.key);
        self.touched.dedup_by(|next, kept| {
            let same = next.id == kept.id;
            if same {
                kept.entry.mode = kept.entry.mode.union(next.entry.mode);
            }
            same
        });
        if self.touched.len() > limit {
            return InferredSet {
                access: AccessSet::Everything,
                keys: None,
                simulation: None,
                gas: 0,
            };
        }
        let entries = self.touched.iter().map(|touched| touched.entry).collect();
        let keys = self.touched.iter().map(|touched| KeyAccess {
            key: touched.id,
            mode: touched.entry.mode,
        });
        let gas = inference.gas().unwrap_or_default();
        let simulation = match inference {
            Inference::Simulated(outcome) => Some(Box::new(Simulation {
                outcome: Some(outcome),
                writes: std::mem::take(&mut self.writes),
                cells: std::mem::take(&mut self.cells),
            })),
            _ => None,
        };
        InferredSet {
            access: AccessSet::Keys(entries),
            keys: Some(keys.collect()),
            simulation,
            gas,
        }
    }

    fn intern(&mut self, key: &StateKey) -> Result<KeyId, StateError> {
        let block = self.block.as_ref().expect("a state in use has a block");
        block.cells().intern_cached(&mut self.recent, key)
    }

    fn origin(&self, id: KeyId) -> &Origin {
        let block = self.block.as_ref().expect("a state in use has a block");
        // SAFETY: every id here came from this block's interner, whose lock orders memory.
        unsafe { block.cells().cells.origin(id) }
    }

    fn touch(&mut self, key: StateKey, mode: AccessMode) -> Result<KeyId, StateError> {
        // Most touches repeat one of the last few: a slot's account, a value that is read and written.
        let at_hand = self.touched.iter_mut().rev().take(TOUCHES_AT_HAND);
        if let Some(known) = at_hand.into_iter().find(|known| known.entry.key == key) {
            known.entry.mode = known.entry.mode.union(mode);
            return Ok(known.id);
        }
        let id = self.intern(&key)?;
        self.touched.push(Touched {
            entry: AccessEntry { key, mode },
            id,
        });
        Ok(id)
    }
}

impl<T> StateAccess for SimulatedState<T> {
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        let id = self.touch(StateKey::account(address), AccessMode::Read)?;
        let mut value = AccountValue::from(self.origin(id).account());
        if let Some(assumption) = self.assumption
            && assumption.address == address
        {
            value.nonce = assumption.nonce;
            value.balance = value.balance.max(assumption.balance);
            value.exists = true;
        }
        Ok(value)
    }

    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError> {
        let id = self.touch(StateKey::code(address), AccessMode::Read)?;
        Ok(self.origin(id).code())
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        self.touch(StateKey::code(address), AccessMode::Read)?;
        let id = self.touch(StateKey::slot(address, slot), AccessMode::Read)?;
        Ok(self.origin(id).slot())
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        self.touch(StateKey::code(address), AccessMode::Read)?;
        let block = self.block.as_ref().expect("a state in use has a block");
        Ok(block.cells().view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        let block = self.block.as_ref().expect("a state in use has a block");
        let known = block.cells().view().block_hash(number)?;
        Ok(known.ok_or(StateError::MissingBlockHash { number })?)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let key = StateKey::account(address);
        let Ok(id) = self.intern(&key) else {
            return false;
        };
        let balance = self.origin(id).account().map(|account| account.balance);
        is_credit_safe(balance.unwrap_or_default(), amount)
            && self.touch(key, AccessMode::Credit).is_ok()
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        self.cells.clear();
        for (key, mode) in writes.effects() {
            let id = self.touch(key, mode)?;
            self.cells.push(id);
        }
        self.writes.clone_from(writes);
        Ok(())
    }
}

impl<T> Default for SimulatedState<T> {
    fn default() -> Self {
        Self {
            block: None,
            recent: RecentKeys::default(),
            touched: Vec::new(),
            writes: WriteSet::default(),
            cells: Vec::new(),
            assumption: None,
        }
    }
}

impl<T> fmt::Debug for SimulatedState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedState")
            .field("touched", &self.touched.len())
            .finish_non_exhaustive()
    }
}
