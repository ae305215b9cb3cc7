//! An executor that leaves transactions out instead of failing the block.
//!
//! While a block is made it may turn out that a transaction cannot be in it at its place: it left its
//! access set, or the ones before it changed what it needs. It has no effect then, and the block
//! goes on without it.

use alloy_primitives::{B256, Bytes};
use lockweave_evm_adapter::{BlockContext, EvmExecutor, InvalidStep, Step};
use lockweave_runtime::{
    AccessError, ExecutionError, Executor, GrantedState, Outcome, OutcomeKind, Status,
    UndeclaredAccess,
};
use parking_lot::Mutex;
use std::sync::Arc;

/// Why a transaction was left out.
#[derive(Clone, Debug)]
pub(super) enum Skip {
    /// It reached for something outside its access set.
    Undeclared(Box<UndeclaredAccess>),
    /// It may not be in the block at its place.
    Invalid(Box<InvalidStep>),
}

/// The transactions that were left out, in no order.
pub(super) type Skipped = Arc<Mutex<Vec<(B256, Skip)>>>;

type Inner = EvmExecutor<GrantedState<Step>>;

/// revm on granted cells; leaves out what cannot run.
#[derive(Debug)]
pub(super) struct LenientExecutor {
    inner: Inner,
    skipped: Skipped,
}

impl LenientExecutor {
    /// An executor for a block, from the one that its thread used last if there is one.
    pub(super) fn turn_to(last: Option<Self>, context: &BlockContext, skipped: &Skipped) -> Self {
        let inner = match last {
            Some(mut last) => {
                last.inner.set_block(context);
                last.inner
            }
            None => Inner::new(context).with_short_transfers(),
        };
        Self {
            inner,
            skipped: Arc::clone(skipped),
        }
    }
}

impl Executor<GrantedState<Step>> for LenientExecutor {
    type Transaction = Step;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        step: &Step,
        state: &mut GrantedState<Step>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        let error = match self.inner.execute(step, state) {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        let Some(transaction) = step.transaction() else {
            return Err(error);
        };
        let skip = match error {
            ExecutionError::Access(AccessError::Undeclared(access)) => {
                Skip::Undeclared(Box::new(access))
            }
            ExecutionError::Invalid(invalid) => Skip::Invalid(Box::new(invalid)),
            error @ ExecutionError::Access(AccessError::State(_)) => return Err(error),
        };
        self.skipped.lock().push((transaction.hash(), skip));
        Ok(no_outcome())
    }
}

/// The outcome of a step that did nothing: no receipt, no gas.
const fn no_outcome() -> Outcome {
    Outcome {
        kind: OutcomeKind::System,
        status: Status::Succeeded,
        gas_used: 0,
        logs: Vec::new(),
        output: Bytes::new(),
        created: None,
    }
}
