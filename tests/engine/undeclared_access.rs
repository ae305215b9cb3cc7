//! A transaction that accesses an undeclared key has no effect, and is detected in every interleaving.

use crate::support::{Granted, STAGES, generate};
use lockweave::{
    AccessMode, AccessSet, Step,
    evm::InvalidStep,
    runtime::{
        AccessError, ExecutionError, Executor, GrantedState, Outcome, StateAccess, Status, WriteSet,
    },
};
use proptest::prelude::*;

/// A set without one of its keys, or with it in a weaker mode.
fn weaken(set: &AccessSet, choice: u8, pick: prop::sample::Index) -> Option<AccessSet> {
    let entries = set.entries();
    if entries.is_empty() {
        return None;
    }
    let picked = entries[pick.index(entries.len())];
    let weaker = match (choice, picked.mode, picked.key.is_account()) {
        (0, AccessMode::Write, _) => Some(AccessMode::Read),
        (1, AccessMode::Write, true) => Some(AccessMode::Credit),
        _ => None,
    };
    let set = AccessSet::build(|set| {
        for entry in entries {
            match (entry.key == picked.key, weaker) {
                (true, None) => {}
                (true, Some(mode)) => drop(set.insert(entry.key, mode)),
                (false, _) => drop(set.insert(entry.key, entry.mode)),
            }
        }
    });
    Some(set.expect("a smaller set"))
}

/// Runs steps as the EVM does. A transaction that is stopped has an outcome without effects.
struct Lenient(Granted);

fn nothing_happened() -> Outcome {
    Outcome {
        status: Status::Halted("stopped".to_owned()),
        ..Outcome::system()
    }
}

impl Executor<GrantedState<Step>> for Lenient {
    type Transaction = Step;
    type Invalid = InvalidStep;

    fn execute(
        &mut self,
        step: &Step,
        state: &mut GrantedState<Step>,
    ) -> Result<Outcome, ExecutionError<InvalidStep>> {
        match self.0.execute(step, state) {
            Err(ExecutionError::Access(AccessError::Undeclared(_))) => {
                // A stopped transaction can still write within its grant.
                state.apply(&WriteSet::default())?;
                Ok(nothing_happened())
            }
            result => result,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(160))]

    #[test]
    fn it_is_detected_in_the_same_way_everywhere(
        case in generate::case(30),
        victim in any::<prop::sample::Index>(),
        (choice, pick) in (0_u8..4, any::<prop::sample::Index>()),
    ) {
        let (steps, mut sets, expected) = case.record();
        prop_assume!(!steps.is_empty());
        let victim = victim.index(steps.len());
        let Some(weaker) = weaken(&sets[victim], choice, pick) else { return Ok(()) };
        sets[victim] = weaker;
        let mut verdicts = Vec::new();
        for stage in STAGES.iter() {
            verdicts.push(match case.run(stage, &steps, &sets) {
                Ok(found) => {
                    prop_assert_eq!(&found, &expected, "a run that went through is right");
                    None
                }
                Err((task, ExecutionError::Access(AccessError::Undeclared(access)))) => {
                    prop_assert_eq!(task, victim);
                    prop_assert_eq!(access.transaction.map(|task| task.to_string()),
                        Some(victim.to_string()));
                    Some(access)
                }
                Err((_, error)) => { prop_assert!(false, "{error}"); None }
            });
        }
        prop_assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{verdicts:?}");
    }

    /// The block ends as if it did not contain the stopped transaction.
    #[test]
    fn it_leaves_no_effect(
        case in generate::case(12),
        (choice, pick) in (0_u8..4, any::<prop::sample::Index>()),
    ) {
        // The victim is the last step, so no later step has other sets.
        let (steps, mut sets, _) = case.record();
        prop_assume!(!steps.is_empty());
        let last = steps.len() - 1;
        let Some(weaker) = weaken(&sets[last], choice, pick) else { return Ok(()) };
        let without = case.run(&STAGES[0], &steps[..last], &sets[..last]);
        let without = without.map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
        let with_all = case.run(&STAGES[0], &steps, &sets);
        let with_all = with_all.map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
        sets[last] = weaker;
        for stage in STAGES.iter() {
            let context = case.block.context().clone();
            let make = move |_: Option<Lenient>| Lenient(Granted::new(&context).with_shortcuts().with_traces(0));
            let found = case.run_with(stage, &steps, &sets, make);
            let found = found.map_err(|(_, error)| TestCaseError::fail(error.to_string()))?;
            if found.outcomes[last] == nothing_happened() {
                prop_assert_eq!(&found.delta, &without.delta);
            } else {
                prop_assert_eq!(&found.delta, &with_all.delta);
            }
        }
    }
}
