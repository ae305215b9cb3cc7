//! The executors of the workers: revm on granted cells. They skip invalid transactions where asked to, and keep effects
//! for access lists.

use crate::{core::Settings, executed::SkippedTransactions};
use lockweave_evm_adapter::{
    BlockContext, EvmExecutor, EvmInferrer, InvalidStep, Step, StepEffects,
};
use lockweave_runtime::{ExecutionError, Executor, GrantedState, Outcome, Payment};
use parking_lot::Mutex;
use std::{mem, sync::Arc};

type Granted = EvmExecutor<GrantedState<Step>>;

/// Where invalid transactions are noted, if they are skipped.
///
/// A transaction that was rolled back and succeeded later stays in the map: its outcome decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skipped(Option<Arc<Mutex<SkippedTransactions>>>);

impl Skipped {
    pub(crate) fn new(skips: bool) -> Self {
        Self(skips.then(Arc::default))
    }

    /// Gives an invalid transaction the outcome of a system step, if it is skipped.
    fn settle(
        &self,
        step: &Step,
        result: Result<Outcome, ExecutionError<InvalidStep>>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        match (result, &self.0, step.transaction()) {
            (Err(ExecutionError::Invalid(invalid)), Some(skipped), Some(transaction)) => {
                skipped.lock().insert(transaction.hash(), Box::new(invalid));
                Ok(Outcome::system())
            }
            (result, ..) => result,
        }
    }

    /// Those noted so far.
    pub(crate) fn take(&self) -> SkippedTransactions {
        let skipped = self.0.as_ref();
        skipped.map_or_else(Default::default, |skipped| mem::take(&mut *skipped.lock()))
    }
}

/// What the workers of one block share.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorFactory {
    pub(crate) context: BlockContext,
    pub(crate) settings: Arc<Settings>,
    pub(crate) skipped: Skipped,
}

impl ExecutorFactory {
    /// Whether an executor was made with the same settings.
    fn made(&self, executor: &BlockExecutor) -> bool {
        Arc::ptr_eq(&self.settings, &executor.settings)
    }

    /// An executor and an inferrer for the block, from those that the thread used before.
    pub(crate) fn make_inferring(
        &self,
        last: Option<(BlockExecutor, EvmInferrer)>,
    ) -> (BlockExecutor, EvmInferrer) {
        let last = last.filter(|(executor, _)| self.made(executor));
        let (executor, inferrer) = last.unzip();
        let inferrer = match inferrer {
            Some(mut inferrer) => {
                inferrer.set_block(&self.context);
                inferrer
            }
            None => EvmInferrer::new(&self.context)
                .with_precompiles(self.settings.precompiles.iter().cloned()),
        };
        (self.make(executor), inferrer)
    }

    /// An executor for the block; `last` is the one that the thread used before, kept for its buffers.
    pub(crate) fn make(&self, last: Option<BlockExecutor>) -> BlockExecutor {
        let inner = match last.filter(|last| self.made(last)) {
            Some(mut last) => {
                last.inner.set_block(&self.context);
                last.inner
            }
            None => Granted::new(&self.context)
                .with_precompiles(self.settings.precompiles.iter().cloned())
                .with_short_transfers()
                .with_fast_precompiles()
                .with_traces(self.settings.trace_after),
        };
        BlockExecutor {
            inner,
            settings: Arc::clone(&self.settings),
            skipped: self.skipped.clone(),
        }
    }
}

/// revm on granted cells.
#[derive(Debug)]
pub(crate) struct BlockExecutor {
    inner: Granted,
    settings: Arc<Settings>,
    skipped: Skipped,
}

impl Executor<GrantedState<Step>> for BlockExecutor {
    type Transaction = Step;
    type Invalid = InvalidStep;

    fn payment(&self, step: &Step) -> Option<Payment> {
        self.inner.payment(step)
    }

    fn execute(
        &mut self,
        step: &Step,
        state: &mut GrantedState<Step>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        self.skipped.settle(step, self.inner.execute(step, state))
    }
}

/// A step with its index in the block.
#[derive(Clone, Debug)]
pub(crate) struct PlacedStep {
    pub(crate) index: usize,
    pub(crate) step: Step,
}

impl PlacedStep {
    pub(crate) fn gas_hint(&self) -> u64 {
        self.step.gas_hint()
    }
}

/// The effects of a block's steps, stored by the workers.
#[derive(Debug)]
pub(crate) struct BlockEffects(Box<[Mutex<StepEffects>]>);

impl BlockEffects {
    pub(crate) fn new(steps: usize) -> Self {
        Self((0..steps).map(|_| Mutex::default()).collect())
    }

    /// The effects of all steps in block order.
    pub(crate) fn take(&self) -> Vec<StepEffects> {
        let effects = self.0.iter();
        effects
            .map(|effects| mem::take(&mut *effects.lock()))
            .collect()
    }
}

/// The executor of a run that builds an access list: it keeps the effects of every step.
#[derive(Debug)]
pub(crate) struct ListingExecutor {
    inner: EvmExecutor<GrantedState<PlacedStep>>,
    effects: Arc<BlockEffects>,
    skipped: Skipped,
}

impl ListingExecutor {
    pub(crate) fn new(factory: &ExecutorFactory, effects: Arc<BlockEffects>) -> Self {
        let mut inner = EvmExecutor::new(&factory.context)
            .with_precompiles(factory.settings.precompiles.iter().cloned());
        inner.record_effects();
        Self {
            inner,
            effects,
            skipped: factory.skipped.clone(),
        }
    }
}

impl Executor<GrantedState<PlacedStep>> for ListingExecutor {
    type Transaction = PlacedStep;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        placed: &PlacedStep,
        state: &mut GrantedState<PlacedStep>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let result = self.inner.execute(&placed.step, state);
        let effects = self.inner.take_effects();
        // An invalid transaction has none, whatever it looked at.
        *self.effects.0[placed.index].lock() = result
            .as_ref()
            .map_or_else(|_| StepEffects::default(), |_| effects);
        self.skipped.settle(&placed.step, result)
    }
}
