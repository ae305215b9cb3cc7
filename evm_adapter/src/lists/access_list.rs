//! A block's access list (EIP-7928), built from the effects of its steps.
//!
//! The list has every account and slot that was touched, and every change of a balance, nonce, code or
//! slot, by the index of its transaction. Steps may run in any order and on any thread, but their effects
//! are added in block order: effects hold credits as amounts, the list holds the resulting balances.

use crate::executor::StepEffects;
use alloy_eips::eip7928::{
    AccountChanges, BalanceChange, BlockAccessIndex, BlockAccessList, CodeChange, NonceChange,
    SlotChanges, StorageChange,
};
use alloy_primitives::{Address, Bytes, U256};
use lockweave_runtime::{
    AccessError, AccountValue, CodeRef, SerialState, StateAccess, StateDelta, StateRules, StateView,
};
use std::{collections::BTreeMap, sync::Arc};

/// Builds a block's access list from the effects of its steps.
#[derive(Debug)]
pub struct AccessListBuilder {
    /// The state after the steps so far.
    state: SerialState,
    accounts: BTreeMap<Address, Touched>,
    index: BlockAccessIndex,
    /// Accounts changed under the current index, with their values before.
    accounts_before: BTreeMap<Address, (AccountValue, CodeRef)>,
    slots_before: BTreeMap<(Address, U256), U256>,
}

/// The list's entries of one account.
#[derive(Debug, Default)]
struct Touched {
    balances: Vec<BalanceChange>,
    nonces: Vec<NonceChange>,
    codes: Vec<CodeChange>,
    /// Touched slots with their changes; one without changes was only read.
    slots: BTreeMap<U256, Vec<StorageChange>>,
}

impl AccessListBuilder {
    /// An empty list of a block on this state.
    ///
    /// The fork must be Cancun or later: before EIP-6780 storage could be destroyed, which a list cannot express.
    pub fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            state: SerialState::new(view, rules),
            accounts: BTreeMap::new(),
            index: BlockAccessIndex::PRE_EXECUTION,
            accounts_before: BTreeMap::new(),
            slots_before: BTreeMap::new(),
        }
    }

    /// Adds the next step in block order; `index` is that of
    /// [`EvmBlock::access_index`](crate::EvmBlock::access_index).
    pub fn add(&mut self, index: u64, effects: &StepEffects) -> Result<(), AccessError> {
        if index != self.index.get() {
            self.record_changes()?;
            self.index = BlockAccessIndex::new(index);
        }
        for address in &effects.accounts {
            self.accounts.entry(*address).or_default();
        }
        for (address, slot) in &effects.slots {
            let account = self.accounts.entry(*address).or_default();
            account.slots.entry(*slot).or_default();
        }
        let writes = &effects.writes;
        let changed = (writes.accounts.iter().map(|(address, _)| address))
            .chain(writes.credits.iter().map(|credit| &credit.address))
            .chain(writes.codes.iter().map(|(address, _)| address));
        for address in changed {
            if !self.accounts_before.contains_key(address) {
                let before = account(&mut self.state, *address)?;
                self.accounts_before.insert(*address, before);
            }
        }
        for (address, slot, _) in &writes.slots {
            if !self.slots_before.contains_key(&(*address, *slot)) {
                let before = self.state.slot(*address, *slot)?;
                self.slots_before.insert((*address, *slot), before);
            }
        }
        self.state.apply(writes)
    }

    /// The list, and the block's state changes.
    pub fn finish(mut self) -> Result<(BlockAccessList, StateDelta), AccessError> {
        self.record_changes()?;
        let delta = self.state.delta()?;
        let accounts = self.accounts.into_iter();
        let list = accounts.map(|(address, touched)| touched.into_changes(address));
        Ok((list.collect(), delta))
    }

    /// Records the changes under the current index.
    fn record_changes(&mut self) -> Result<(), AccessError> {
        let index = self.index;
        for (address, (value, code)) in std::mem::take(&mut self.accounts_before) {
            let (value_now, code_now) = account(&mut self.state, address)?;
            let touched = self.accounts.entry(address).or_default();
            if value_now.balance != value.balance {
                let change = BalanceChange::new(index, value_now.balance);
                touched.balances.push(change);
            }
            if value_now.nonce != value.nonce {
                let change = NonceChange::new(index, value_now.nonce);
                touched.nonces.push(change);
            }
            if code_now.hash() != code.hash() {
                let code = code_now.get().map(|code| code.bytes().clone());
                let change = CodeChange::new(index, code.unwrap_or_else(Bytes::new));
                touched.codes.push(change);
            }
        }
        for ((address, slot), before) in std::mem::take(&mut self.slots_before) {
            let now = self.state.slot(address, slot)?;
            let touched = self.accounts.entry(address).or_default();
            let changes = touched.slots.entry(slot).or_default();
            if now != before {
                changes.push(StorageChange::new(index, now));
            }
        }
        Ok(())
    }
}

impl Touched {
    fn into_changes(self, address: Address) -> AccountChanges {
        let mut list = AccountChanges::new(address);
        for (slot, changes) in self.slots {
            if changes.is_empty() {
                list.storage_reads.push(slot);
            } else {
                list.storage_changes.push(SlotChanges::new(slot, changes));
            }
        }
        list.balance_changes = self.balances;
        list.nonce_changes = self.nonces;
        list.code_changes = self.codes;
        list
    }
}

fn account(
    state: &mut SerialState,
    address: Address,
) -> Result<(AccountValue, CodeRef), AccessError> {
    let code = state.code(address)?.clone();
    Ok((state.account(address)?, code))
}
