//! Transactions with signed access (type 0x44): right, wrong and hostile declarations.

use crate::support::{Case, STAGES, WORKERS, generate};
use alloy_consensus::{Signed, Transaction as _};
use alloy_primitives::{Signature, TxKind, U256};
use lockweave::{
    AccessSet, EvmTransaction, Step,
    evm::{SpecId, TxDeclared},
    runtime::{
        AccessMode, Executor, INFERRED_KEYS_MAX, OutcomeKind, Recording, SealedBlock, SerialState,
        StateKey, Status,
    },
};
use proptest::prelude::*;
use std::sync::Arc;

/// The same transaction with `set` as its signed access.
fn declaring(transaction: &EvmTransaction, set: &AccessSet) -> EvmTransaction {
    let envelope = transaction.envelope();
    let mut declared = TxDeclared {
        chain_id: 1,
        nonce: envelope.nonce(),
        // Declared keys cost gas, as entries of an EIP-2930 list do.
        gas_limit: envelope.gas_limit() + 200_000,
        max_fee_per_gas: envelope.max_fee_per_gas(),
        max_priority_fee_per_gas: envelope
            .priority_fee_or_price()
            .min(envelope.max_fee_per_gas()),
        to: envelope.kind(),
        value: envelope.value(),
        input: envelope.input().clone(),
        ..TxDeclared::default()
    };
    declared.declare(set, transaction.sender(), generate::beneficiary());
    let signed = Signed::new_unhashed(declared, Signature::test_signature());
    EvmTransaction::new(signed, transaction.sender())
}

/// Runs steps on the oracle, without the invalid ones.
fn record(case: &Case, steps: Vec<Step>) -> (Vec<Step>, Vec<AccessSet>, SealedBlock) {
    let context = case.block.context();
    let mut executor = lockweave::EvmExecutor::<Recording<SerialState>>::new(context);
    let mut state = Recording::new(SerialState::new(Arc::clone(&case.view), context.rules()));
    let (mut kept, mut sets, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        let result = executor.execute(&step, &mut state);
        let recorded = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
        if let Ok(outcome) = result {
            let signed = step.signed_access(generate::beneficiary());
            sets.push(signed.unwrap_or(recorded));
            outcomes.push(outcome);
            kept.push(step);
        }
    }
    let delta = state.state().delta().expect("a state in memory");
    (kept, sets, SealedBlock { outcomes, delta })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// For any declaration the parallel run has the result of the serial one.
    #[test]
    fn declarations_mean_the_same_on_every_path(
        case in generate::case(40).prop_filter(
            "type 0x44 comes with EIP-1559",
            |case| case.block.context().spec().is_enabled_in(SpecId::LONDON),
        ),
        choices in prop::collection::vec((0_u8..4, any::<prop::sample::Index>()), 64),
    ) {
        let (steps, sets, _) = case.record();
        let steps = steps
            .iter()
            .zip(&sets)
            .zip(choices.iter().cycle())
            .map(|((step, set), (choice, drop))| match step.transaction() {
                Some(transaction) if *choice > 0 => {
                    let set = if *choice == 1 { without(set, *drop) } else { set.clone() };
                    Step::Transaction(declaring(transaction, &set))
                }
                _ => step.clone(),
            })
            .collect();
        let (steps, sets, expected) = record(&case, steps);
        case.check_sequential(&steps, &expected)?;
        for (stage, workers) in STAGES.iter().zip(WORKERS) {
            match case.run(stage, &steps, &sets) {
                Ok(found) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
            match case.run_inferred(stage, &steps, None) {
                Ok((found, _)) => prop_assert_eq!(&found, &expected, "{} workers", workers),
                Err((task, error)) => prop_assert!(false, "step {}: {}", task, error),
            }
        }
    }
}

fn without(set: &AccessSet, index: prop::sample::Index) -> AccessSet {
    let entries = set.entries();
    if entries.is_empty() {
        return set.clone();
    }
    let left_out = entries[index.index(entries.len())];
    AccessSet::build(|set| {
        for entry in entries.iter().filter(|entry| **entry != left_out) {
            set.insert(entry.key, entry.mode);
        }
    })
    .expect("few keys")
}

/// The call of a counter, declaring `mode` on the slot it adds to.
fn counter_call(mode: Option<AccessMode>) -> (Case, Step) {
    let counter = generate::address_of(&crate::support::contracts::counter());
    let case = generate::calls_of(counter, 1);
    let slot = StateKey::slot(counter, U256::ZERO);
    let set = AccessSet::build(|set| {
        if let Some(mode) = mode {
            set.insert(slot, mode);
        }
    });
    let original = case.block.steps().iter().find_map(Step::transaction);
    let transaction = declaring(original.expect("one transaction"), &set.expect("one key"));
    (case, Step::Transaction(transaction))
}

#[test]
fn an_undeclared_access_costs_all_gas_and_nothing_else() {
    for mode in [None, Some(AccessMode::Read)] {
        let (case, step) = counter_call(mode);
        let transaction = step.transaction().expect("a transaction").clone();
        let (_, _, sealed) = record(&case, vec![step]);
        let outcome = &sealed.outcomes[0];
        assert_eq!(outcome.kind, OutcomeKind::Transaction(0x44));
        assert_eq!(outcome.gas_used, transaction.envelope().gas_limit());
        assert!(outcome.logs.is_empty());
        let Status::Halted(reason) = &outcome.status else {
            panic!("{outcome:?}");
        };
        assert!(reason.contains("declare"), "{reason}");
        assert!(sealed.delta.slots.is_empty());
        let price = U256::from(7 + 1);
        let account = |address| {
            let found = sealed
                .delta
                .accounts
                .iter()
                .find(|(known, _)| *known == address);
            found.expect("it changed").1.expect("it exists")
        };
        let sender = account(transaction.sender());
        assert_eq!(sender.nonce, 1);
        let before = U256::from(10_u64).pow(U256::from(18));
        let gas = U256::from(outcome.gas_used);
        assert_eq!(before - sender.balance, price * gas);
        assert_eq!(account(generate::beneficiary()).balance, gas);
        assert_eq!(
            transaction.envelope().kind(),
            TxKind::Call(generate::address_of(&crate::support::contracts::counter()))
        );
    }
}

#[test]
fn a_right_declaration_succeeds_and_is_charged_as_a_list() {
    let (case, step) = counter_call(Some(AccessMode::Write));
    let (_, _, sealed) = record(&case, vec![step]);
    let (_, _, plain) = case.record();
    let gas_plain = plain.outcomes.last().expect("a transaction").gas_used;
    let outcome = &sealed.outcomes[0];
    assert!(outcome.is_success(), "{outcome:?}");
    // EIP-2930: 2400 for the address and 1900 for the slot, whose first use is then 2000 cheaper. The
    // contract is the recipient, which is always warm.
    assert_eq!(outcome.gas_used, gas_plain + 2400 + 1900 - 2000);
}
