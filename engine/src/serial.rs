//! The serial oracle: one step after another on one thread, without locks or cells.

use crate::{access::RecordedAccess, error::EngineError};
use alloy_eips::eip7928::BlockAccessList;
use lockweave_evm_adapter::{
    AccessListBuilder, BlockContext, EvmBlock, EvmExecutor, InvalidStep, Step, StepEffects,
    revm::precompile::Precompile,
};
use lockweave_runtime::{
    AccessError, AccessSet, ExecutionError, Executor, INFERRED_KEYS_MAX, Outcome, OutcomeKind,
    Recording, SealedBlock, SerialState, StateAccess, StateDelta, StateError, StateView,
};
use std::{fmt, sync::Arc};

/// Executes steps one after another and says of each what it accesses and changes.
///
/// This is what parallel executions are compared with, and what records access sets.
///
/// ```
/// use lockweave_engine::SerialRun;
/// # use lockweave_evm_adapter::{BlockContext, InvalidStep, Step};
/// # use lockweave_runtime::{ExecutionError, SealedBlock, StateView};
/// # use std::sync::Arc;
///
/// fn execute(
///     context: &BlockContext,
///     steps: &[Step],
///     before: &Arc<dyn StateView>,
/// ) -> Result<SealedBlock, Box<dyn std::error::Error>> {
///     let mut run = SerialRun::new(context, before);
///     for step in steps {
///         run.step(step)?;
///     }
///     Ok(run.finish()?.sealed)
/// }
/// ```
pub struct SerialRun<S: OracleState = SerialState> {
    executor: EvmExecutor<S>,
    state: S,
    outcomes: Vec<Outcome>,
    sets: Vec<AccessSet>,
    keeps_effects: bool,
    effects: Vec<StepEffects>,
}

/// A state of the oracle: [`SerialState`], or a [`Recording`] of it.
pub trait OracleState: StateAccess + Default {
    /// The state itself.
    fn serial(&self) -> &SerialState;

    /// The keys accessed since the last call, if they are recorded.
    fn take_set(&mut self) -> Option<AccessSet>;
}

impl OracleState for SerialState {
    fn serial(&self) -> &SerialState {
        self
    }

    fn take_set(&mut self) -> Option<AccessSet> {
        None
    }
}

impl OracleState for Recording<SerialState> {
    fn serial(&self) -> &SerialState {
        self.state()
    }

    fn take_set(&mut self) -> Option<AccessSet> {
        let set = self.take_access(INFERRED_KEYS_MAX);
        // More keys than a set can name are everything.
        Some(set.unwrap_or(AccessSet::Everything))
    }
}

/// What a serial run found.
#[derive(Clone, Debug)]
pub struct RecordedRun {
    /// Outcomes and changes.
    pub sealed: SealedBlock,
    /// The access set of every step, failed ones included, of a [recording](SerialRun::recording) run;
    /// else empty.
    pub sets: Vec<AccessSet>,
}

impl RecordedRun {
    /// The sets and the gas used, to execute the block again under locks.
    pub fn access(&self) -> RecordedAccess {
        let outcomes = self.sealed.outcomes.iter();
        RecordedAccess::new(self.sets.clone())
            .with_gas_used(outcomes.map(|outcome| outcome.gas_used).collect())
    }
}

impl SerialRun {
    /// Begins a block on the state before it.
    pub fn new(context: &BlockContext, before: &Arc<dyn StateView>) -> Self {
        Self::on(
            SerialState::new(Arc::clone(before), context.rules()),
            context,
        )
    }
}

impl SerialRun<Recording<SerialState>> {
    /// Begins a block on the state before it, and records the access set of every step.
    pub fn recording(context: &BlockContext, before: &Arc<dyn StateView>) -> Self {
        let state = SerialState::new(Arc::clone(before), context.rules());
        Self::on(Recording::new(state), context)
    }

    /// The access sets of the steps so far, failed ones included.
    pub fn sets(&self) -> &[AccessSet] {
        &self.sets
    }
}

impl<S: OracleState> SerialRun<S> {
    fn on(state: S, context: &BlockContext) -> Self {
        Self {
            executor: EvmExecutor::new(context),
            state,
            outcomes: Vec::new(),
            sets: Vec::new(),
            keeps_effects: false,
            effects: Vec::new(),
        }
    }

    /// Adds precompiled contracts; see
    /// [`EngineBuilder::precompiles`](crate::EngineBuilder::precompiles).
    #[must_use]
    pub fn with_precompiles(mut self, precompiles: impl IntoIterator<Item = Precompile>) -> Self {
        self.executor = self.executor.with_precompiles(precompiles);
        self
    }

    /// Also keeps what every step touches and changes, for an access list (EIP-7928).
    #[must_use]
    pub fn with_effects(mut self) -> Self {
        self.executor.record_effects(true);
        self.keeps_effects = true;
        self
    }

    /// Executes the next step. After an error the step has had no effect, and the run may go on.
    pub fn step(&mut self, step: &Step) -> Result<&Outcome, ExecutionError<InvalidStep>> {
        let result = self.executor.execute(step, &mut self.state);
        self.sets.extend(self.state.take_set());
        let outcome = result?;
        if self.keeps_effects {
            self.effects.push(self.executor.take_effects());
        }
        self.outcomes.push(outcome);
        Ok(self.outcomes.last().expect("one was pushed"))
    }

    /// Executes all steps of a block.
    pub fn steps(mut self, steps: &[Step]) -> Result<Self, EngineError> {
        for (index, step) in steps.iter().enumerate() {
            self.step(step)
                .map_err(|error| EngineError::of_step(index, error))?;
        }
        Ok(self)
    }

    /// What the steps so far have changed.
    pub fn changes(&self) -> Result<StateDelta, StateError> {
        self.state.serial().delta()
    }

    /// The outcomes of the steps that did not fail.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The access list of a block whose steps were all executed [with effects](Self::with_effects).
    pub fn access_list(
        &self,
        block: &EvmBlock,
        before: &Arc<dyn StateView>,
    ) -> Result<BlockAccessList, AccessError> {
        Ok(build_access_list(block, before, &self.outcomes, &self.effects)?.0)
    }

    /// Ends the run.
    pub fn finish(self) -> Result<RecordedRun, StateError> {
        let delta = self.changes()?;
        Ok(RecordedRun {
            sealed: SealedBlock {
                outcomes: self.outcomes,
                delta,
            },
            sets: self.sets,
        })
    }
}

impl<S: OracleState> fmt::Debug for SerialRun<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialRun")
            .field("outcomes", &self.outcomes.len())
            .finish_non_exhaustive()
    }
}

/// Builds the access list and the changes of a block from what its steps did, in block order. Skipped
/// transactions have no index: the list is that of the block without them.
pub(crate) fn build_access_list(
    block: &EvmBlock,
    before: &Arc<dyn StateView>,
    outcomes: &[Outcome],
    effects: &[StepEffects],
) -> Result<(BlockAccessList, StateDelta), AccessError> {
    let mut builder = AccessListBuilder::new(Arc::clone(before), block.context().rules());
    let mut skipped = 0;
    for (step, (outcome, effects)) in outcomes.iter().zip(effects).enumerate() {
        if outcome.kind == OutcomeKind::System && block.transaction_index(step).is_some() {
            skipped += 1;
            continue;
        }
        builder.add(block.access_index(step) - skipped, effects)?;
    }
    builder.finish()
}
