//! An undo record reverts all effects of a transaction, and nothing else.

// `revert` is unsafe: the test holds the grant that makes it sound.
#![allow(unsafe_code)]

use crate::support::{Granted, STAGES, generate};
use lockweave::{
    Step,
    evm::InvalidStep,
    runtime::{ExecutionError, Executor, GrantedState, Outcome},
};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs every step, reverts it, and runs it again.
struct TwiceOver {
    executor: Granted,
    reverted: Arc<AtomicUsize>,
}

impl Executor<GrantedState<Step>> for TwiceOver {
    type Transaction = Step;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        step: &Step,
        state: &mut GrantedState<Step>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        state.keep_undo();
        let first = self.executor.execute(step, state)?;
        let record = state.take_undo();
        self.reverted.fetch_add(record.len(), Ordering::Relaxed);
        // SAFETY: the record belongs to the task whose grant is held. Only credits are shared between grants,
        // and the test runs on one worker, so no other thread adds to them.
        unsafe { state.revert(record) };
        let second = self.executor.execute(step, state)?;
        drop(state.take_undo());
        assert_eq!(first, second, "the second run saw the state of the first");
        Ok(second)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_reverted_run_leaves_no_trace(case in generate::case(40)) {
        let (steps, sets, expected) = case.record();
        let reverted = Arc::new(AtomicUsize::new(0));
        let context = case.block.context().clone();
        let count = Arc::clone(&reverted);
        let make = move |_: Option<TwiceOver>| TwiceOver {
            executor: Granted::new(&context).with_shortcuts().with_traces(0),
            reverted: Arc::clone(&count),
        };
        let found = case.run_with(&STAGES[0], &steps, &sets, make);
        let found = found.map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(found, expected);
        prop_assert!(steps.is_empty() || reverted.load(Ordering::Relaxed) > 0);
    }
}
