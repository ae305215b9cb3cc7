//! What every step of a block touched and changed, noted while it runs.

use super::{error::InvalidStep, executor::EvmExecutor};
use crate::block::{BlockContext, Step};
use alloy_primitives::{Address, U256};
use lockweave_runtime::{ExecutionError, Executor, Outcome, StateAccess, WriteSet};
use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

/// What one step touched and changed.
#[derive(Clone, Debug, Default)]
pub struct StepEffects {
    /// Accounts that were looked at, called, paid or changed; in no order, with duplicates.
    pub accounts: Vec<Address>,
    /// Slots that were read or written, those of undone calls too; in no order.
    pub slots: Vec<(Address, U256)>,
    /// What changed.
    pub writes: WriteSet,
}

impl StepEffects {
    /// Every account that changed was touched.
    pub(crate) fn add_changed(&mut self) {
        let writes = &self.writes;
        let accounts = &mut self.accounts;
        accounts.extend(writes.accounts.iter().map(|(address, _)| address));
        accounts.extend(writes.credits.iter().map(|credit| credit.address));
    }
}

/// The effects of a block's steps, put down by whoever runs them.
#[derive(Debug)]
pub struct BlockEffects {
    steps: Box<[Mutex<StepEffects>]>,
}

impl BlockEffects {
    /// Room for the effects of this many steps.
    pub fn new(steps: usize) -> Self {
        Self {
            steps: (0..steps).map(|_| Mutex::default()).collect(),
        }
    }

    /// The effects of a step; nothing, if it has not run.
    pub fn take(&self, step: usize) -> StepEffects {
        let mut effects = self.steps[step]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        mem::take(&mut *effects)
    }

    fn put(&self, step: usize, effects: StepEffects) {
        let mut place = self.steps[step]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *place = effects;
    }
}

/// A step that knows its place in the block.
#[derive(Clone, Debug)]
pub struct PlacedStep {
    /// Its place among the block's steps.
    pub place: usize,
    /// The step.
    pub step: Step,
}

impl PlacedStep {
    /// A rough cost in gas.
    pub fn gas_hint(&self) -> u64 {
        self.step.gas_hint()
    }
}

/// An [`EvmExecutor`] that puts the effects of every step where the block's are gathered.
pub struct NotingExecutor<S: StateAccess> {
    executor: EvmExecutor<S>,
    effects: Arc<BlockEffects>,
}

impl<S: StateAccess + Default> NotingExecutor<S> {
    /// An executor for the steps of a block with this context.
    pub fn new(context: &BlockContext, effects: Arc<BlockEffects>) -> Self {
        let mut executor = EvmExecutor::new(context);
        executor.note_effects();
        Self { executor, effects }
    }
}

impl<S: StateAccess + Default> Executor<S> for NotingExecutor<S> {
    type Transaction = PlacedStep;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        placed: &PlacedStep,
        state: &mut S,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let outcome = self.executor.execute(&placed.step, state)?;
        self.effects.put(placed.place, self.executor.take_effects());
        Ok(outcome)
    }
}

impl<S: StateAccess> fmt::Debug for NotingExecutor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotingExecutor").finish_non_exhaustive()
    }
}
