//! An executor that records the effects of every step of a block.

use super::{
    effects::{BlockEffects, PlacedStep},
    error::InvalidStep,
    executor::EvmExecutor,
};
use crate::block::BlockContext;
use lockweave_runtime::{ExecutionError, Executor, Outcome, StateAccess};
use revm::precompile::Precompile;
use std::{fmt, sync::Arc};

/// An [`EvmExecutor`] that stores the effects of every step in the block's [`BlockEffects`].
pub struct EffectsExecutor<S: StateAccess> {
    executor: EvmExecutor<S>,
    effects: Arc<BlockEffects>,
}

impl<S: StateAccess + Default> EffectsExecutor<S> {
    /// An executor for the steps of a block with this context.
    pub fn new(context: &BlockContext, effects: Arc<BlockEffects>) -> Self {
        let mut executor = EvmExecutor::new(context);
        executor.record_effects();
        Self { executor, effects }
    }

    /// Adds precompiled contracts; see [`EvmExecutor::with_precompiles`].
    #[must_use]
    pub fn with_precompiles(mut self, precompiles: impl IntoIterator<Item = Precompile>) -> Self {
        self.executor = self.executor.with_precompiles(precompiles);
        self
    }
}

impl<S: StateAccess + Default> Executor<S> for EffectsExecutor<S> {
    type Transaction = PlacedStep;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        placed: &PlacedStep,
        state: &mut S,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let outcome = self.executor.execute(&placed.step, state)?;
        self.effects.put(placed.index, self.executor.take_effects());
        Ok(outcome)
    }
}

impl<S: StateAccess> fmt::Debug for EffectsExecutor<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EffectsExecutor").finish_non_exhaustive()
    }
}
