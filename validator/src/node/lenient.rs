//! An executor that leaves transactions out instead of failing the block.
//!
//! While a block is made it may turn out that a transaction cannot be in it at its place: the ones
//! before it changed what it needs. It has no effect then, and the block goes on without it. One that
//! leaves its access set is another matter: that ends here as it does elsewhere, and is mended where
//! the set was inferred.

use ahash::AHashMap;
use alloy_primitives::B256;
use lockweave_evm_adapter::{BlockContext, EvmExecutor, InvalidStep, Step};
use lockweave_runtime::{ExecutionError, Executor, GrantedState, Outcome, Payment};
use parking_lot::Mutex;
use std::sync::Arc;

/// Why transactions had no effect when they ran last, by hash.
///
/// One that was taken back and ran again may have had one after all: its outcome says so.
pub(super) type Refused = Arc<Mutex<AHashMap<B256, Box<InvalidStep>>>>;

type Inner = EvmExecutor<GrantedState<Step>>;

/// revm on granted cells; leaves out what cannot run.
#[derive(Debug)]
pub(super) struct LenientExecutor {
    inner: Inner,
    refused: Refused,
}

impl LenientExecutor {
    /// An executor for a block, from the one that its thread used last if there is one.
    pub(super) fn turn_to(last: Option<Self>, context: &BlockContext, refused: &Refused) -> Self {
        let inner = match last {
            Some(mut last) => {
                last.inner.set_block(context);
                last.inner
            }
            None => Inner::new(context).with_shortcuts(),
        };
        Self {
            inner,
            refused: Arc::clone(refused),
        }
    }
}

impl Executor<GrantedState<Step>> for LenientExecutor {
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
        match (self.inner.execute(step, state), step.transaction()) {
            (Err(ExecutionError::Invalid(invalid)), Some(transaction)) => {
                let why = Box::new(invalid);
                self.refused.lock().insert(transaction.hash(), why);
                Ok(Outcome::system())
            }
            (result, _) => result,
        }
    }
}
