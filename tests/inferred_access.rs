//! Blocks that declare nothing: whatever their transactions do, the result is the oracle's.

mod support;

use proptest::prelude::*;
use support::{STAGES, WORKERS, generate};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn inferred_runs_equal_the_serial_one(case in generate::case(60)) {
        let (steps, _, expected) = case.record();
        for (stage, workers) in STAGES.iter().zip(WORKERS) {
            for _ in 0..2 {
                match case.run_inferred(stage, &steps) {
                    Ok((found, _)) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                    Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
                }
            }
        }
    }
}
