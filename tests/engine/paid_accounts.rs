//! Payments by contracts: whether the paid account is read, and what a payment costs.

use crate::support::{insert_account, signed};
use alloy_consensus::{Header, TxLegacy};
use alloy_primitives::{Address, B256, TxKind, U256, hex};
use lockweave::{
    EvmExecutor, EvmTransaction, MemoryState, Step,
    evm::{BlockContext, ChainSpec, SpecId},
    runtime::{AccessMode, Executor, INFERRED_KEYS_MAX, Recording, SerialState, StateKey},
};
use std::sync::Arc;

const SENDER: Address = Address::repeat_byte(1);
const PAYER: Address = Address::repeat_byte(2);
/// Has no code, a nonce before the block, and no balance.
const IN_USE: Address = Address::repeat_byte(3);
/// Has no code, no nonce, and a balance.
const UNSPENT: Address = Address::repeat_byte(4);
const ABSENT: Address = Address::repeat_byte(5);
/// A contract that destroys itself when it is called.
const DOOMED: Address = Address::repeat_byte(6);

/// CALL with the words of calldata as account and value.
const PAYS: [u8; 13] = hex!("5f5f5f5f6020355f355af15000");
/// SELFDESTRUCT to account zero.
const DESTROYS_ITSELF: [u8; 2] = hex!("5fff");

fn state() -> MemoryState {
    let mut state = MemoryState::new();
    let ether = U256::from(10_u64.pow(18));
    for (address, nonce, balance, code) in [
        (SENDER, 0, ether, &[][..]),
        (PAYER, 1, ether, &PAYS),
        (IN_USE, 1, U256::ZERO, &[]),
        (UNSPENT, 0, U256::from(5), &[]),
        (DOOMED, 1, U256::from(7), &DESTROYS_ITSELF),
    ] {
        insert_account(&mut state, address, nonce, balance, code);
    }
    state
}

fn call(nonce: u64, target: Address, data: &[B256]) -> Step {
    let transaction = TxLegacy {
        chain_id: Some(1),
        nonce,
        gas_price: 7,
        gas_limit: 200_000,
        to: TxKind::Call(target),
        value: U256::ZERO,
        input: data.concat().into(),
    };
    Step::Transaction(EvmTransaction::new(signed(transaction), SENDER))
}

/// Runs calls of the sender one after the other. Returns the gas of each, and its access mode on the account it paid.
fn run(calls: &[(Address, &[B256])]) -> Vec<(u64, Option<AccessMode>)> {
    let header = Header {
        number: 1,
        gas_limit: 30_000_000,
        base_fee_per_gas: Some(7),
        ..Header::default()
    };
    let context = BlockContext::new(&ChainSpec::single_fork(1, SpecId::SHANGHAI), &header);
    let mut executor = EvmExecutor::<Recording<SerialState>>::new(&context);
    let mut state = Recording::new(SerialState::new(Arc::new(state()), context.rules()));
    let mut ran = Vec::new();
    for (nonce, (target, data)) in calls.iter().enumerate() {
        let nonce = u64::try_from(nonce).expect("few");
        let outcome = executor.execute(&call(nonce, *target, data), &mut state);
        let outcome = outcome.expect("the sender can pay");
        assert!(outcome.is_success(), "{outcome:?}");
        let set = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
        let paid = data.first().map(|word| Address::from_word(*word));
        let mode = paid.and_then(|paid| set.mode(&StateKey::account(paid)));
        ran.push((outcome.gas_used, mode));
    }
    ran
}

#[test]
fn an_account_in_use_before_the_block_is_paid_without_a_read() {
    let one = B256::with_last_byte(1);
    let words = [IN_USE, UNSPENT, ABSENT, DOOMED].map(|account| [account.into_word(), one]);
    let [in_use, unspent, absent, doomed] = &words;
    let ran = run(&[
        (PAYER, in_use),
        (PAYER, unspent),
        (PAYER, absent),
        (PAYER, absent),
        (DOOMED, &[]),
        (PAYER, doomed),
        (PAYER, in_use),
    ]);
    let (gas, unseen) = ran[0];
    assert_eq!(unseen, Some(AccessMode::Credit));
    let seen = Some(AccessMode::Write);
    // A new account takes 25,000 (EIP-161).
    assert_eq!(ran[1], (gas, seen));
    assert_eq!(ran[2], (gas + 25_000, seen));
    // It was not in use before the block, so it is read again.
    assert_eq!(ran[3], (gas, seen));
    // It was a contract, so its nonce before the block does not show that it still exists.
    assert_eq!(ran[5], (gas + 25_000, seen));
    assert_eq!(ran[6], ran[0]);
}
