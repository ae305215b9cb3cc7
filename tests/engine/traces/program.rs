//! Random programs, and the accounts that they name.

use alloy_primitives::{Address, U256, address};
use proptest::prelude::*;
use revm::bytecode::opcode as op;

pub(super) const SENDERS: [Address; 2] = [Address::repeat_byte(1), Address::repeat_byte(2)];
/// The contract that transactions call.
pub(super) const CONTRACT: Address = Address::repeat_byte(3);
/// Contracts that it calls, and that call each other.
pub(super) const CALLED: [Address; 2] = [Address::repeat_byte(4), Address::repeat_byte(5)];
/// A precompile.
const IDENTITY: Address = address!("0x0000000000000000000000000000000000000004");
/// The accounts that programs call.
const ACCOUNTS: [Address; 5] = [CALLED[0], CALLED[1], CONTRACT, IDENTITY, SENDERS[1]];
/// The slots that programs name by number; they may also reach others by a computed word.
pub(super) const SLOTS: u8 = 4;

/// A part of a program. It leaves its results on the stack for the next one.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    Push(U256),
    /// An instruction that pops nothing and pushes a word.
    Leaf(u8),
    /// An instruction that pops this many words and pushes one.
    Operation(u8, usize),
    /// A `DUP` or `SWAP`, of this depth at most.
    Shuffle(u8, usize),
    Calldata(u8),
    Load(u8),
    /// From the slot named by the word on top.
    LoadAt,
    Store(u8),
    StoreAt,
    Write(u8),
    WriteByte(u8),
    Read(u8),
    Copy(u8, [u8; 3]),
    Hash(u8, u8),
    /// Topics from the stack, data from memory.
    Log(u8, u8, u8),
    /// Writes these slots if the word on top is zero.
    Unless(Vec<u8>),
    /// Jumps to a place that the word on top selects.
    JumpBy,
    /// Of one of [`ACCOUNTS`], or of the account named by the word on top.
    Call(u8, Option<u8>, [u8; 4], Option<u16>),
    CodeSize(u8),
    /// The return data of a call.
    CopyReturned([u8; 3]),
    Pop,
}

pub(super) fn word() -> impl Strategy<Value = U256> {
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

pub(super) fn piece() -> impl Strategy<Value = Piece> {
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
        // Traces do not support it.
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
    /// How many words it pops, and how many it pushes.
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

/// Ends code whose stack has this depth.
fn finish(code: &mut Vec<u8>, depth: usize, end: u8) {
    match end {
        0 => code.push(op::STOP),
        1 => code.extend([op::PUSH1, 70, op::PUSH1, 3, op::REVERT]),
        _ => {
            // Returns up to six words of the stack.
            for place in 0..u8::try_from(depth.min(6)).expect("small") {
                code.extend([op::PUSH1, 32 * place, op::MSTORE]);
            }
            code.extend([op::PUSH1, 192 - end, op::PUSH1, 0, op::RETURN]);
        }
    }
}

/// A piece that names other accounts.
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

/// Adds a piece that names other accounts.
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
            // The account is on top of the stack.
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
        _ => unreachable!("{piece:?} names no account"),
    }
}

/// The code of pieces. A piece that needs a deeper stack is left out.
pub(super) fn assemble(pieces: &[Piece], end: u8) -> Vec<u8> {
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

pub(super) fn end() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0_u8, 1, 2, 3, 32, 64])
}
