//! What tests of several folders share.

// Enters grants in tests.
#![allow(unsafe_code)]

use crate::{
    AccessSet, Account, Code, Declaration, GrantedState, Outcome, Sanitized, StateError,
    StateRules, StateView, TaskId, UndoRecord,
};
use alloy_primitives::{Address, B256, U256};
use std::sync::Arc;

pub(crate) const RULES: StateRules = StateRules {
    clear_empty_accounts: true,
};

pub(crate) fn sanitized(access: AccessSet, declaration: Declaration) -> Sanitized<()> {
    Sanitized {
        transaction: (),
        access,
        declaration,
    }
}

/// So many transactions whose sets are to be inferred.
pub(crate) fn undeclared(transactions: usize) -> Vec<Sanitized<()>> {
    vec![sanitized(AccessSet::empty(), Declaration::Inferred); transactions]
}

/// A state without accounts, of which reads may fail.
pub(crate) struct FailingState<A, S> {
    pub(crate) account: A,
    pub(crate) slot: S,
}

impl<A, S> StateView for FailingState<A, S>
where
    A: Fn(Address) -> Result<(), StateError> + Send + Sync,
    S: Fn(U256) -> Result<U256, StateError> + Send + Sync,
{
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        (self.account)(address).map(|()| None)
    }

    fn slot(&self, _: Address, slot: U256) -> Result<U256, StateError> {
        (self.slot)(slot)
    }

    fn code(&self, _: B256) -> Result<Option<Arc<Code>>, StateError> {
        Ok(None)
    }

    fn block_hash(&self, _: u64) -> Result<Option<B256>, StateError> {
        Ok(None)
    }

    fn has_storage(&self, _: Address) -> Result<bool, StateError> {
        Ok(false)
    }
}

/// Tests use grants that conflict one after another; with debug assertions the cells note every grant, and
/// two of a set that conflict abort.
impl<T> GrantedState<T> {
    pub(crate) fn test_enter(&mut self, task: TaskId) {
        // SAFETY: as said above.
        unsafe { self.enter(task) }
    }

    pub(crate) fn test_enter_everything(&mut self, task: TaskId) {
        // SAFETY: as said above.
        unsafe { self.enter_everything(task) }
    }

    pub(crate) fn test_run_private(&mut self, task: TaskId) -> Option<Outcome> {
        // SAFETY: as said above.
        unsafe { self.run_private(task) }
    }

    pub(crate) fn test_revert(&mut self, record: UndoRecord) {
        // SAFETY: as said above.
        unsafe { self.revert(record) }
    }
}
