//! The state that a transaction sees under a grant.

use super::granted_state::{Grant, GrantedState, held_cells};
use crate::{
    executor::{AccessError, StateAccess, Transfer},
    model::{AccessMode, AccountValue, CodeRef, StateError, StateKey, WriteSet, was_in_use},
};
use alloy_primitives::{Address, B256, U256};

impl<T> StateAccess for GrantedState<T> {
    #[inline]
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        if let Some((state, before)) = self.sequential_state() {
            let value = state.account(&**before.view(), address)?;
            self.note(&StateKey::account(address), AccessMode::Read);
            return Ok(value);
        }
        let rules = self.block.as_ref().map(|block| block.key_cells().rules);
        self.read(&StateKey::account(address), |cell| {
            cell.account().current(rules.expect("a cell is of a block"))
        })
    }

    #[inline]
    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError> {
        let key = StateKey::code(address);
        if matches!(self.held, Grant::Sequential) {
            self.note(&key, AccessMode::Read);
            let (state, before) = self.sequential_state().expect("it is in that grant");
            return Ok(state.code(&**before.view(), address)?);
        }
        let (id, _) = self.find(&key, AccessMode::Read)?;
        let block = self.block.as_ref().expect("find succeeds in a block only");
        let cell = held_cells(block, &mut self.credits).into_cell(id);
        Ok(&cell.code().code)
    }

    #[inline]
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        if let Some((state, before)) = self.sequential_state() {
            let value = state.slot(&**before.view(), address, slot)?;
            self.note(&StateKey::code(address), AccessMode::Read);
            self.note(&StateKey::slot(address, slot), AccessMode::Read);
            return Ok(value);
        }
        let generation = self.generation(address)?;
        self.read(&StateKey::slot(address, slot), |cell| {
            cell.slot().current(generation)
        })
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        let cleared = self.generation(address)? > 0;
        let block = self.block.as_ref().expect("a key was found in a block");
        Ok(!cleared && block.key_cells().view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        let known = match &self.block {
            Some(block) => block.key_cells().view().block_hash(number)?,
            None => None,
        };
        Ok(known.ok_or(StateError::MissingBlockHash { number })?)
    }

    fn was_in_use(&mut self, address: Address) -> bool {
        let block = self.block.as_ref();
        block.is_some_and(|block| was_in_use(block.key_cells().view(), address))
    }

    fn is_lookup_free(&self) -> bool {
        matches!(self.held, Grant::Sequential) && self.forgoes_touched
    }

    fn known_hash(&mut self, place: &[u8; 64]) -> Option<U256> {
        let inferred = self.block.as_ref()?.speculative(self.task?)?.inferred()?;
        let known = inferred.hashes.iter().find(|known| known.place == *place)?;
        Some(known.hash)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let key = StateKey::account(address);
        if let Some((state, before)) = self.sequential_state() {
            let may = state.may_credit(&**before.view(), address, amount);
            if may {
                self.note(&key, AccessMode::Credit);
            }
            return may;
        }
        let found = if self.holds_everything() {
            self.find_anywhere(&key)
        } else {
            self.find(&key, AccessMode::Credit)
        };
        let may = found.is_ok_and(|(id, _)| self.is_credit_safe_on(id, amount));
        if may && self.holds_everything() {
            self.note(&key, AccessMode::Credit);
        }
        may
    }

    fn transfer(&mut self, transfer: &Transfer) -> bool {
        self.carry_out(transfer).is_some()
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        if let Some((state, before)) = self.sequential_state() {
            state.apply(&**before.view(), before.rules, writes)?;
            if !self.forgoes_touched {
                (writes.effects()).for_each(|(key, mode)| self.note(&key, mode));
            }
            return Ok(());
        }
        self.check(writes)?;
        self.apply_checked(writes);
        Ok(())
    }
}
