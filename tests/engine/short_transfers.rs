//! Plain transfers without the interpreter have the results of plain execution.

// The test enters one grant after the other on one thread, which makes its unsafe calls sound.
#![allow(unsafe_code)]

use crate::support::{RECENT_FORKS, Ran, insert_account, run_serially, signed};
use alloy_consensus::{Header, TxEip1559, TxEip2930, TxLegacy};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, address, hex};
use lockweave::{
    AccessSet, EvmExecutor, EvmTransaction, MemoryState, Step,
    evm::{BlockContext, ChainSpec, LockweaveTxEnvelope, SpecId, TxDeclared},
    runtime::{
        AccessMode, Declaration, DenseId, Executor, GrantedState, OpenBlock, Outcome, OutcomeKind,
        Sanitized, StateDelta, StateKey, StateView, Status, TaskId,
    },
};
use proptest::prelude::*;
use std::sync::Arc;

const RICH: Address = Address::repeat_byte(1);
const POOR: Address = Address::repeat_byte(2);
const CONTRACT: Address = Address::repeat_byte(3);
const DELEGATED: Address = Address::repeat_byte(4);
const ABSENT: Address = Address::repeat_byte(5);
const FULL: Address = Address::repeat_byte(6);
const PRECOMPILE: Address = address!("0x0000000000000000000000000000000000000004");
const BASE_FEE: u64 = 7;
/// Init code that deploys one byte of code, which is not an instruction.
const DEPLOYS_INVALID: [u8; 10] = hex!("60fe60005360016000f3");

fn state() -> Arc<dyn StateView> {
    let mut state = MemoryState::new();
    let mut insert = |address, nonce, balance, code: &[u8]| {
        insert_account(&mut state, address, nonce, balance, code);
    };
    insert(RICH, 1, U256::from(10_u64.pow(18)), &[]);
    insert(POOR, 1, U256::from(21_000 * 9 + 5), &[]);
    insert(CONTRACT, 1, U256::from(10_u64.pow(18)), &hex!("5f5500"));
    let mut designation = hex!("ef0100").to_vec();
    designation.extend_from_slice(CONTRACT.as_slice());
    insert(DELEGATED, 1, U256::from(10_u64.pow(18)), &designation);
    insert(FULL, 1, U256::MAX - U256::from(3), &[]);
    Arc::new(state)
}

fn any_address() -> impl Strategy<Value = Address> {
    prop::sample::select(vec![
        RICH,
        RICH,
        RICH,
        POOR,
        CONTRACT,
        DELEGATED,
        ABSENT,
        FULL,
        PRECOMPILE,
        Address::ZERO,
        // A contract that a transaction of the block may create.
        RICH.create(1),
    ])
}

fn fork() -> impl Strategy<Value = SpecId> {
    let early = [
        SpecId::FRONTIER,
        SpecId::TANGERINE,
        SpecId::SPURIOUS_DRAGON,
        SpecId::BYZANTIUM,
    ];
    prop::sample::select([&early[..], &RECENT_FORKS].concat())
}

/// The fields of a transaction of any type.
#[derive(Clone, Debug)]
struct Parts {
    kind: u8,
    to: TxKind,
    chain_id: Option<u64>,
    nonce: u64,
    gas_limit: u64,
    price: u128,
    tip: u128,
    value: U256,
    input: Bytes,
    listed: Vec<Address>,
}

fn parts() -> impl Strategy<Value = Parts> {
    let to = prop_oneof![
        12 => any_address().prop_map(TxKind::Call),
        1 => Just(TxKind::Create),
    ];
    let chain_id = prop::sample::select(vec![Some(1), Some(1), Some(1), Some(2), None]);
    let nonce = prop::sample::select(vec![1, 1, 1, 1, 0, 2, u64::MAX]);
    let gas_limit = prop::sample::select(vec![
        21_000,
        21_000,
        20_999,
        23_400,
        25_300,
        40_000,
        1 << 24,
        (1 << 24) + 1,
        30_000_001,
        u64::MAX,
    ]);
    let price = prop::sample::select(vec![7_u128, 8, 9, 9, 6, 0, u128::MAX]);
    let tip = prop::sample::select(vec![0_u128, 1, 2, 9, 10]);
    let value = prop::sample::select(vec![
        U256::ZERO,
        U256::ONE,
        U256::from(5),
        U256::from(6),
        U256::from(10_u64.pow(17)),
        U256::from(2).pow(U256::from(192)),
        U256::MAX,
    ]);
    let input = prop_oneof![
        6 => Just(Bytes::new()),
        1 => Just(Bytes::from_static(&[0, 1])),
        1 => Just(Bytes::from_static(&DEPLOYS_INVALID)),
    ];
    let listed = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(any_address(), 1..3),
    ];
    let fees = (price, tip, value);
    (0_u8..4, to, chain_id, nonce, gas_limit, fees, input, listed).prop_map(
        |(kind, to, chain_id, nonce, gas_limit, (price, tip, value), input, listed)| Parts {
            kind,
            to,
            chain_id,
            nonce,
            gas_limit,
            price,
            tip,
            value,
            input,
            listed,
        },
    )
}

impl Parts {
    fn envelope(&self) -> LockweaveTxEnvelope {
        let access_list = AccessList(
            self.listed
                .iter()
                .map(|address| AccessListItem {
                    address: *address,
                    storage_keys: vec![B256::ZERO],
                })
                .collect(),
        );
        let (to, nonce, gas_limit) = (self.to, self.nonce, self.gas_limit);
        let (value, input) = (self.value, self.input.clone());
        let chain_id = self.chain_id.unwrap_or(1);
        match self.kind {
            0 => {
                let transaction = TxLegacy {
                    chain_id: self.chain_id,
                    nonce,
                    gas_price: self.price,
                    gas_limit,
                    to,
                    value,
                    input,
                };
                signed(transaction)
            }
            1 => {
                let transaction = TxEip2930 {
                    chain_id,
                    nonce,
                    gas_price: self.price,
                    gas_limit,
                    to,
                    value,
                    access_list,
                    input,
                };
                signed(transaction)
            }
            2 => {
                let transaction = TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: self.price,
                    max_priority_fee_per_gas: self.tip,
                    to,
                    value,
                    access_list,
                    input,
                };
                signed(transaction)
            }
            _ => {
                let mut transaction = TxDeclared {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas: self.price,
                    max_priority_fee_per_gas: self.tip,
                    to,
                    value,
                    input,
                    reads: access_list,
                    ..TxDeclared::default()
                };
                // Some declare the account they pay, and some do not.
                if let (TxKind::Call(recipient), false) = (to, value == U256::ONE) {
                    transaction.credits.push(recipient);
                }
                signed(transaction)
            }
        }
    }
}

/// The keys of a transfer, and the code of the one contract in the state.
fn keys_of_transfer(transaction: &EvmTransaction, beneficiary: Address) -> AccessSet {
    let set = AccessSet::build(|set| {
        let sender = transaction.sender();
        set.insert(StateKey::account(sender), AccessMode::Write);
        set.insert(StateKey::account(beneficiary), AccessMode::Credit);
        if let TxKind::Call(recipient) = transaction.env().kind {
            set.insert(StateKey::account(recipient), AccessMode::Credit);
            set.insert(StateKey::code(recipient), AccessMode::Read);
        }
        set.insert(StateKey::code(sender), AccessMode::Read);
        set.insert(StateKey::code(CONTRACT), AccessMode::Read);
    });
    set.expect("few keys")
}

/// The keys granted to each transaction.
#[derive(Clone, Copy)]
enum Grants<'a> {
    /// These keys. Each transaction runs, is reverted and runs again.
    Sets(&'a [AccessSet]),
    /// All keys, on the block's cells; each transaction runs twice as well.
    Everything,
    /// All keys, on a sequential state; each transaction runs once.
    Sequential,
}

/// Runs steps under grants. Returns the outcome of each step that has one, with the keys touched, and the state changes.
/// Under `Grants::Sets` the keys touched are not meaningful.
fn run_granted(
    context: &BlockContext,
    steps: &[Step],
    grants: Grants<'_>,
) -> (Vec<Option<(Outcome, AccessSet)>>, StateDelta) {
    let mut executor = EvmExecutor::new(context).with_short_transfers();
    let sanitized = |(index, step): (usize, &Step)| Sanitized {
        transaction: step.clone(),
        access: match grants {
            Grants::Sets(sets) => sets[index].clone(),
            Grants::Everything | Grants::Sequential => AccessSet::empty(),
        },
        declaration: Declaration::Recorded,
    };
    let sanitized = steps.iter().enumerate().map(sanitized).collect();
    let mut block = OpenBlock::new(state(), context.rules(), sanitized);
    let mut sequential = None;
    match grants {
        Grants::Sets(_) => block.number(),
        Grants::Everything => {}
        Grants::Sequential => sequential = block.begin_sequential(),
    }
    let block = Arc::new(block);
    let mut granted = match sequential {
        Some(sequential) => GrantedState::sequential(Arc::clone(&block), sequential),
        None => GrantedState::new(Arc::clone(&block)),
    };
    granted.keep_undo();
    let mut results = Vec::new();
    for (task, step) in steps.iter().enumerate() {
        let task = TaskId::from_index(task);
        // SAFETY: there is one granted state, which holds one grant at a time.
        unsafe {
            if let Grants::Sets(_) = grants {
                block.resolve(task).expect("a state in memory");
                granted.enter(task);
            } else {
                granted.enter_everything(task);
            }
        }
        let mut result = executor.execute(step, &mut granted).ok();
        if !matches!(grants, Grants::Sequential) {
            // SAFETY: as above; the record is of this task.
            unsafe {
                let record = granted.take_undo();
                granted.revert(record);
            }
            granted.touched().clear();
            let first = result;
            result = executor.execute(step, &mut granted).ok();
            drop(granted.take_undo());
            assert_eq!(first, result, "the second run saw the state of the first");
        }
        let touched = AccessSet::of_touches(granted.touched().drain(..));
        granted.leave();
        let nothing = Outcome {
            kind: OutcomeKind::System,
            status: Status::Reverted,
            gas_used: 0,
            logs: Vec::new(),
            output: Bytes::new(),
            created: None,
        };
        block.finish(task, result.clone().unwrap_or(nothing));
        results.push(result.map(|outcome| (outcome, touched)));
    }
    let sequential = granted.into_sequential();
    let mut block = Arc::into_inner(block).expect("the granted state is dropped");
    if let Some(sequential) = sequential {
        block.end_sequential(sequential);
    }
    (results, block.seal().expect("all have run").delta)
}

fn header(fork: SpecId, beneficiary: Address) -> Header {
    let since = |first| fork.is_enabled_in(first);
    Header {
        number: 1,
        gas_limit: 30_000_000,
        beneficiary,
        base_fee_per_gas: since(SpecId::LONDON).then_some(BASE_FEE),
        excess_blob_gas: since(SpecId::CANCUN).then_some(0),
        ..Header::default()
    }
}

/// Runs these steps in every way and compares the results with those of plain execution, which it returns.
fn check(context: &BlockContext, steps: &[Step]) -> Vec<Ran> {
    let run = |mut executor| run_serially(&mut executor, context, &state(), steps);
    let plain = run(EvmExecutor::new(context));
    let short = run(EvmExecutor::new(context).with_short_transfers());
    assert_eq!(short, plain);
    let (ran, delta) = plain;
    let sets = ran.iter().zip(steps).map(|(ran, step)| {
        let transaction = step.transaction().expect("one each");
        ran.as_ref().map_or_else(
            |_| keys_of_transfer(transaction, context.block().beneficiary),
            |(_, set)| set.clone(),
        )
    });
    let sets: Vec<_> = sets.collect();
    let (results, changes) = run_granted(context, steps, Grants::Sets(&sets));
    let expected = ran.iter().map(|ran| ran.clone().ok());
    let outcomes = results
        .into_iter()
        .map(|ran| ran.map(|(outcome, _)| outcome));
    assert!(outcomes.eq(expected.clone().map(|ran| ran.map(|(outcome, _)| outcome))));
    assert_eq!(changes, delta);
    let expected: Vec<_> = expected.collect();
    for grants in [Grants::Everything, Grants::Sequential] {
        let (results, changes) = run_granted(context, steps, grants);
        assert_eq!(results, expected);
        assert_eq!(changes, delta);
    }
    ran
}

#[test]
fn a_payment_to_a_contract_of_the_same_block_runs_it() {
    let context = BlockContext::new(
        &ChainSpec::single_fork(1, SpecId::OSAKA),
        &header(SpecId::OSAKA, ABSENT),
    );
    let create = Parts {
        kind: 2,
        to: TxKind::Create,
        chain_id: Some(1),
        nonce: 1,
        gas_limit: 1_000_000,
        price: 9,
        tip: 1,
        value: U256::ZERO,
        input: Bytes::from_static(&DEPLOYS_INVALID),
        listed: Vec::new(),
    };
    let pay = Parts {
        to: TxKind::Call(RICH.create(1)),
        nonce: 2,
        gas_limit: 30_000,
        value: U256::from(5),
        input: Bytes::new(),
        ..create.clone()
    };
    let step = |parts: &Parts| Step::Transaction(EvmTransaction::new(parts.envelope(), RICH));
    let ran = check(&context, &[step(&create), step(&pay)]);
    let succeeded: Vec<_> = ran
        .iter()
        .flatten()
        .map(|(outcome, _)| outcome.is_success())
        .collect();
    assert_eq!(succeeded, [true, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Outcomes, errors, state changes and keys touched are those of plain execution.
    #[test]
    fn short_transfers_equal_plain_execution(
        fork in fork(),
        beneficiary in any_address(),
        transactions in prop::collection::vec((any_address(), parts()), 1..6),
    ) {
        let context = BlockContext::new(&ChainSpec::single_fork(1, fork), &header(fork, beneficiary));
        let steps: Vec<_> = transactions
            .iter()
            .map(|(sender, parts)| {
                Step::Transaction(EvmTransaction::new(parts.envelope(), *sender))
            })
            .collect();
        check(&context, &steps);
    }
}
