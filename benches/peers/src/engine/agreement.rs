//! Checks that the yardstick and our engine have the same receipts and the same state.

use super::{
    block::Block,
    flat_state::{FlatAccount, FlatState},
    yardstick::Yardstick,
};
use alloy_primitives::{Address, U256, map::HashMap};
use lockweave_evm_adapter::Step;
use lockweave_runtime::{AccessSet, Account, KeyPart, Outcome, SealedBlock, StateDelta, Status};
use revm::context::result::ExecutionResult;
use thiserror::Error;

/// The first difference between two runs of a block.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the yardstick and the engine disagree about block {block}: {difference}")]
pub struct Disagreement {
    block: String,
    difference: String,
}

/// Compares the yardstick's last run with one of ours of the same steps.
pub fn check(
    block: &Block,
    steps: &[Step],
    yardstick: &Yardstick<'_>,
    sealed: &SealedBlock,
) -> Result<(), Disagreement> {
    let difference = outcomes(steps, yardstick.results(), &sealed.outcomes)
        .or_else(|| state(block, yardstick.state(), &sealed.delta));
    match difference {
        None => Ok(()),
        Some(difference) => Err(Disagreement {
            block: block.name().to_owned(),
            difference,
        }),
    }
}

fn outcomes(steps: &[Step], results: &[ExecutionResult], outcomes: &[Outcome]) -> Option<String> {
    if steps.len() != outcomes.len() {
        return Some(format!(
            "{} steps, {} outcomes",
            steps.len(),
            outcomes.len()
        ));
    }
    let mut results = results.iter();
    for (index, (step, outcome)) in steps.iter().zip(outcomes).enumerate() {
        if matches!(step, Step::Credits(_)) {
            continue;
        }
        let Some(result) = results.next() else {
            return Some(format!("step {index} has no result"));
        };
        let succeeded = matches!(outcome.status, Status::Succeeded);
        let same = succeeded == result.is_success()
            && outcome.gas_used == result.tx_gas_used()
            && outcome.logs == result.logs()
            && (!succeeded || result.output() == Some(&outcome.output));
        if !same {
            return Some(format!("step {index}: {result:?} and {outcome:?}"));
        }
    }
    results
        .next()
        .map(|_| "more results than outcomes".to_owned())
}

/// It was read when the yardstick's state was made.
const ANSWERS: &str = "the state before the block answers";

/// Compares each key that the block touches, and each that changes.
fn state(block: &Block, flat: &FlatState, delta: &StateDelta) -> Option<String> {
    let accounts: HashMap<Address, Option<Account>> = delta.accounts.iter().copied().collect();
    let slots: HashMap<(Address, U256), U256> = (delta.slots.iter())
        .map(|(address, slot, value)| ((*address, *slot), *value))
        .collect();
    let (view, touched) = (block.view(), block.sets().iter());
    for entry in touched.flat_map(AccessSet::entries) {
        let address = entry.key.address;
        let found = flat.account(address);
        let same = if let KeyPart::Slot(slot) = entry.key.part {
            let after = slots.get(&(address, slot)).copied();
            let before = || {
                if delta.cleared.contains(&address) {
                    Ok(U256::ZERO)
                } else {
                    view.slot(address, slot)
                }
            };
            let expected = after.map_or_else(before, Ok).expect(ANSWERS);
            found.map_or(U256::ZERO, |account| slot_of(account, slot)) == expected
        } else {
            let after = accounts.get(&address).copied();
            let expected = after
                .map_or_else(|| view.account(address), Ok)
                .expect(ANSWERS);
            found.map(account_of) == expected
        };
        if !same {
            return Some(format!("{:?} is {found:?} after it", entry.key));
        }
    }
    let changed = flat.iter().filter_map(|(address, found)| {
        let found = found.exists.then(|| account_of(found));
        (view.account(address).expect(ANSWERS) != found).then_some((address, found))
    });
    let changed: HashMap<_, _> = changed.collect();
    if changed != accounts {
        return Some(format!(
            "{} and {} accounts changed",
            changed.len(),
            accounts.len()
        ));
    }
    let slot_changed = |((address, slot), value): (&(Address, U256), &U256)| {
        flat.account(*address)
            .map_or(U256::ZERO, |account| slot_of(account, *slot))
            != *value
    };
    let wrong = slots
        .iter()
        .find(|(key, value)| slot_changed((*key, *value)));
    wrong.map(|(key, value)| format!("slot {key:?} should be {value}"))
}

fn slot_of(account: &FlatAccount, slot: U256) -> U256 {
    account.slots.get(&slot).copied().unwrap_or_default()
}

const fn account_of(flat: &FlatAccount) -> Account {
    Account {
        nonce: flat.info.nonce,
        balance: flat.info.balance,
        code_hash: flat.info.code_hash,
    }
}
