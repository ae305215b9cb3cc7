//! The serial executor: the oracle for every parallel run.
//!
//! It shares neither locks nor cells with the parallel path: an overlay of maps over the state
//! before the block, one transaction after another.

use crate::{
    executor::{AccessError, ExecutionError, Executor, StateAccess},
    model::{
        Account, AccountValue, AddressKey, Changes, CodeRef, DeltaContext, DenseId, SealedBlock,
        StateDelta, StateError, StateRules, StateView, TaskId, WriteSet, is_credit_safe,
        known_block_hash, was_in_use,
    },
};
use ahash::AHashMap;
use alloy_primitives::{Address, B256, U256};
use std::{error::Error, sync::Arc};

struct OverlayAccount {
    value: AccountValue,
    code: CodeRef,
    generation: u32,
    touched: bool,
    before: Option<Account>,
}

struct OverlaySlot {
    value: U256,
    generation: u32,
    before: U256,
}

/// The state while a block runs on one thread.
#[derive(Default, derive_more::Debug)]
#[debug("SerialState {{ accounts: {}, slots: {} }}", self.accounts.len(), self.slots.len())]
pub struct SerialState {
    view: Option<Arc<dyn StateView>>,
    rules: Option<StateRules>,
    accounts: AHashMap<Address, OverlayAccount>,
    slots: AHashMap<(Address, U256), OverlaySlot>,
}

impl SerialState {
    /// The state before a block, with nothing changed yet.
    pub fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            view: Some(view),
            rules: Some(rules),
            ..Self::default()
        }
    }

    /// Forgets all changes, for another block, and keeps the memory.
    pub fn reset(&mut self, view: Arc<dyn StateView>, rules: StateRules) {
        self.view = Some(view);
        self.rules = Some(rules);
        self.accounts.clear();
        self.slots.clear();
    }

    fn view(&self) -> &Arc<dyn StateView> {
        self.view
            .as_ref()
            .expect("a serial state in use has a view")
    }

    fn overlay(&mut self, address: Address) -> Result<&mut OverlayAccount, StateError> {
        let Self { view, accounts, .. } = self;
        let view = view.as_ref().expect("a serial state in use has a view");
        Ok(match accounts.entry(address) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let before = view.account(address)?;
                entry.insert(OverlayAccount {
                    value: AccountValue::from(before.as_ref()),
                    code: CodeRef::load(&**view, address, before.as_ref())?,
                    generation: 0,
                    touched: false,
                    before,
                })
            }
        })
    }

    fn overlay_slot(
        &mut self,
        address: Address,
        slot: U256,
    ) -> Result<&mut OverlaySlot, StateError> {
        let Self { view, slots, .. } = self;
        let view = view.as_ref().expect("a serial state in use has a view");
        Ok(match slots.entry((address, slot)) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let before = view.slot(address, slot)?;
                entry.insert(OverlaySlot {
                    value: before,
                    generation: 0,
                    before,
                })
            }
        })
    }

    /// What changed since the block began.
    pub fn delta(&self) -> Result<StateDelta, StateError> {
        let rules = self.rules.expect("a serial state in use has rules");
        let codes = self
            .accounts
            .iter()
            .filter(|(_, account)| {
                let before = account.before.unwrap_or_default().code_hash;
                account.code.hash() != before
            })
            .map(|(address, account)| (*address, account.code.clone()))
            .collect();
        let generations = self
            .accounts
            .iter()
            .filter(|(_, account)| account.generation > 0)
            .map(|(address, account)| (AddressKey(*address), account.generation))
            .collect();
        let context = DeltaContext {
            codes,
            generations,
            ..DeltaContext::without_code(rules)
        };
        let keys = self.accounts.len().max(self.slots.len());
        let changes = Changes::with_memory(StateDelta::default(), keys, keys);
        let mut part = changes.part();
        for (address, account) in &self.accounts {
            let (before, value) = (account.before, account.value);
            part.account(&context, *address, before, value, account.touched);
        }
        for ((address, slot), overlay) in &self.slots {
            let current = overlay.generation == context.generation(*address);
            let after = if current { overlay.value } else { U256::ZERO };
            part.slot(&context, *address, *slot, overlay.before, after);
        }
        drop(part);
        context.finish(changes, &**self.view())
    }
}

impl StateAccess for SerialState {
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        Ok(self.overlay(address)?.value)
    }

    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError> {
        Ok(&self.overlay(address)?.code)
    }

    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        let generation = self.overlay(address)?.generation;
        let overlay = self.overlay_slot(address, slot)?;
        Ok(if overlay.generation == generation {
            overlay.value
        } else {
            U256::ZERO
        })
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        let cleared = self.overlay(address)?.generation > 0;
        Ok(!cleared && self.view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        Ok(known_block_hash(&**self.view(), number)?)
    }

    fn was_in_use(&mut self, address: Address) -> bool {
        was_in_use(self.view(), address)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        // A failing state says no, and fails again where the failure can be told.
        self.overlay(address)
            .is_ok_and(|account| is_credit_safe(account.value.balance, amount))
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        let clear_empty = self.rules.is_some_and(|rules| rules.clear_empty_accounts);
        for (address, value) in &writes.accounts {
            let account = self.overlay(*address)?;
            account.value = *value;
            account.touched = false;
        }
        for (address, code) in &writes.codes {
            self.overlay(*address)?.code = code.clone();
        }
        for address in &writes.cleared {
            self.overlay(*address)?.generation += 1;
        }
        for (address, slot, value) in &writes.slots {
            let generation = self.overlay(*address)?.generation;
            let overlay = self.overlay_slot(*address, *slot)?;
            overlay.value = *value;
            overlay.generation = generation;
        }
        for credit in &writes.credits {
            let account = self.overlay(credit.address)?;
            account.value.balance += credit.amount;
            account.value.exists |= !credit.amount.is_zero() || !clear_empty;
            account.touched = true;
        }
        Ok(())
    }
}

/// Why a block did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum BlockError<I: Error> {
    /// A transaction has no outcome.
    #[error("transaction {transaction}: {source}")]
    Transaction {
        /// Its place in the block.
        transaction: TaskId,
        /// Why.
        source: ExecutionError<I>,
    },
    /// The changes could not be gathered.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Runs transactions one after another and seals what came of them.
pub fn execute_serially<'t, E>(
    executor: &mut E,
    state: &mut SerialState,
    transactions: impl IntoIterator<Item = &'t E::Transaction>,
) -> Result<SealedBlock, BlockError<E::Invalid>>
where
    E: Executor<SerialState>,
{
    let mut outcomes = Vec::new();
    for (index, transaction) in transactions.into_iter().enumerate() {
        let outcome =
            executor
                .execute(transaction, state)
                .map_err(|source| BlockError::Transaction {
                    transaction: TaskId::from_index(index),
                    source,
                })?;
        outcomes.push(outcome);
    }
    let delta = state.delta()?;
    Ok(SealedBlock { outcomes, delta })
}
