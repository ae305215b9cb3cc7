//! Blocks of payments, or nearly: the path without locks has the results of serial execution.

use crate::support::{Case, Failure, PAYMENT_STAGES, STAGES, generate};
use alloy_primitives::{Address, U256};
use generate::{Payment, Recipient};
use lockweave::{
    evm::SpecId,
    runtime::{AccessSet, SealedBlock},
};
use proptest::prelude::*;

/// The result of a block, or the step at which it failed and why.
fn ended(result: Result<SealedBlock, Failure>) -> Result<SealedBlock, (usize, String)> {
    result.map_err(|(task, error)| (task, error.to_string()))
}

/// Runs a block without locks where possible, with its invalid steps and without them. Returns how many payments ran
/// without locks in all runs of the latter.
fn check(case: &Case) -> Result<usize, TestCaseError> {
    let (steps, sets, expected) = case.record();
    let all = case.block.steps();
    let one_by_one = case.run_inferred(&STAGES[0], all, None);
    let one_by_one = ended(one_by_one.map(|(sealed, _)| sealed));
    let mut payments = 0;
    for stage in PAYMENT_STAGES.iter() {
        let stats = case.check_touched(stage, &steps, &expected)?;
        payments += stats.payments;
        let declared = case.run(stage, &steps, &sets);
        prop_assert_eq!(ended(declared), Ok(expected.clone()));
        let with_invalid = case.run_inferred(stage, all, None);
        prop_assert_eq!(
            ended(with_invalid.map(|(sealed, _)| sealed)),
            one_by_one.clone()
        );
    }
    Ok(payments)
}

/// The payments that [`check`] counts if all of a block run without locks.
fn all_of(payments: usize) -> usize {
    payments * PAYMENT_STAGES.len()
}

/// With the first fork a block has protocol steps after its transactions, with the second none.
const BEHIND_AND_NOT: [SpecId; 2] = [SpecId::OSAKA, SpecId::MERGE];

const RICH: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

fn payment(from: u8, to: Address, value: U256) -> Payment {
    Payment {
        from,
        to: Recipient::Address(to),
        value,
        ..Payment::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn payments_equal_serial_execution(case in generate::payments(40)) {
        check(&case)?;
    }
}

#[test]
fn a_payment_can_be_spent_later_in_the_block() -> Result<(), TestCaseError> {
    let [first, second, third] = [0, 1, 2].map(generate::sender);
    let half = RICH / U256::from(2);
    // Each payment after the first spends what the previous one paid.
    let chain = [
        payment(0, second, half),
        payment(1, third, RICH + half / U256::from(2)),
        payment(2, first, RICH + half),
        payment(0, first, U256::from(7)),
        payment(0, generate::beneficiary(), U256::from(7)),
        payment(1, Address::repeat_byte(0x77), U256::ZERO),
        payment(1, generate::EMPTY, U256::ZERO),
        payment(1, Address::repeat_byte(0x78), U256::from(1)),
    ];
    for fork in generate::FORKS {
        let case = generate::payments_in(fork, &chain);
        prop_assert_eq!(
            case.record().0.len(),
            case.block.steps().len(),
            "all are valid"
        );
        prop_assert_eq!(check(&case)?, all_of(chain.len()), "{:?}", fork);
    }
    Ok(())
}

/// Checks a valid block that does not run without locks.
fn runs_under_locks(block: &[Payment]) -> Result<(), TestCaseError> {
    for fork in BEHIND_AND_NOT {
        let case = generate::payments_in(fork, block);
        prop_assert_eq!(
            case.record().0.len(),
            case.block.steps().len(),
            "all are valid"
        );
        prop_assert_eq!(check(&case)?, 0);
    }
    Ok(())
}

#[test]
fn a_block_with_more_than_payments_runs_under_locks() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let sender = generate::sender(1);
    let others = [
        // Runs code.
        Payment {
            to: Recipient::Contract,
            ..payment(0, sender, one)
        },
        // Is sent by the beneficiary, which fees credit.
        Payment {
            from: generate::BENEFICIARY,
            ..payment(0, sender, one)
        },
        // Pays a precompile.
        payment(0, Address::with_last_byte(4), one),
        // Has input.
        Payment {
            has_input: true,
            ..payment(0, sender, one)
        },
    ];
    for other in others {
        let mut block = vec![payment(2, sender, one); 12];
        block.insert(6, other);
        runs_under_locks(&block)?;
    }
    Ok(())
}

#[test]
fn an_overflowing_payment_fails() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    // Many payments, so that most of the account history is replayed before the failure shows.
    let others = (0x30..0xf0).map(|last| payment(2, Address::with_last_byte(last), one));
    let mut block: Vec<_> = others.collect();
    block.push(payment(2, generate::FULL, U256::from(101)));
    runs_under_locks(&block)
}

#[test]
fn an_account_that_got_code_earlier_runs_it() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let mut block = vec![Payment {
        to: Recipient::Created,
        ..payment(0, Address::ZERO, U256::ZERO)
    }];
    let created = generate::sender(0).create(0);
    block.extend((0..12).map(|_| payment(1, created, one)));
    for fork in BEHIND_AND_NOT {
        let case = generate::payments_in(fork, &block);
        prop_assert_eq!(check(&case)?, 0);
    }
    Ok(())
}

/// A block fails for the key that is missing in a set.
#[test]
fn undeclared_keys_are_not_touched() {
    let one = U256::from(1);
    // Only payments: a fork without block rewards and without withdrawals.
    let fork = SpecId::MERGE;
    let case = generate::payments_in(
        fork,
        &[
            payment(0, generate::sender(1), one),
            payment(1, generate::sender(1), one),
            payment(2, generate::sender(0), one),
        ],
    );
    let (steps, sets, _) = case.record();
    let mut missing = 0;
    for (step, set) in sets.iter().enumerate().take(3) {
        let entries = set.entries();
        for left_out in 0..entries.len() {
            let mut some = entries.to_vec();
            some.remove(left_out);
            let mut sets = sets.clone();
            sets[step] = AccessSet::Keys(some);
            let expected = ended(case.run(&STAGES[0], &steps, &sets));
            assert!(expected.is_err(), "{}", entries[left_out].key);
            for stage in PAYMENT_STAGES.iter() {
                assert_eq!(ended(case.run(stage, &steps, &sets)), expected);
            }
            missing += 1;
        }
    }
    assert_eq!(missing, 5 + 3 + 5);
}

#[test]
fn steps_before_and_after_payments_see_each_other() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let call = Payment {
        to: Recipient::Reader,
        has_input: true,
        ..payment(0, Address::ZERO, one)
    };
    let mut block = vec![call.clone()];
    // The caller before the payments is paid as well, and pays.
    let payments = (0..20).map(|index| payment(1 - index % 2, generate::sender(index % 3), one));
    block.extend(payments);
    let only_in_front = block.clone();
    block.extend([call.clone(), call]);
    for fork in generate::FORKS {
        for block in [&only_in_front, &block] {
            let case = generate::payments_in(fork, block);
            prop_assert_eq!(check(&case)?, all_of(20), "{:?}", fork);
        }
    }
    Ok(())
}
