//! Blocks that are payments, or nearly: without locks they come to what they come to one after another.

use crate::support::{Case, Failure, PAYING_STAGES, STAGES, generate};
use alloy_primitives::{Address, U256};
use generate::{Paid, Pays};
use lockweave::{
    evm::SpecId,
    runtime::{AccessSet, SealedBlock},
};
use proptest::prelude::*;

/// What became of a block, or at which step it ended and why.
fn ended(result: Result<SealedBlock, Failure>) -> Result<SealedBlock, (usize, String)> {
    result.map_err(|(task, error)| (task, error.to_string()))
}

/// Runs a block without locks where that can be, with what cannot be in it and without; returns how many payments
/// ran so in all runs of the latter.
fn check(case: &Case) -> Result<usize, TestCaseError> {
    let (steps, sets, expected) = case.record();
    let all = case.block.steps();
    let one_by_one = case.run_inferred(&STAGES[0], all, None);
    let one_by_one = ended(one_by_one.map(|(sealed, _)| sealed));
    let mut payments = 0;
    for stage in PAYING_STAGES.iter() {
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

/// How many payments [`check`] counts if all of a block run without locks.
fn all_of(payments: usize) -> usize {
    payments * PAYING_STAGES.len()
}

/// A block of one of these forks has steps of the protocol behind its transactions, one of the other has none.
const BEHIND_AND_NOT: [SpecId; 2] = [SpecId::OSAKA, SpecId::MERGE];

const RICH: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

fn pays(from: u8, to: Address, value: U256) -> Pays {
    Pays {
        from,
        to: Paid::Address(to),
        value,
        ..Pays::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn they_come_to_what_they_come_to_in_order(case in generate::payments(40)) {
        check(&case)?;
    }
}

#[test]
fn what_is_paid_can_be_spent_by_who_comes_later() -> Result<(), TestCaseError> {
    let [first, second, third] = [0, 1, 2].map(generate::sender);
    let half = RICH / U256::from(2);
    // The second has what it spends only because the first has paid, and the third because the second has.
    let chain = [
        pays(0, second, half),
        pays(1, third, RICH + half / U256::from(2)),
        pays(2, first, RICH + half),
        pays(0, first, U256::from(7)),
        pays(0, generate::beneficiary(), U256::from(7)),
        pays(1, Address::repeat_byte(0x77), U256::ZERO),
        pays(1, generate::EMPTY, U256::ZERO),
        pays(1, Address::repeat_byte(0x78), U256::from(1)),
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

/// Checks a block that is valid as a whole, and does not run without locks.
fn runs_under_locks(block: &[Pays]) -> Result<(), TestCaseError> {
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
fn what_is_not_a_payment_has_the_block_run_under_locks() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let sender = generate::sender(1);
    let others = [
        // Runs code.
        Pays {
            to: Paid::Contract,
            ..pays(0, sender, one)
        },
        // Is given what it may need.
        Pays {
            from: generate::BENEFICIARY,
            ..pays(0, sender, one)
        },
        // Is no account's.
        pays(0, Address::with_last_byte(4), one),
        // Has something to say.
        Pays {
            has_input: true,
            ..pays(0, sender, one)
        },
    ];
    for other in others {
        let mut block = vec![pays(2, sender, one); 12];
        block.insert(6, other);
        runs_under_locks(&block)?;
    }
    Ok(())
}

#[test]
fn who_cannot_take_more_gets_none() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    // Many are paid, so that most are followed before it shows.
    let others = (0x30..0xf0).map(|last| pays(2, Address::with_last_byte(last), one));
    let mut block: Vec<_> = others.collect();
    block.push(pays(2, generate::FULL, U256::from(101)));
    runs_under_locks(&block)
}

#[test]
fn who_has_got_code_in_front_runs_it() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let mut block = vec![Pays {
        to: Paid::Created,
        ..pays(0, Address::ZERO, U256::ZERO)
    }];
    let created = generate::sender(0).create(0);
    block.extend((0..12).map(|_| pays(1, created, one)));
    for fork in BEHIND_AND_NOT {
        let case = generate::payments_in(fork, &block);
        prop_assert_eq!(check(&case)?, 0);
    }
    Ok(())
}

/// Whatever is missing in a set, that is what the block fails for.
#[test]
fn what_is_not_declared_is_not_touched() {
    let one = U256::from(1);
    // Nothing but payments: no reward any more, and no withdrawals yet.
    let fork = SpecId::MERGE;
    let case = generate::payments_in(
        fork,
        &[
            pays(0, generate::sender(1), one),
            pays(1, generate::sender(1), one),
            pays(2, generate::sender(0), one),
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
            for stage in PAYING_STAGES.iter() {
                assert_eq!(ended(case.run(stage, &steps, &sets)), expected);
            }
            missing += 1;
        }
    }
    assert_eq!(missing, 5 + 3 + 5);
}

#[test]
fn other_steps_in_front_and_behind_are_seen_and_see() -> Result<(), TestCaseError> {
    let one = U256::from(1);
    let call = Pays {
        to: Paid::Reader,
        has_input: true,
        ..pays(0, Address::ZERO, one)
    };
    let mut block = vec![call.clone()];
    // Who called in front is paid as well, and pays.
    let payments = (0..20).map(|index| pays(1 - index % 2, generate::sender(index % 3), one));
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
