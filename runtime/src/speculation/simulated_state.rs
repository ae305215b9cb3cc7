//! Simulation: running a transaction on the state before the block, to see what it touches.
//!
//! A simulation reads the state before the block, which does not change, so it needs no grant. It finds the
//! transaction's access set. If nothing that it read has changed when the locks are granted, its effects are
//! those of the execution, and are applied as they are
//! ([`GrantedState::apply_simulation`](crate::GrantedState::apply_simulation)).

use super::{
    simulation::{Inference, KnownHash},
    speculative_transaction::SpeculativeTransaction,
};
use crate::{
    cells::{LastAccount, Origin},
    executor::{AccessError, StateAccess},
    model::{
        AccessEntry, AccessMode, AccountValue, CodeRef, KeyPart, Sanitized, StateError, StateKey,
        StateView, WriteSet, is_credit_safe, known_block_hash, note_touch, sort_touches,
        was_in_use,
    },
};
use ahash::RandomState;
use alloy_primitives::{Address, B256, U256};
use std::{mem, sync::Arc};

/// What a sender is assumed to have when its transaction is simulated before its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// The account.
    pub address: Address,
    /// The nonce that earlier transactions of the block will have brought it to.
    pub nonce: u64,
    /// A balance that suffices, in wei; more, if it has more.
    pub balance: U256,
}

/// What is expected of a block while its transactions are simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Contention {
    /// Simulations may well be taken as executions, or nothing is known.
    #[default]
    Open,
    /// The block is long, and its first transactions are being simulated: what they teach helps with many
    /// later ones.
    Early,
    /// Most transactions need what an earlier one writes, so most simulations will be in vain.
    Crowded,
}

/// Values a thread remembers: a power of two, small enough to stay in its caches.
const MEMORIES: usize = 256;

/// Hashes that are kept of a transaction: each takes up 96 bytes of memory that is in no cache by then.
const HASHES_MAX: usize = 8;

/// What a thread read lately of the state before a block.
///
/// A few keys are in almost every set (a popular token's code, the block's beneficiary). Asking the state for
/// them again and again would make all threads count references to the same code.
#[derive(Default)]
struct Memory {
    hasher: RandomState,
    /// Empty until the first lookup: most short blocks need none, and making it takes as long as a payment.
    values: Box<[Option<(StateKey, Origin)>]>,
    account: LastAccount,
}

impl Memory {
    /// The value of a key, where it stays until the next lookup.
    fn look(&mut self, view: &dyn StateView, key: &StateKey) -> Result<&Origin, StateError> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let place = self.hasher.hash_one(key) as usize % MEMORIES;
        if self.values.is_empty() {
            self.values = (0..MEMORIES).map(|_| None).collect();
        }
        let known = matches!(&self.values[place], Some((known, _)) if known == key);
        if !known {
            let origin = Origin::load(view, key, &mut self.account)?;
            self.values[place] = Some((*key, origin));
        }
        let value = self.values[place].as_ref();
        Ok(&value.expect("it is there, or was put there").1)
    }
}

/// The state before the block, as a simulated transaction sees it. Notes what it touches.
#[derive(Default, derive_more::Debug)]
#[debug("SimulatedState {{ touched: {} }}", self.touched.len())]
pub struct SimulatedState {
    view: Option<Arc<dyn StateView>>,
    memory: Memory,
    touched: Vec<AccessEntry>,
    hashes: Vec<KnownHash>,
    writes: WriteSet,
    assumption: Option<Assumption>,
    contention: Contention,
}

impl SimulatedState {
    /// The state before a block.
    pub fn new(view: Arc<dyn StateView>) -> Self {
        Self {
            view: Some(view),
            ..Self::default()
        }
    }

    /// The state before the block.
    ///
    /// # Panics
    ///
    /// If it has none, as a [default](Self::default) one.
    pub fn view(&self) -> &Arc<dyn StateView> {
        self.view.as_ref().expect("a state in use has a view")
    }

    /// What is expected of the block.
    pub const fn contention(&self) -> Contention {
        self.contention
    }

    /// Sets what is expected of the block.
    pub const fn set_contention(&mut self, contention: Contention) {
        self.contention = contention;
    }

    /// Forgets what was touched.
    pub fn clear(&mut self) {
        self.touched.clear();
        self.hashes.clear();
        self.writes.clear();
        self.assumption = None;
    }

    /// From now on, until [`clear`](Self::clear), lets an account have more than it has.
    pub fn assume(&mut self, assumption: Assumption) {
        self.assumption = Some(assumption);
    }

    /// Expects an access without making it.
    pub fn expect(&mut self, key: StateKey, mode: AccessMode) {
        note_touch(&mut self.touched, key, mode);
    }

    /// Expects an access to a key that was probably not touched before, without searching for it. If it was,
    /// that does no harm.
    pub fn expect_new(&mut self, key: StateKey, mode: AccessMode) {
        self.touched.push(AccessEntry { key, mode });
    }

    /// Keeps the KECCAK256 of the place of a mapping's entry (a key and the mapping's slot) for the transaction's
    /// [execution](StateAccess::known_hash), which will need it, unless there are many already.
    pub fn keep_hash(&mut self, place: &[u8; 64], hash: U256) {
        if self.hashes.len() < HASHES_MAX {
            let place = *place;
            self.hashes.push(KnownHash { place, hash });
        }
    }

    /// Nonce and balance before the block, without noting an access.
    pub fn peek_account(&mut self, address: Address) -> Result<AccountValue, StateError> {
        let origin = self.look(&StateKey::account(address))?;
        Ok(AccountValue::from(origin.account()))
    }

    /// Code before the block, without noting an access.
    pub fn peek_code(&mut self, address: Address) -> Result<&CodeRef, StateError> {
        Ok(self.look(&StateKey::code(address))?.code())
    }

    /// A slot before the block, without noting an access.
    pub fn peek_slot(&mut self, address: Address, slot: U256) -> Result<U256, StateError> {
        Ok(self.look(&StateKey::slot(address, slot))?.slot())
    }

    fn look(&mut self, key: &StateKey) -> Result<&Origin, StateError> {
        let view = self.view.as_ref().expect("a state in use has a view");
        self.memory.look(&**view, key)
    }

    /// The accesses noted so far, with duplicates: in the order in which they were made, unless one was
    /// noted before.
    pub fn touched(&self) -> &[AccessEntry] {
        &self.touched
    }

    /// The accesses noted so far, as [`touched`](Self::touched), and what slots held before the block.
    pub fn observed(&mut self) -> Result<Vec<(AccessEntry, Option<U256>)>, StateError> {
        let touched = mem::take(&mut self.touched);
        let observed = touched.iter().map(|entry| {
            let value = match entry.key.part {
                KeyPart::Slot(slot) => Some(self.peek_slot(entry.key.address, slot)?),
                KeyPart::Account | KeyPart::Code => None,
            };
            Ok((*entry, value))
        });
        let observed = observed.collect();
        self.touched = touched;
        observed
    }

    /// Makes what was found since [`clear`](Self::clear) what is known of a transaction, and is clear again.
    pub(crate) fn conclude_for(
        &mut self,
        speculative: &SpeculativeTransaction,
        inference: Inference,
        limit: usize,
    ) {
        sort_touches(&mut self.touched);
        if self.touched.len() > limit {
            speculative.infer_everything();
        } else {
            let is_plain = matches!(inference, Inference::Simulated(_)) && self.make_plain();
            speculative.infer(
                &self.touched,
                &self.hashes,
                &self.writes,
                is_plain,
                inference,
            );
        }
        self.clear();
    }

    /// Takes out of the effects what they leave as it was, and says whether the others are plain: slots, and
    /// nonces and balances of accounts that were there and have no code.
    fn make_plain(&mut self) -> bool {
        let mut writes = mem::take(&mut self.writes);
        let mut is_plain = writes.codes.is_empty() && writes.cleared.is_empty();
        if is_plain {
            // A state that cannot be read fails again when the transaction runs.
            writes.accounts.retain(|(address, value)| {
                let before = self.look(&StateKey::account(*address)).ok();
                let before = before.and_then(Origin::account);
                is_plain &= before.is_some_and(|before| !before.has_code());
                AccountValue::from(before) != *value
            });
            writes.slots.retain(|(address, slot, value)| {
                let before = self.peek_slot(*address, *slot);
                is_plain &= before.is_ok();
                before.ok() != Some(*value)
            });
        }
        self.writes = writes;
        is_plain
    }
}

impl StateAccess for SimulatedState {
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        self.expect(StateKey::account(address), AccessMode::Read);
        let mut value = self.peek_account(address)?;
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
        self.expect(StateKey::code(address), AccessMode::Read);
        Ok(self.peek_code(address)?)
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        self.expect(StateKey::code(address), AccessMode::Read);
        self.expect(StateKey::slot(address, slot), AccessMode::Read);
        Ok(self.peek_slot(address, slot)?)
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        self.expect(StateKey::code(address), AccessMode::Read);
        Ok(self.view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        Ok(known_block_hash(&**self.view(), number)?)
    }

    fn was_in_use(&mut self, address: Address) -> bool {
        was_in_use(self.view(), address)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let safe = self
            .peek_account(address)
            .is_ok_and(|account| is_credit_safe(account.balance, amount));
        if safe {
            self.expect(StateKey::account(address), AccessMode::Credit);
        }
        safe
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        for (key, mode) in writes.effects() {
            self.expect(key, mode);
        }
        self.writes.clone_from(writes);
        Ok(())
    }
}

/// Finds out what a transaction touches.
pub trait Infer<T>: 'static {
    /// Infers what a transaction touches, and leaves in `state` every access it is expected to make, either
    /// by running it there or by [naming keys](SimulatedState::expect).
    ///
    /// A wrong answer costs time, never correctness. An error comes from the state only: a transaction that
    /// cannot run is left to its execution, which reports why.
    fn infer(
        &mut self,
        transaction: &T,
        state: &mut SimulatedState,
    ) -> Result<Inference, StateError>;

    /// Announces transactions that will be inferred or will run next, so that the state can be told which
    /// keys will be read.
    fn announce(&mut self, transactions: &[Sanitized<T>], next: Next, view: &dyn StateView) {
        let _ = (transactions, next, view);
    }

    /// Reports that a transaction left the set that was found for it by
    /// [template](Inference::Template), so that the template is not used again. `state` is that before
    /// the block.
    fn reject_template(&mut self, transaction: &T, state: &mut SimulatedState) {
        let _ = (transaction, state);
    }
}

/// What will be done with transactions next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Their sets are inferred.
    Infer,
    /// They run.
    Run,
}
