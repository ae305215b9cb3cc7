//! Blocks without declared access: for any transactions the result is the oracle's.

use crate::support::{
    Case, Granted, SEQUENTIAL_STAGES, STAGES, WORKERS, contracts, generate, generate::Call,
};
use alloy_primitives::{Address, B256, U256};
use lockweave::{
    EvmInferrer, OpenBlock, Sanitized, Step,
    banking_stage::{execute_inferred_block, seal_block},
    runtime::{
        AccessSet, Account, Code, Declaration, Infer, Inference, SimulatedState, StateCells,
        StateError, StateView,
    },
};
use proptest::prelude::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// Runs a case with every worker count. Returns how many transactions left their inferred sets, and how many were
/// rolled back, in all runs.
fn check(case: &Case) -> Result<(usize, usize), TestCaseError> {
    let (steps, _, expected) = case.record();
    case.check_sequential(&steps, &expected)?;
    let mut counted = (0, 0);
    for (stage, workers) in STAGES.iter().zip(WORKERS) {
        for _ in 0..2 {
            match case.run_inferred(stage, &steps, None) {
                Ok((found, stats)) => {
                    prop_assert_eq!(&found, &expected, "{} workers", workers);
                    counted.0 += stats.violations + stats.late_grants;
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

    /// The private effects of a transaction are visible to a transaction that reads them after all.
    #[test]
    fn private_effects_are_visible_to_later_readers(case in generate::crowds()) {
        check(&case)?;
    }
}

/// Prefetch workers execute calls that are independent of each other.
#[test]
fn prefetch_workers_execute() -> Result<(), TestCaseError> {
    let case = generate::crowd(&(0..64).map(Call::Private).collect::<Vec<_>>());
    let (steps, _, expected) = case.record();
    // A helper has to be woken, and 64 calls are over soon.
    let mut taken = 0;
    for _ in 0..1_000 {
        taken += case.check_sequential(&steps, &expected)?;
        if taken > 0 {
            return Ok(());
        }
    }
    prop_assert!(false, "no prefetch worker executed a call in 3,000 runs");
    Ok(())
}

/// Panics on prefetch workers.
struct Fragile {
    inferrer: EvmInferrer,
    panics: Arc<AtomicUsize>,
}

impl Infer<Step> for Fragile {
    fn infer(&mut self, step: &Step, state: &mut SimulatedState) -> Result<Inference, StateError> {
        let is_helper = |name: &str| name.starts_with("banking");
        if thread::current().name().is_some_and(is_helper) {
            self.panics.fetch_add(1, Ordering::Relaxed);
            panic!("a prefetch worker is meant to panic here");
        }
        self.inferrer.infer(step, state)
    }
}

/// A prefetch worker that panics does not stall the block, and the result is complete.
#[test]
fn prefetch_workers_may_panic() {
    let case = generate::crowd(&(0..64).map(Call::Private).collect::<Vec<_>>());
    let (steps, _, expected) = case.record();
    let panics = Arc::new(AtomicUsize::new(0));
    for _ in 0..1_000 {
        let transactions = steps.iter().map(|step| Sanitized {
            transaction: step.clone(),
            access: AccessSet::empty(),
            declaration: Declaration::Inferred,
        });
        let context = case.block.context().clone();
        let cells = StateCells::new(Arc::clone(&case.view), context.rules());
        let open = OpenBlock::to_infer(cells, transactions.collect());
        let count = Arc::clone(&panics);
        let make = move |_: Option<(Granted, Fragile)>| {
            let inferrer = Fragile {
                inferrer: EvmInferrer::new(&context),
                panics: Arc::clone(&count),
            };
            (
                Granted::new(&context).with_shortcuts().with_traces(0),
                inferrer,
            )
        };
        let stage = &SEQUENTIAL_STAGES[1];
        let (open, result) = execute_inferred_block(stage, open, make, |_| 100_000);
        result.expect("the calling thread goes on");
        let (found, _) = seal_block(stage, open).expect("a finished block");
        assert_eq!(found, expected);
        // A helper has to be woken, and 64 calls are over soon.
        if panics.load(Ordering::Relaxed) > 0 {
            return;
        }
    }
    panic!("no prefetch worker ran in 1,000 runs");
}

/// Many readers of private effects, before and after the transactions that they read.
#[test]
fn private_effects_are_read_before_and_after() -> Result<(), TestCaseError> {
    let mut counted = (0, 0);
    for step in [1, 5, 62] {
        let call = |place: u8| match place % 8 {
            7 => Call::Walk(step),
            _ => Call::Private(place % 64),
        };
        let (left, rolled_back) = check(&generate::crowd(&(1..64).map(call).collect::<Vec<_>>()))?;
        counted.0 += left;
        counted.1 += rolled_back;
    }
    prop_assert!(counted.0 > 0, "they are meant to leave their sets");
    prop_assert!(
        counted.1 > 0,
        "and to read transactions that have run early"
    );
    Ok(())
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

/// A transaction does not see fees that later transactions pay, and these are not rolled back.
#[test]
fn transactions_that_only_credit_an_account_are_not_rolled_back() -> Result<(), TestCaseError> {
    let reader = generate::address_of(&contracts::fee_reader());
    let counter = generate::address_of(&contracts::counter());
    let target = |call| if call < 2 { reader } else { counter };
    let (violations, rolled_back) = check(&generate::calls_to(target, 60, |_| false))?;
    prop_assert!(
        violations > 0,
        "the second call is meant to leave its inferred set"
    );
    prop_assert_eq!(rolled_back, 0);
    Ok(())
}

/// A state whose accounts are slow to read on prefetch workers, so that their simulations finish late.
struct SlowState(Arc<dyn StateView>);

impl StateView for SlowState {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        let thread = thread::current();
        if thread
            .name()
            .is_some_and(|name| name.starts_with("banking-"))
        {
            thread::sleep(Duration::from_micros(300));
        }
        self.0.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.0.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.0.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.0.block_hash(number)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.0.has_storage(address)
    }
}

/// Runs a case on a [slow state](SlowState) and returns how many simulations finished late.
fn check_late(mut case: Case) -> Result<usize, TestCaseError> {
    let (steps, _, expected) = case.record();
    case.view = Arc::new(SlowState(case.view));
    let mut late = 0;
    for stage in &STAGES[1..] {
        match case.run_inferred(stage, &steps, None) {
            Ok((found, stats)) => {
                prop_assert_eq!(&found, &expected);
                late += stats.deferred;
            }
            Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
        }
    }
    Ok(late)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn late_simulations_have_the_same_result(case in generate::case(40)) {
        check_late(case)?;
    }
}

/// Long transactions that others depend on, and that depend on others.
#[test]
fn long_transactions_among_conflicting_ones() -> Result<(), TestCaseError> {
    let codes = [
        contracts::appender(),
        contracts::router(),
        contracts::shifter(),
        contracts::pointer_chaser(),
        contracts::token(),
    ];
    let mut late = 0;
    for code in codes {
        let target = generate::address_of(&code);
        for every in [1, 3, 20] {
            let is_long = |call| call % every == every / 2;
            late += check_late(generate::calls_with(target, 60, is_long))?;
        }
    }
    prop_assert!(
        late > 0,
        "prefetch workers are meant to take longer than all others"
    );
    Ok(())
}

/// In a block in which every set is wrong most transactions still run only once.
#[test]
fn hostile_blocks_soon_run_alone() {
    let calls = 600;
    let case = generate::calls_of(generate::address_of(&contracts::shifter()), calls);
    let (steps, _, expected) = case.record();
    for stage in &STAGES[1..] {
        let (found, stats) = case.run_inferred(stage, &steps, None).expect("sound steps");
        assert_eq!(found, expected);
        // After each run that ends with a violation twice as many transactions run alone.
        assert!(stats.violations <= 40, "{stats:?}");
        assert!(stats.rolled_back <= calls / 10, "{stats:?}");
    }
}
