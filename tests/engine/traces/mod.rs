//! Calls by traces have the results of plain execution.
//!
//! * `call.rs`: calls of the contract, the state before them, and the runs that are compared.
//! * `program.rs`: random programs, and the accounts that they name.

mod call;
mod program;

use crate::support::{RECENT_FORKS, Ran, contracts, run_serially};
use alloy_primitives::Address;
use call::{context, parts, plain_calls, state, traced};
use lockweave::{EvmExecutor, evm::SpecId};
use program::{CALLED, CONTRACT, SENDERS, SLOTS, assemble, end, piece};
use proptest::prelude::*;
use revm::bytecode::opcode as op;

/// Code that calls an account by this instruction, with all gas and its own calldata, and stores the word returned.
fn caller(instruction: u8, account: Address) -> Vec<u8> {
    let mut code = vec![op::PUSH1, 64, op::PUSH1, 0, op::PUSH1, 0, op::CALLDATACOPY];
    code.extend([op::PUSH1, 32, op::PUSH1, 64, op::PUSH1, 64, op::PUSH1, 0]);
    if instruction == op::CALL {
        code.extend([op::PUSH1, 0]);
    }
    code.push(op::PUSH20);
    code.extend(account);
    code.extend([op::GAS, instruction, op::PUSH1, 64, op::MLOAD, op::ADD]);
    code.extend([op::PUSH1, 3, op::SSTORE, op::STOP]);
    code
}

/// Code that returns the sum of the caller and the value of the slot that calldata names.
fn reader() -> Vec<u8> {
    let sum = [
        op::PUSH1,
        0,
        op::CALLDATALOAD,
        op::SLOAD,
        op::CALLER,
        op::ADD,
    ];
    let end = [
        op::PUSH1,
        0,
        op::MSTORE,
        op::PUSH1,
        32,
        op::PUSH1,
        0,
        op::RETURN,
    ];
    [&sum[..], &end].concat()
}

fn assert_all_succeed(ran: &[Ran]) {
    let succeeds = |ran: &Ran| matches!(ran, Ok((outcome, _)) if outcome.is_success());
    assert!(ran.iter().all(succeeds));
}

#[test]
fn calls_within_calls_are_traced() {
    for (instruction, called, fork) in [
        (op::CALL, contracts::counter(), SpecId::LONDON),
        (op::DELEGATECALL, contracts::counter(), SpecId::OSAKA),
        (op::STATICCALL, reader(), SpecId::CANCUN),
        (op::DELEGATECALL, reader(), SpecId::SHANGHAI),
        (
            op::CALL,
            caller(op::DELEGATECALL, CALLED[1]),
            SpecId::PRAGUE,
        ),
    ] {
        let context = context(fork, CALLED[1]);
        let code = caller(instruction, CALLED[0]);
        let steps = plain_calls(&[[1, 0], [2, 0], [0, 0], [1, 0]].map(|words| (words, 200_000)));
        let (count, ran) = traced(&context, [&code, &called, &reader()], &steps);
        assert_all_succeed(&ran);
        assert_eq!(count, 3, "{instruction:x}");
    }
}

#[test]
fn a_called_contract_has_the_gas_it_is_given() {
    let context = context(SpecId::CANCUN, Address::repeat_byte(9));
    let mut code = caller(op::CALL, CALLED[0]);
    let gas = code
        .iter()
        .rposition(|byte| *byte == op::GAS)
        .expect("it is there");
    let [high, low] = 4_000_u16.to_be_bytes();
    code.splice(gas..=gas, [op::PUSH2, high, low]);
    // The gas suffices to keep the slot's value, not to change it.
    let writer = [
        op::PUSH1,
        0,
        op::CALLDATALOAD,
        op::PUSH1,
        0,
        op::SSTORE,
        op::STOP,
    ];
    let steps = plain_calls(&[[5, 0], [5, 0], [9, 0], [5, 0]].map(|words| (words, 200_000)));
    let (count, _) = traced(&context, [&code, &writer, &[]], &steps);
    assert_eq!(count, 2);
}

#[test]
fn warm_accounts_cost_less() {
    // Both have the same code. One is the beneficiary, which is warm (EIP-3651).
    let context = context(SpecId::SHANGHAI, CALLED[1]);
    let mut code = caller(op::STATICCALL, CALLED[0]);
    let push = code
        .iter()
        .rposition(|byte| *byte == op::PUSH20)
        .expect("it is there");
    let mut address = vec![op::PUSH20];
    address.extend([1; 20]);
    address.extend([op::PUSH1, 32, op::CALLDATALOAD, op::MUL, op::PUSH20]);
    address.extend(CALLED[0]);
    address.push(op::ADD);
    code.splice(push..=push + 20, address);
    let pairs = [[0, 0], [0, 0], [0, 1], [0, 1], [0, 0]];
    let steps = plain_calls(&pairs.map(|words| (words, 200_000)));
    let (count, ran) = traced(&context, [&code, &reader(), &reader()], &steps);
    assert_all_succeed(&ran);
    assert_eq!(count, 3);
}

/// Gas limits from too little to more than enough. At some of them the called code runs out of gas and its caller
/// does not.
#[test]
fn gas_is_the_same_at_every_limit() {
    // Writes the slot's own value: cheap, but refused at or below the stipend.
    let writer = [op::PUSH1, 0, op::SLOAD, op::PUSH1, 0, op::SSTORE, op::STOP];
    let inner = caller(op::CALL, CALLED[1]);
    let outer = caller(op::CALL, CALLED[0]);
    for (code, called) in [
        (&writer[..], [&[][..], &[]]),
        (&contracts::counter(), [&[], &[]]),
        (&outer, [&writer, &[]]),
        (&outer, [&inner, &contracts::counter()]),
        (&outer, [&inner, &writer]),
    ] {
        let context = context(SpecId::CANCUN, Address::repeat_byte(9));
        let first = ([1, 0], 200_000);
        let codes = [code, called[0], called[1]];
        let (_, ran) = traced(&context, codes, &plain_calls(&[first, first]));
        let Some(Ok((outcome, _))) = ran.last() else {
            panic!("{ran:?}");
        };
        let around = outcome.gas_used - 3_000..outcome.gas_used + 3_000;
        // Downwards, because after too many misses a kind of calls is no longer traced.
        let around = around.rev().map(|gas| ([1, 0], gas));
        let calls = [first].into_iter().chain(around);
        let (count, _) = traced(&context, codes, &plain_calls(&calls.collect::<Vec<_>>()));
        assert!(count > 500, "{count}");
    }
}

#[test]
fn tokens_are_moved_by_traces() {
    let context = context(SpecId::OSAKA, Address::repeat_byte(9));
    let gas = 100_000;
    // Between two accounts four times; from an account to itself, which is another path, three times; once more
    // between two.
    let pairs = [
        [1, 2],
        [2, 3],
        [7, 1],
        [3, 4],
        [1, 1],
        [2, 2],
        [8, 8],
        [2, 1],
    ];
    let steps = plain_calls(&pairs.map(|pair| (pair, gas)));
    let (count, ran) = traced(&context, [&contracts::token(), &[], &[]], &steps);
    assert_all_succeed(&ran);
    // All but the first of each path.
    assert_eq!(count, 6);
}

#[test]
fn the_gas_used_is_enough_and_one_less_is_not() {
    let context = context(SpecId::CANCUN, Address::repeat_byte(9));
    let gas_of = |calls: &[([u64; 2], u64)]| -> (u64, Vec<u64>) {
        let (count, ran) = traced(
            &context,
            [&contracts::counter(), &[], &[]],
            &plain_calls(calls),
        );
        let outcomes = ran.into_iter().flatten().map(|(outcome, _)| outcome);
        (count, outcomes.map(|outcome| outcome.gas_used).collect())
    };
    let (count, used) = gas_of(&[([1, 0], 100_000), ([2, 0], 100_000)]);
    assert_eq!(count, 1);
    for (gas, expected) in [(used[1], 1), (used[1] - 1, 0)] {
        let (count, used) = gas_of(&[([1, 0], 100_000), ([2, 0], gas)]);
        assert_eq!((count, used[1]), (expected, gas));
    }
}

#[test]
fn another_fork_has_traces_of_its_own() {
    let steps = plain_calls(&[([1, 2], 100_000), ([3, 4], 100_000)]);
    let state = state(&contracts::token(), [&[]; 2], &[5, 5, 5, 5]);
    let mut executor = EvmExecutor::new(&context(SpecId::LONDON, CONTRACT)).with_traces(0);
    for (fork, count) in [
        (SpecId::LONDON, 1),
        (SpecId::PRAGUE, 2),
        (SpecId::ISTANBUL, 2),
    ] {
        let context = context(fork, CONTRACT);
        executor.set_block(&context);
        let plain = run_serially(&mut EvmExecutor::new(&context), &context, &state, &steps);
        assert_eq!(run_serially(&mut executor, &context, &state, &steps), plain);
        assert_eq!(executor.traced(), count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    /// Outcomes, errors, state changes and, for steps with an outcome, the keys touched are those of plain execution.
    #[test]
    fn traces_equal_plain_execution(
        fork in prop::sample::select(RECENT_FORKS.to_vec()),
        beneficiary in prop::sample::select(vec![SENDERS[0], CONTRACT, CALLED[0], Address::repeat_byte(9)]),
        pieces in prop::collection::vec(piece(), 1..60),
        end in end(),
        called in [(prop::collection::vec(piece(), 0..25), end()), (prop::collection::vec(piece(), 0..25), end())],
        slots in prop::collection::vec(0_u64..3, usize::from(SLOTS)),
        calls in prop::collection::vec(parts(), 2..16),
        after in 0_u32..3,
    ) {
        let context = context(fork, beneficiary);
        let called = [&called[0], &called[1]].map(|(pieces, end)| assemble(pieces, *end));
        let state = state(&assemble(&pieces, end), [&called[0], &called[1]], &slots);
        let mut nonces = [0; 2];
        let steps: Vec<_> = calls.iter().map(|call| call.step(&mut nonces)).collect();
        let plain = run_serially(&mut EvmExecutor::new(&context), &context, &state, &steps);
        let mut executor = EvmExecutor::new(&context).with_traces(after);
        let traced = run_serially(&mut executor, &context, &state, &steps);
        prop_assert_eq!(traced, plain);
    }
}
