//! The effects of a block's steps: the accounts and slots that they touch, and their changes.

use alloy_primitives::{Address, U256};
use lockweave_runtime::WriteSet;
use std::{
    mem,
    sync::{Mutex, PoisonError},
};

/// The accounts and slots that one step touches, and its changes.
#[derive(Clone, Debug, Default)]
pub struct StepEffects {
    /// Accounts that were read, called, paid or changed; in no order, with duplicates.
    pub accounts: Vec<Address>,
    /// Slots that were read or written, by reverted calls too; in no order.
    pub slots: Vec<(Address, U256)>,
    /// The changes.
    pub writes: WriteSet,
}

impl StepEffects {
    /// Adds every changed account to the touched ones.
    pub(crate) fn add_changed(&mut self) {
        let writes = &self.writes;
        let accounts = &mut self.accounts;
        accounts.extend(writes.accounts.iter().map(|(address, _)| address));
        accounts.extend(writes.credits.iter().map(|credit| credit.address));
    }
}

/// The effects of a block's steps, stored by the threads that run them.
#[derive(Debug)]
pub struct BlockEffects {
    steps: Box<[Mutex<StepEffects>]>,
}

impl BlockEffects {
    /// Reserves space for the effects of this many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            steps: (0..steps).map(|_| Mutex::default()).collect(),
        }
    }

    /// Takes the effects of a step; empty if it has not run.
    pub fn take(&self, step: usize) -> StepEffects {
        let mut effects = self.steps[step]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *effects)
    }

    /// Stores the effects of a step, in place of earlier ones.
    pub fn put(&self, step: usize, effects: StepEffects) {
        let mut slot = self.steps[step]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *slot = effects;
    }
}
