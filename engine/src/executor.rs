//! The executor of the workers: revm on granted cells, which skips invalid transactions where asked to.

use crate::executed::SkippedTransactions;
use lockweave_evm_adapter::{BlockContext, EvmExecutor, InvalidStep, Step};
use lockweave_runtime::{ExecutionError, Executor, GrantedState, Outcome, Payment};
use parking_lot::Mutex;
use std::sync::Arc;

type Granted = EvmExecutor<GrantedState<Step>>;

/// What the workers of one block share.
#[derive(Clone, Debug)]
pub(crate) struct ExecutorFactory {
    pub(crate) context: BlockContext,
    pub(crate) trace_after: u32,
    /// Set where invalid transactions are skipped. A transaction that was rolled back and succeeded
    /// later stays in the map: its outcome decides.
    pub(crate) skipped: Option<Arc<Mutex<SkippedTransactions>>>,
}

impl ExecutorFactory {
    /// An executor for the block; `last` is the one that the thread used before, kept for its buffers.
    pub(crate) fn make(&self, last: Option<BlockExecutor>) -> BlockExecutor {
        let inner = match last {
            Some(mut last) => {
                last.inner.set_block(&self.context);
                last.inner
            }
            None => Granted::new(&self.context)
                .with_short_transfers()
                .with_fast_precompiles()
                .with_traces(self.trace_after),
        };
        BlockExecutor {
            inner,
            skipped: self.skipped.clone(),
        }
    }
}

/// revm on granted cells.
#[derive(Debug)]
pub(crate) struct BlockExecutor {
    inner: Granted,
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
