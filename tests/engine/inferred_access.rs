//! Blocks that declare nothing: whatever their transactions do, the result is the oracle's.

use crate::support::{Case, STAGES, WORKERS, contracts, generate};
use proptest::prelude::*;

/// Runs a case with every worker count and returns the violations and roll-backs of all runs.
fn check(case: &Case) -> Result<(usize, usize), TestCaseError> {
    let (steps, _, expected) = case.record();
    let mut counted = (0, 0);
    for (stage, workers) in STAGES.iter().zip(WORKERS) {
        for _ in 0..2 {
            match case.run_inferred(stage, &steps, None) {
                Ok((found, stats)) => {
                    prop_assert_eq!(&found, &expected, "{} workers", workers);
                    counted.0 += stats.violations;
                    counted.1 += stats.rolled_back;
                }
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
        }
    }
    Ok(counted)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn inferred_runs_equal_the_serial_one(case in generate::case(60)) {
        check(&case)?;
    }
}

/// Contracts whose slots depend on what ran before them in the block.
#[test]
fn slots_that_depend_on_earlier_transactions() -> Result<(), TestCaseError> {
    let hostile = [
        contracts::appender(),
        contracts::router(),
        contracts::shifter(),
        contracts::pointer_chaser(),
    ];
    let mut violations = 0;
    for code in hostile {
        for calls in [2, 7, 60, 300] {
            violations += check(&generate::calls_of(generate::address_of(&code), calls))?.0;
        }
    }
    assert!(
        violations > 0,
        "the contracts are meant to leave their inferred sets"
    );
    Ok(())
}

/// A block in which every set is wrong still runs most of its transactions only once in order.
#[test]
fn hostile_blocks_soon_run_alone() {
    let calls = 600;
    let case = generate::calls_of(generate::address_of(&contracts::shifter()), calls);
    let (steps, _, expected) = case.record();
    for stage in &STAGES[1..] {
        let (found, stats) = case.run_inferred(stage, &steps, None).expect("sound steps");
        assert_eq!(found, expected);
        // Twice as many run alone after each violation.
        assert!(stats.violations <= 12, "{stats:?}");
        assert!(stats.rolled_back <= calls / 10, "{stats:?}");
    }
}
