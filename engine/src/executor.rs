//! The executor of the workers: revm on granted cells, which skips invalid transactions and notes effects
//! where asked to.

use crate::{core::Settings, executed::SkippedTransactions};
use lockweave_evm_adapter::{
    BlockContext, EvmExecutor, EvmInferrer, InvalidStep, Step, StepEffects,
};
use lockweave_runtime::{DenseId, ExecutionError, Executor, GrantedState, Outcome, Payment};
use parking_lot::Mutex;
use std::sync::Arc;

type Granted = EvmExecutor<GrantedState<Step>>;

/// The effects of a block's steps, stored by the workers; empty for steps that have not run.
pub(crate) type BlockEffects = [Mutex<StepEffects>];

/// What the workers of one block share.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorFactory {
    pub(crate) context: BlockContext,
    pub(crate) settings: Arc<Settings>,
    /// Set where invalid transactions are skipped. A transaction that was rolled back and succeeded
    /// later stays in the map: its outcome decides.
    pub(crate) skipped: Option<Arc<Mutex<SkippedTransactions>>>,
    /// Set where the block's access list is built.
    pub(crate) effects: Option<Arc<BlockEffects>>,
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
        let mut inner = match last.filter(|last| self.made(last)) {
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
        inner.record_effects(self.effects.is_some());
        BlockExecutor {
            inner,
            settings: Arc::clone(&self.settings),
            skipped: self.skipped.clone(),
            effects: self.effects.clone(),
        }
    }
}

/// revm on granted cells.
#[derive(Debug)]
pub(crate) struct BlockExecutor {
    inner: Granted,
    settings: Arc<Settings>,
    skipped: Option<Arc<Mutex<SkippedTransactions>>>,
    effects: Option<Arc<BlockEffects>>,
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
        let result = self.inner.execute(step, state);
        if let (Ok(_), Some(effects), Some(task)) = (&result, &self.effects, state.task()) {
            *effects[task.index()].lock() = self.inner.take_effects();
        }
        match (result, &self.skipped, step.transaction()) {
            (Err(ExecutionError::Invalid(invalid)), Some(skipped), Some(transaction)) => {
                skipped.lock().insert(transaction.hash(), Box::new(invalid));
                Ok(Outcome::system())
            }
            (result, ..) => result,
        }
    }
}
