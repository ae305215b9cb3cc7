//! The executor of the workers: revm on granted cells, which skips invalid transactions where asked to.

use crate::{core::Settings, executed::SkippedTransactions};
use lockweave_evm_adapter::{BlockContext, EvmExecutor, EvmInferrer, InvalidStep, Step};
use lockweave_runtime::{ExecutionError, Executor, GrantedState, Outcome, Payment};
use parking_lot::Mutex;
use std::sync::Arc;

type Granted = EvmExecutor<GrantedState<Step>>;

/// What the workers of one block share.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorFactory {
    pub(crate) context: BlockContext,
    pub(crate) settings: Arc<Settings>,
    /// Set where invalid transactions are skipped. A transaction that was rolled back and succeeded
    /// later stays in the map: its outcome decides.
    pub(crate) skipped: Option<Arc<Mutex<SkippedTransactions>>>,
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
    skipped: Option<Arc<Mutex<SkippedTransactions>>>,
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
        match (result, &self.skipped, step.transaction()) {
            (Err(ExecutionError::Invalid(invalid)), Some(skipped), Some(transaction)) => {
                skipped.lock().insert(transaction.hash(), Box::new(invalid));
                Ok(Outcome::system())
            }
            (result, ..) => result,
        }
    }
}
