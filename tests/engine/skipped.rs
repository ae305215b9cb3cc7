//! Invalid transactions are skipped, whatever else is asked for.

use crate::support::{Case, generate};
use alloy_eips::eip7928::BlockAccessList;
use lockweave::{
    Access, Engine, EngineError, EvmExecutor, Executed, RecordedAccess,
    engine::SerialRun,
    evm::AccessListBuilder,
    runtime::{ExecutionError, Executor, Outcome, SealedBlock, SerialState},
};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let engine = Engine::builder().threads(3).trace_after(0).build();
    engine.expect("threads")
});

/// What the block comes to, with the outcome of a system step for invalid transactions, and the access list of the
/// block without them.
fn oracle(case: &Case) -> (SealedBlock, BlockAccessList) {
    let context = case.block.context();
    let mut state = SerialState::new(Arc::clone(&case.view), context.rules());
    let mut executor = EvmExecutor::new(context);
    executor.record_effects(true);
    let mut list = AccessListBuilder::new(Arc::clone(&case.view), context.rules());
    let mut outcomes = Vec::new();
    let mut skipped = 0;
    for (index, step) in case.block.steps().iter().enumerate() {
        let result = executor.execute(step, &mut state);
        let effects = executor.take_effects();
        outcomes.push(match result {
            Ok(outcome) => {
                let added = list.add(case.block.access_index(index) - skipped, &effects);
                added.expect("a state in memory");
                outcome
            }
            Err(ExecutionError::Invalid(_)) => {
                skipped += 1;
                Outcome::system()
            }
            Err(error) => panic!("the state failed: {error}"),
        });
    }
    let (list, delta) = list.finish().expect("a state in memory");
    (SealedBlock { outcomes, delta }, list)
}

/// The sets of all steps, invalid ones included.
fn recorded(case: &Case) -> RecordedAccess {
    let mut run = SerialRun::recording(case.block.context(), &case.view);
    for step in case.block.steps() {
        // An invalid step has no effect and a set.
        let _ = run.step(step);
    }
    RecordedAccess::new(run.sets().to_vec())
}

fn check(
    executed: Result<Executed, EngineError>,
    sealed: &SealedBlock,
    list: Option<&BlockAccessList>,
) -> Result<(), TestCaseError> {
    let executed = executed.map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(&executed.sealed, sealed);
    prop_assert_eq!(executed.access_list.as_ref(), list);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn invalid_transactions_are_skipped_by_every_way(case in generate::case(30)) {
        let (sealed, list) = oracle(&case);
        let sets = recorded(&case);
        for access in [Access::Inferred, Access::Recorded(&sets)] {
            let run = || ENGINE.run(&case.block).access(access).skip_invalid();
            check(run().execute(&case.view), &sealed, None)?;
            check(run().build_access_list().execute(&case.view), &sealed, Some(&list))?;
        }
        let listed = ENGINE.run(&case.block).access(Access::Listed(&list)).skip_invalid();
        let refused = matches!(listed.execute(&case.view), Err(EngineError::SkipByList));
        prop_assert!(refused);
    }
}
