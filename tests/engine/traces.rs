//! Calls by traces, held against the machine.

use crate::support::contracts;
use alloy_consensus::{Header, Signed, TxEip1559};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, Signature, TxKind, U256, address};
use lockweave::{
    AccessSet, EvmExecutor, EvmTransaction, MemoryState, Step,
    evm::{BlockContext, ChainSpec, LockweaveTxEnvelope, SpecId, TxDeclared},
    runtime::{
        Account, Code, Executor, INFERRED_KEYS_MAX, Outcome, Recording, SerialState, StateDelta,
        StateView,
    },
};
use proptest::prelude::*;
use revm::bytecode::opcode as op;
use std::sync::Arc;

const SENDERS: [Address; 2] = [Address::repeat_byte(1), Address::repeat_byte(2)];
const CONTRACT: Address = Address::repeat_byte(3);
/// Called by it, and by each other.
const CALLED: [Address; 2] = [Address::repeat_byte(4), Address::repeat_byte(5)];
/// A precompile.
const IDENTITY: Address = address!("0x0000000000000000000000000000000000000004");
const BASE_FEE: u64 = 7;
/// Whoever may be called.
const ACCOUNTS: [Address; 5] = [CALLED[0], CALLED[1], CONTRACT, IDENTITY, SENDERS[1]];
/// The slots that programs use on purpose, and hashes aside.
const SLOTS: u8 = 4;

/// A bit of a program, which leaves on the stack what the next one may use.
#[derive(Clone, Debug)]
enum Piece {
    Push(U256),
    /// An instruction that takes nothing and leaves a word.
    Leaf(u8),
    /// An instruction on this many words that leaves one.
    Operation(u8, usize),
    /// A `DUP` or `SWAP`, of this depth at most.
    Shuffle(u8, usize),
    Calldata(u8),
    Load(u8),
    /// From the slot that the word on top says.
    LoadAt,
    Store(u8),
    StoreAt,
    Write(u8),
    WriteByte(u8),
    Read(u8),
    Copy(u8, [u8; 3]),
    Hash(u8, u8),
    /// Of words on top, and bytes of memory.
    Log(u8, u8, u8),
    /// Runs what is inside, which must leave the stack as it is, if the word on top is zero.
    Unless(Vec<u8>),
    /// Where the word on top leads.
    JumpBy,
    /// Of the account that the word on top says, or of one of these.
    Call(u8, Option<u8>, [u8; 4], Option<u16>),
    CodeSize(u8),
    /// What a call returned.
    CopyReturned([u8; 3]),
    Pop,
}

fn word() -> impl Strategy<Value = U256> {
    let bits = (0_usize..256).prop_map(|bits| U256::ONE << bits);
    prop_oneof![
        4 => (0_u64..5).prop_map(U256::from),
        1 => Just(U256::MAX),
        1 => bits.clone(),
        1 => bits.prop_map(|bit| bit - U256::ONE),
        1 => any::<[u64; 4]>().prop_map(U256::from_limbs),
        1 => Just(SENDERS[0].into_word().into()),
        1 => prop::sample::select(ACCOUNTS.to_vec()).prop_map(|address| address.into_word().into()),
        1 => (0_u64..260).prop_map(U256::from),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let leaves = vec![
        op::CALLER,
        op::ORIGIN,
        op::ADDRESS,
        op::CALLVALUE,
        op::CALLDATASIZE,
        op::CODESIZE,
        op::GASPRICE,
        op::RETURNDATASIZE,
        op::COINBASE,
        op::TIMESTAMP,
        op::NUMBER,
        op::GASLIMIT,
        op::CHAINID,
        op::BASEFEE,
        op::DIFFICULTY,
        op::PC,
        op::MSIZE,
        op::PUSH0,
        op::GAS,
        // Of which there are no traces.
        op::SELFBALANCE,
    ];
    let single = [op::ISZERO, op::NOT].map(|code| Piece::Operation(code, 1));
    let double = [
        op::ADD,
        op::MUL,
        op::SUB,
        op::DIV,
        op::SDIV,
        op::MOD,
        op::SMOD,
        op::EXP,
        op::SIGNEXTEND,
        op::LT,
        op::GT,
        op::SLT,
        op::SGT,
        op::EQ,
        op::AND,
        op::OR,
        op::XOR,
        op::BYTE,
        op::SHL,
        op::SHR,
        op::SAR,
    ];
    let double = double.map(|code| Piece::Operation(code, 2));
    let triple = [op::ADDMOD, op::MULMOD].map(|code| Piece::Operation(code, 3));
    let operations: Vec<_> = single.into_iter().chain(double).chain(triple).collect();
    let place = 0_u8..100;
    let length = prop::sample::select(vec![0_u8, 1, 20, 32, 32, 64, 64, 70]);
    prop_oneof![
        3 => word().prop_map(Piece::Push),
        20 => prop::sample::select(leaves).prop_map(Piece::Leaf).prop_filter("rare", |piece| {
            !matches!(piece, Piece::Leaf(op::SELFBALANCE))
        }),
        12 => prop::sample::select(operations).prop_map(|piece| piece),
        3 => (0_u8..8, 1_usize..5).prop_map(|(code, depth)| Piece::Shuffle(code, depth)),
        5 => prop::sample::select(vec![0_u8, 4, 4, 36, 36, 3, 68, 200]).prop_map(Piece::Calldata),
        3 => (0..SLOTS).prop_map(Piece::Load),
        2 => Just(Piece::LoadAt),
        3 => (0..SLOTS).prop_map(Piece::Store),
        2 => Just(Piece::StoreAt),
        3 => place.clone().prop_map(Piece::Write),
        1 => place.clone().prop_map(Piece::WriteByte),
        3 => place.clone().prop_map(Piece::Read),
        1 => (0_u8..3, any::<[u8; 3]>()).prop_map(|(code, range)| Piece::Copy(code, range)),
        2 => (place.clone(), length.clone()).prop_map(|(place, length)| Piece::Hash(place, length)),
        1 => (0_u8..5, place, length).prop_map(|(topics, place, length)| {
            Piece::Log(topics, place, length)
        }),
        2 => prop::collection::vec(0..SLOTS, 1..3).prop_map(Piece::Unless),
        1 => Just(Piece::JumpBy),
        1 => Just(Piece::Pop),
        4 => called_piece(),
    ]
}

impl Piece {
    /// How many words it takes from the stack and leaves there.
    fn stack(&self) -> (usize, usize) {
        match self {
            Piece::Push(_)
            | Piece::Leaf(_)
            | Piece::Calldata(_)
            | Piece::Load(_)
            | Piece::Read(_)
            | Piece::Hash(..)
            | Piece::CodeSize(_)
            | Piece::Call(_, Some(_), ..) => (0, 1),
            Piece::Operation(_, takes) => (*takes, 1),
            Piece::Shuffle(code, depth) if code % 2 == 0 => (*depth, depth + 1),
            Piece::Shuffle(_, depth) => (depth + 1, depth + 1),
            Piece::LoadAt | Piece::Call(_, None, ..) => (1, 1),
            Piece::StoreAt => (2, 0),
            Piece::Store(_)
            | Piece::Write(_)
            | Piece::WriteByte(_)
            | Piece::Pop
            | Piece::Unless(_)
            | Piece::JumpBy => (1, 0),
            Piece::Copy(..) | Piece::CopyReturned(_) => (0, 0),
            Piece::Log(topics, ..) => (usize::from(*topics), 0),
        }
    }
}

/// Ends code that leaves the stack this deep.
fn finish(code: &mut Vec<u8>, depth: usize, end: u8) {
    match end {
        0 => code.push(op::STOP),
        1 => code.extend([op::PUSH1, 70, op::PUSH1, 3, op::REVERT]),
        _ => {
            // What is left on the stack is returned, as far as it goes.
            for place in 0..u8::try_from(depth.min(6)).expect("small") {
                code.extend([op::PUSH1, 32 * place, op::MSTORE]);
            }
            code.extend([op::PUSH1, 192 - end, op::PUSH1, 0, op::RETURN]);
        }
    }
}

/// A piece that has to do with other accounts.
fn called_piece() -> impl Strategy<Value = Piece> {
    let account = prop_oneof![
        6 => prop::sample::select(vec![Some(0_u8), Some(1), Some(0), Some(1), Some(2), Some(3), Some(4)]),
        1 => Just(None),
    ];
    let bytes = prop::sample::select(vec![0_u8, 4, 32, 64, 70]);
    let ranges = (0_u8..70, bytes.clone(), 0_u8..70, bytes);
    let ranges = ranges.prop_map(|(from, length, to, space)| [from, length, to, space]);
    let gas = prop::sample::select(vec![
        None,
        None,
        None,
        None,
        Some(60_000),
        Some(3_000),
        Some(0),
    ]);
    prop_oneof![
        6 => (0_u8..5, account, ranges, gas).prop_map(|(kind, account, ranges, gas)| {
            Piece::Call(kind, account, ranges, gas)
        }),
        1 => (0_u8..5).prop_map(Piece::CodeSize),
        1 => (0_u8..40, 0_u8..3, prop::sample::select(vec![0_u8, 1, 32, 33])).prop_map(
            |(to, from, length)| Piece::CopyReturned([length, from, to])
        ),
    ]
}

/// Adds a piece that has to do with other accounts.
fn add_called(code: &mut Vec<u8>, piece: &Piece) {
    let push = |code: &mut Vec<u8>, number: u8| code.extend([op::PUSH1, number]);
    let push_account = |code: &mut Vec<u8>, account: u8| {
        code.push(op::PUSH20);
        code.extend(ACCOUNTS[usize::from(account)]);
    };
    match piece {
        Piece::CodeSize(account) => {
            push_account(code, *account);
            code.push(op::EXTCODESIZE);
        }
        Piece::CopyReturned(range) => {
            for number in range {
                push(code, *number);
            }
            code.push(op::RETURNDATACOPY);
        }
        Piece::Call(kind, account, [from, length, to, space], gas) => {
            // The account may stand on top of the stack.
            if account.is_none() {
                push(code, 96);
                code.push(op::MSTORE);
            }
            for number in [space, to, length, from] {
                push(code, *number);
            }
            let instruction = match kind {
                0 | 1 => op::STATICCALL,
                2 => op::DELEGATECALL,
                _ => {
                    push(code, 0);
                    op::CALL
                }
            };
            if let Some(account) = account {
                push_account(code, *account);
            } else {
                push(code, 96);
                code.push(op::MLOAD);
            }
            if let Some(gas) = gas {
                let [high, low] = gas.to_be_bytes();
                code.extend([op::PUSH2, high, low]);
            } else {
                code.push(op::GAS);
            }
            code.push(instruction);
        }
        _ => unreachable!("{piece:?} is no such piece"),
    }
}

/// The code of pieces; those for which the stack is not deep enough are left out.
fn assemble(pieces: &[Piece], end: u8) -> Vec<u8> {
    let mut code = Vec::new();
    let mut depth = 0_usize;
    let push = |code: &mut Vec<u8>, number: u8| code.extend([op::PUSH1, number]);
    for piece in pieces {
        let (takes, leaves) = piece.stack();
        if depth < takes {
            continue;
        }
        depth = depth - takes + leaves;
        match piece {
            Piece::Push(word) => {
                code.push(op::PUSH32);
                code.extend(word.to_be_bytes::<32>());
            }
            Piece::Leaf(instruction) | Piece::Operation(instruction, _) => code.push(*instruction),
            Piece::Shuffle(kind, depth) => {
                let depth = u8::try_from(*depth).expect("small");
                let first = if kind % 2 == 0 { op::DUP1 } else { op::SWAP1 };
                code.push(first + depth - 1);
            }
            Piece::Calldata(from) => {
                push(&mut code, *from);
                code.push(op::CALLDATALOAD);
            }
            Piece::Load(slot) => {
                push(&mut code, *slot);
                code.push(op::SLOAD);
            }
            Piece::LoadAt => code.push(op::SLOAD),
            Piece::Store(slot) => {
                push(&mut code, *slot);
                code.push(op::SSTORE);
            }
            Piece::StoreAt => code.push(op::SSTORE),
            Piece::Write(place) | Piece::WriteByte(place) => {
                push(&mut code, *place);
                let is_word = matches!(piece, Piece::Write(_));
                code.push(if is_word { op::MSTORE } else { op::MSTORE8 });
            }
            Piece::Read(place) => {
                push(&mut code, *place);
                code.push(op::MLOAD);
            }
            Piece::Copy(kind, range) => {
                for number in range {
                    push(&mut code, *number);
                }
                code.push([op::CALLDATACOPY, op::CODECOPY, op::MCOPY][usize::from(*kind)]);
            }
            Piece::Hash(place, length) => {
                push(&mut code, *length);
                push(&mut code, *place);
                code.push(op::KECCAK256);
            }
            Piece::Log(topics, place, length) => {
                push(&mut code, *length);
                push(&mut code, *place);
                code.push(op::LOG0 + topics);
            }
            Piece::Unless(slots) => {
                let inside: Vec<u8> = slots
                    .iter()
                    .flat_map(|slot| [op::PUSH1, slot ^ 1, op::PUSH1, *slot, op::SSTORE])
                    .collect();
                let target = code.len() + 4 + inside.len();
                let target = u16::try_from(target).expect("short code").to_be_bytes();
                code.extend([op::PUSH2, target[0], target[1], op::JUMPI]);
                code.extend(inside);
                code.push(op::JUMPDEST);
            }
            Piece::JumpBy => {
                // To one of two places, by the lowest bit.
                let target = code.len() + 8;
                let target = u16::try_from(target).expect("short code").to_be_bytes();
                code.extend([op::PUSH1, 1, op::AND, op::PUSH2, target[0], target[1]]);
                code.extend([op::ADD, op::JUMP, op::JUMPDEST, op::JUMPDEST]);
            }
            Piece::Pop => code.push(op::POP),
            Piece::CodeSize(_) | Piece::CopyReturned(_) | Piece::Call(..) => {
                add_called(&mut code, piece);
            }
        }
    }
    finish(&mut code, depth, end);
    code
}

fn end() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0_u8, 1, 2, 3, 32, 64])
}

/// A call of the contract.
#[derive(Clone, Debug)]
struct Parts {
    sender: usize,
    selector: u8,
    arguments: Vec<U256>,
    gas: u64,
    tip: u128,
    value: u64,
    /// Slots that an access list names, if there is one; and whether that is signed as all that is touched.
    listed: Option<(Vec<U256>, bool)>,
    nonce_off: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let gas = prop_oneof![8 => Just(2_000_000_u64), 2 => 21_000_u64..70_000];
    let listed = prop_oneof![
        5 => Just(None),
        2 => (prop::collection::vec((0_u64..5).prop_map(U256::from), 4), any::<bool>()).prop_map(Some),
        1 => (Just((0..5).map(U256::from).collect::<Vec<_>>()), any::<bool>()).prop_map(Some),
    ];
    let argument = prop_oneof![2 => (0_u64..2).prop_map(U256::from), 1 => word()];
    let arguments = prop::collection::vec(argument, 2);
    let value = prop::sample::select(vec![0_u64, 0, 0, 0, 0, 0, 0, 1]);
    let nonce_off =
        prop::sample::select(vec![false, false, false, false, false, false, false, true]);
    (
        0_usize..2,
        0_u8..2,
        arguments,
        gas,
        0_u128..3,
        value,
        listed,
        nonce_off,
    )
        .prop_map(
            |(sender, selector, arguments, gas, tip, value, listed, nonce_off)| Parts {
                sender,
                selector,
                arguments,
                gas,
                tip,
                value,
                listed,
                nonce_off,
            },
        )
}

impl Parts {
    fn step(&self, nonces: &mut [u64; 2]) -> Step {
        let mut input = vec![self.selector, 1, 2, 3];
        let words = self.arguments.iter().flat_map(U256::to_be_bytes::<32>);
        input.extend(words);
        let nonce = nonces[self.sender] + u64::from(self.nonce_off);
        nonces[self.sender] += u64::from(!self.nonce_off);
        let (slots, is_signed) = self.listed.clone().unwrap_or_default();
        let list = slots.iter().flat_map(|slot| {
            [CONTRACT, CALLED[0]].map(|address| AccessListItem {
                address,
                storage_keys: vec![B256::from(*slot)],
            })
        });
        let access_list = AccessList(list.collect());
        let (to, value, input) = (
            TxKind::Call(CONTRACT),
            U256::from(self.value),
            Bytes::from(input),
        );
        let (chain_id, gas_limit, max_fee_per_gas) = (1, self.gas, 9);
        let max_priority_fee_per_gas = self.tip;
        let signature = Signature::test_signature();
        let envelope: LockweaveTxEnvelope = if is_signed {
            let transaction = TxDeclared {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                input,
                reads: AccessList(access_list.0.iter().skip(4).cloned().collect()),
                writes: AccessList(access_list.0.iter().take(4).cloned().collect()),
                ..TxDeclared::default()
            };
            Signed::new_unhashed(transaction, signature).into()
        } else {
            let transaction = TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                input,
            };
            Signed::new_unhashed(transaction, signature).into()
        };
        Step::Transaction(EvmTransaction::new(envelope, SENDERS[self.sender]))
    }
}

fn state(code: &[u8], called: [&[u8]; 2], slots: &[u64]) -> Arc<dyn StateView> {
    let mut state = MemoryState::new();
    let codes = [
        (CONTRACT, code),
        (CALLED[0], called[0]),
        (CALLED[1], called[1]),
    ];
    for (address, code) in codes {
        let code = Arc::new(Code::new(Bytes::copy_from_slice(code)));
        let contract = Account {
            nonce: 1,
            balance: U256::ZERO,
            code_hash: code.hash(),
        };
        if !code.bytes().is_empty() {
            state.insert_code(code);
            state.insert_account(address, contract);
        }
    }
    for sender in SENDERS {
        let account = Account {
            nonce: 0,
            balance: U256::from(10_u64.pow(17)),
            code_hash: KECCAK256_EMPTY,
        };
        state.insert_account(sender, account);
    }
    for (slot, value) in slots.iter().enumerate() {
        state.insert_slot(CONTRACT, U256::from(slot), U256::from(*value));
        state.insert_slot(CALLED[0], U256::from(slot), U256::from(*value));
    }
    Arc::new(state)
}

fn context(fork: SpecId, beneficiary: Address) -> BlockContext {
    let since = |first| fork.is_enabled_in(first);
    let header = Header {
        number: 1,
        timestamp: 1_000,
        difficulty: U256::from(if since(SpecId::MERGE) { 0 } else { 77 }),
        mix_hash: B256::repeat_byte(8),
        gas_limit: 30_000_000,
        beneficiary,
        base_fee_per_gas: since(SpecId::LONDON).then_some(BASE_FEE),
        excess_blob_gas: since(SpecId::CANCUN).then_some(0),
        ..Header::default()
    };
    BlockContext::new(&ChainSpec::single_fork(1, fork), &header)
}

/// The first sender's calls with these words as calldata, and gas.
fn plain_calls(calls: &[([u64; 2], u64)]) -> Vec<Step> {
    let steps = calls.iter().zip(0..).map(|((words, gas_limit), nonce)| {
        let input = words
            .map(|word| U256::from(word).to_be_bytes::<32>())
            .concat();
        let transaction = TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit: *gas_limit,
            max_fee_per_gas: 9,
            max_priority_fee_per_gas: 1,
            to: TxKind::Call(CONTRACT),
            input: input.into(),
            ..TxEip1559::default()
        };
        let signature = Signature::test_signature();
        let envelope: LockweaveTxEnvelope = Signed::new_unhashed(transaction, signature).into();
        Step::Transaction(EvmTransaction::new(envelope, SENDERS[0]))
    });
    steps.collect()
}

type Ran = Result<(Outcome, AccessSet), String>;

fn run(
    executor: &mut EvmExecutor<Recording<SerialState>>,
    context: &BlockContext,
    state: &Arc<dyn StateView>,
    steps: &[Step],
) -> (Vec<Ran>, StateDelta) {
    let mut state = Recording::new(SerialState::new(Arc::clone(state), context.rules()));
    let results = steps.iter().map(|step| {
        let result = executor.execute(step, &mut state);
        let set = state.take_access(INFERRED_KEYS_MAX).expect("few keys");
        match result {
            Ok(outcome) => Ok((outcome, set)),
            Err(error) => Err(error.to_string()),
        }
    });
    let results = results.collect();
    let delta = state.state().delta().expect("a state in memory");
    (results, delta)
}

/// Runs steps by traces after the first of each kind, which must come to what the machine comes to; returns how
/// many were.
fn traced(context: &BlockContext, codes: [&[u8]; 3], steps: &[Step]) -> (u64, Vec<Ran>) {
    let [code, called @ ..] = codes;
    let state = state(code, called, &[5, 5, 5, 5]);
    let machine = run(&mut EvmExecutor::new(context), context, &state, steps);
    let mut executor = EvmExecutor::new(context).with_traces(0);
    assert_eq!(run(&mut executor, context, &state, steps), machine);
    (executor.traced(), machine.0)
}

/// Calls an account, with all gas and its own calldata, and stores what it returned, the way it is told.
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

/// Returns the sum of the slot that calldata names and the caller.
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
        let succeeded = |ran: &Ran| matches!(ran, Ok((outcome, _)) if outcome.is_success());
        assert!(ran.iter().all(succeeded));
        assert_eq!(count, 3, "{instruction:x}");
    }
}

#[test]
fn what_is_called_has_the_gas_it_is_given() {
    let context = context(SpecId::CANCUN, Address::repeat_byte(9));
    let mut code = caller(op::CALL, CALLED[0]);
    let gas = code
        .iter()
        .rposition(|byte| *byte == op::GAS)
        .expect("it is there");
    let [high, low] = 4_000_u16.to_be_bytes();
    code.splice(gas..=gas, [op::PUSH2, high, low]);
    // Enough to leave the slot as it is, and not to change it.
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
fn whoever_is_warm_costs_less() {
    // Both have the same code, and one is paid for the block (EIP-3651).
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
    let succeeded = |ran: &Ran| matches!(ran, Ok((outcome, _)) if outcome.is_success());
    assert!(ran.iter().all(succeeded));
    assert_eq!(count, 3);
}

/// At every gas from too little to more than enough, code that is called may have too little, and what called it
/// still enough.
#[test]
fn gas_is_what_the_machine_takes_everywhere() {
    // Writes what stands there, which takes next to nothing, but not without a stipend left.
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
        // From above, as a kind of calls that no trace fits is given up.
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
    // Between two, four times; from one to itself, which is another way, three times; and once more between two.
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
    assert!(
        ran.iter()
            .all(|ran| matches!(ran, Ok((outcome, _)) if outcome.is_success()))
    );
    // All but the first of each way.
    assert_eq!(count, 6);
}

#[test]
fn gas_that_just_suffices_is_enough_and_less_is_not() {
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
        let machine = run(&mut EvmExecutor::new(&context), &context, &state, &steps);
        assert_eq!(run(&mut executor, &context, &state, &steps), machine);
        assert_eq!(executor.traced(), count);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6_000))]

    /// Outcomes, refusals, effects and, of what has an outcome, the keys touched are the machine's.
    #[test]
    fn they_come_to_what_the_machine_comes_to(
        fork in prop::sample::select(vec![
            SpecId::ISTANBUL,
            SpecId::BERLIN,
            SpecId::LONDON,
            SpecId::MERGE,
            SpecId::SHANGHAI,
            SpecId::CANCUN,
            SpecId::PRAGUE,
            SpecId::OSAKA,
            SpecId::AMSTERDAM,
        ]),
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
        let machine = run(&mut EvmExecutor::new(&context), &context, &state, &steps);
        let mut executor = EvmExecutor::new(&context).with_traces(after);
        let traced = run(&mut executor, &context, &state, &steps);
        prop_assert_eq!(traced, machine);
    }
}
