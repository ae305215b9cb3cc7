//! For every block, worker count and interleaving the result is the oracle's.

use crate::support::{STAGES, WORKERS, generate};
use lockweave::{
    AccessMode, AccessSet, StateKey,
    runtime::{INFERRED_KEYS_MAX, SerialState, execute_serially},
};
use proptest::prelude::*;
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn parallel_runs_equal_the_serial_one(case in generate::case(60)) {
        let (steps, sets, expected) = case.record();
        for (stage, workers) in STAGES.iter().zip(WORKERS) {
            for _ in 0..2 {
                match case.run(stage, &steps, &sets) {
                    Ok(found) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                    Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
                }
            }
        }
    }

    /// Too large a declaration costs time, not correctness.
    #[test]
    fn wider_sets_change_nothing(
        case in generate::case(40),
        choices in prop::collection::vec((0_u8..8, any::<prop::sample::Index>()), 64),
    ) {
        let (steps, sets, expected) = case.record();
        let widened: Vec<AccessSet> = sets
            .iter()
            .zip(choices.iter().cycle())
            .map(|(set, (choice, pick))| widen(set, *choice, *pick))
            .collect();
        for (stage, workers) in STAGES.iter().zip(WORKERS) {
            match case.run(stage, &steps, &widened) {
                Ok(found) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
        }
    }

    /// A recording run has the result of the plain oracle.
    #[test]
    fn recording_changes_nothing(case in generate::case(40)) {
        let (steps, _, expected) = case.record();
        let context = case.block.context();
        let mut state = SerialState::new(Arc::clone(&case.view), context.rules());
        let mut executor = lockweave::EvmExecutor::new(context);
        let found = execute_serially(&mut executor, &mut state, &steps).expect("sound steps");
        prop_assert_eq!(found, expected);
    }
}

fn widen(set: &AccessSet, choice: u8, pick: prop::sample::Index) -> AccessSet {
    let entries = set.entries();
    if entries.is_empty() {
        return set.clone();
    }
    let picked = entries[pick.index(entries.len())].key;
    let extra = AccessSet::build(|extra| {
        match choice {
            // A key of the set, in a stronger mode.
            0 | 1 => extra.insert(picked, AccessMode::Write),
            // A key outside the set.
            2 => extra.insert(StateKey::account(generate::beneficiary()), AccessMode::Read),
            3 => extra.insert(StateKey::code(picked.address), AccessMode::Write),
            _ => extra,
        };
    });
    if choice == 4 {
        return AccessSet::Everything;
    }
    set.union(&extra.expect("one key"), INFERRED_KEYS_MAX)
        .expect("few keys")
}
