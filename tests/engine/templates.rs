//! Templates learned from anything: what is predicted may be wrong, the result is the oracle's.

use crate::support::{Case, STAGES, WORKERS, contracts, generate};
use lockweave::{
    banking_stage::InferredStats,
    evm::{TemplateCache, TemplateScope},
};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

/// Runs a case twice with every worker count, all runs learning from each other.
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

/// What all cases so far have taught: of other blocks, other forks, other states.
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

/// Contracts whose slots depend on what ran before them, and one that changes its ways.
#[test]
fn hostile_contracts_are_right_and_are_given_up() -> Result<(), TestCaseError> {
    let hostile = [
        contracts::appender(),
        contracts::router(),
        contracts::shifter(),
        contracts::pointer_chaser(),
        contracts::turncoat(),
    ];
    let cases = (hostile.iter()).flat_map(|code| SCOPES.map(|scope| (code, scope)));
    for (code, scope) in cases {
        let target = generate::address_of(code);
        let cache = Arc::default();
        for calls in [7, 60, 300] {
            for stats in check(&generate::calls_of(target, calls), &cache, scope)? {
                // Twice as many run alone after each run that was torn, and soon one violation tears it.
                prop_assert!(stats.violations <= 40, "{stats:?}");
            }
        }
    }
    Ok(())
}

/// A contract that behaves one way for so long that it is believed, and then another.
#[test]
fn a_turncoat_costs_violations_and_a_withdrawal() -> Result<(), TestCaseError> {
    for scope in [TemplateScope::Every, TemplateScope::Waiting] {
        let cache = Arc::default();
        let target = generate::address_of(&contracts::turncoat());
        // Up to here it is one contract's ordinary mapping.
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

/// Calls that are predicted are not simulated, and run under locks beside each other.
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

/// Of each sender's calls the first is simulated, which is all that it takes, and the others are predicted.
#[test]
fn who_waits_for_a_call_in_front_is_predicted() -> Result<(), TestCaseError> {
    let cache = Arc::default();
    let case = generate::calls_of(generate::address_of(&contracts::token()), 400);
    let runs = check(&case, &cache, TemplateScope::Waiting)?;
    let senders = usize::from(generate::SENDERS);
    let warm = runs.last().expect("several runs");
    // A worker that has not seen the template yet simulates.
    let predicted = 350..=400 - senders;
    prop_assert!(predicted.contains(&warm.by_template), "{warm:?}");
    prop_assert!(warm.simulations_taken > 0, "{warm:?}");
    prop_assert_eq!(warm.violations, 0);
    Ok(())
}

/// In a long block whose calls wait for each other the first teach, and the others are predicted, from when
/// somebody has judged by the first.
#[test]
fn a_crowded_block_is_predicted() -> Result<(), TestCaseError> {
    let counter = generate::address_of(&contracts::counter());
    for (calls, predicted) in [(400, 0..=0), (20_000, 1..=20_000)] {
        let case = generate::crowded_calls(counter, calls);
        let (steps, _, expected) = case.record();
        for stage in &STAGES[1..] {
            // Who is to judge may be off its core until all others are looked at, on a busy machine more than once.
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
