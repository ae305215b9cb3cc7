//! Templates learned from any block: a prediction may be wrong, the result is the oracle's.

use crate::support::{Case, STAGES, WORKERS, contracts, generate};
use lockweave::{
    banking_stage::InferredStats,
    evm::{TemplateCache, TemplateScope},
};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// Runs a case twice with every worker count. All runs share their templates.
fn check(
    case: &Case,
    cache: &Arc<TemplateCache>,
    scope: TemplateScope,
) -> Result<Vec<InferredStats>, TestCaseError> {
    let (steps, _, expected) = case.record();
    let mut all = Vec::new();
    for (stage, workers) in STAGES.iter().zip(WORKERS) {
        for _ in 0..2 {
            match case.run_inferred(stage, &steps, Some((cache, scope))) {
                Ok((found, stats)) => {
                    prop_assert_eq!(&found, &expected, "{} workers", workers);
                    all.push(stats);
                }
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
        }
    }
    Ok(all)
}

/// The templates of all cases so far: of other blocks, other forks, other states.
static TAUGHT_BY_ALL: LazyLock<Arc<TemplateCache>> = LazyLock::new(Arc::default);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn blocks_run_by_templates_equal_the_serial_run(case in generate::case(60)) {
        for scope in SCOPES {
            check(&case, &TAUGHT_BY_ALL, scope)?;
        }
    }
}

const SCOPES: [TemplateScope; 3] = [
    TemplateScope::Every,
    TemplateScope::Waiting,
    TemplateScope::Crowded,
];

/// Contracts whose slots depend on earlier transactions, and one that changes its slots.
#[test]
fn hostile_contracts_are_right_and_are_given_up() -> Result<(), TestCaseError> {
    let hostile = [
        contracts::appender(),
        contracts::router(),
        contracts::shifter(),
        contracts::pointer_chaser(),
        contracts::slot_switcher(),
    ];
    let cases = (hostile.iter()).flat_map(|code| SCOPES.map(|scope| (code, scope)));
    for (code, scope) in cases {
        let target = generate::address_of(code);
        let cache = Arc::default();
        for calls in [7, 60, 300] {
            for stats in check(&generate::calls_of(target, calls), &cache, scope)? {
                // After each run that ends with a violation twice as many transactions run alone.
                prop_assert!(stats.violations <= 40, "{stats:?}");
            }
        }
    }
    Ok(())
}

/// A contract that uses one slot until its template is trusted, and then another.
#[test]
fn a_contract_that_changes_its_slots_loses_its_template() -> Result<(), TestCaseError> {
    for scope in [TemplateScope::Every, TemplateScope::Waiting] {
        let cache = Arc::default();
        let target = generate::address_of(&contracts::slot_switcher());
        // Up to here the contract uses an ordinary mapping.
        let trusting = check(&generate::calls_of(target, 32), &cache, scope)?;
        let by_template: usize = trusting.iter().map(|stats| stats.by_template).sum();
        prop_assert!(by_template > 32, "{by_template} predicted");
        prop_assert_eq!(cache.stats().ready, 1);
        let betrayed = check(&generate::calls_of(target, 64), &cache, scope)?;
        let left = betrayed
            .iter()
            .map(|stats| stats.violations + stats.late_grants);
        let violations: usize = left.sum();
        prop_assert!(violations > 0);
        prop_assert!(cache.stats().withdrawn > 0);
    }
    Ok(())
}

/// Predicted calls are not simulated, and run in parallel under locks.
#[test]
fn calls_like_earlier_ones_are_predicted() -> Result<(), TestCaseError> {
    let cache = Arc::default();
    let case = generate::calls_of(generate::address_of(&contracts::token()), 400);
    let runs = check(&case, &cache, TemplateScope::Every)?;
    let warm = runs.last().expect("several runs");
    prop_assert!(warm.by_template > 350, "{warm:?}");
    prop_assert_eq!(warm.violations, 0);
    Ok(())
}

/// The first call of each sender is simulated, and all others are predicted.
#[test]
fn a_call_that_waits_for_an_earlier_one_is_predicted() -> Result<(), TestCaseError> {
    let cache = Arc::default();
    let case = generate::calls_of(generate::address_of(&contracts::token()), 400);
    let runs = check(&case, &cache, TemplateScope::Waiting)?;
    let senders = usize::from(generate::SENDERS);
    let warm = runs.last().expect("several runs");
    // A worker that does not see the template yet simulates.
    let predicted = 350..=400 - senders;
    prop_assert!(predicted.contains(&warm.by_template), "{warm:?}");
    prop_assert!(warm.simulations_taken > 0, "{warm:?}");
    prop_assert_eq!(warm.violations, 0);
    Ok(())
}

/// In a long block whose calls wait for each other the first calls create the template. Later calls are predicted
/// once a worker has evaluated it.
#[test]
fn a_crowded_block_is_predicted() -> Result<(), TestCaseError> {
    let counter = generate::address_of(&contracts::counter());
    for (calls, predicted) in [(400, 0..=0), (20_000, 1..=20_000)] {
        let case = generate::crowded_calls(counter, calls);
        let (steps, _, expected) = case.record();
        for stage in &STAGES[1..] {
            // On a busy machine the worker that evaluates may not run until all others are simulated, more than once.
            let mut tries = 10;
            loop {
                let cache = Arc::default();
                let run = case.run_inferred(stage, &steps, Some((&cache, TemplateScope::Crowded)));
                let (found, stats) =
                    run.map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
                prop_assert_eq!(found, expected.clone());
                prop_assert_eq!(stats.violations, 0);
                if predicted.contains(&stats.by_template) {
                    break;
                }
                tries -= 1;
                prop_assert!(tries > 0, "{stats:?}");
            }
        }
    }
    Ok(())
}
