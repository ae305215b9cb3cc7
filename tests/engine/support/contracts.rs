//! Small contracts that are hard to execute in parallel.

use revm::bytecode::opcode::{
    ADD, ADDRESS, AND, BALANCE, CALL, CALLDATALOAD, CALLER, CALLVALUE, COINBASE, CREATE2,
    DELEGATECALL, DUP1, DUP2, EXTCODEHASH, EXTCODESIZE, GAS, INVALID, JUMP, JUMPDEST, JUMPI,
    KECCAK256, LOG1, MSTORE, MSTORE8, OR, PUSH0, PUSH1, PUSH2, PUSH32, RETURN, REVERT,
    SELFDESTRUCT, SLOAD, SSTORE, STOP, SUB, SWAP1,
};

const ZERO: [u8; 2] = [PUSH1, 0];

fn code(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// The word of calldata at `offset`.
const fn word(offset: u8) -> [u8; 3] {
    [PUSH1, offset, CALLDATALOAD]
}

/// Adds one to the slot that calldata names, and logs.
pub(crate) fn counter() -> Vec<u8> {
    code(&[
        &word(0),
        &[SLOAD, PUSH1, 1, ADD],
        &word(0),
        &[SSTORE],
        &word(0),
        &ZERO,
        &ZERO,
        &[LOG1, STOP],
    ])
}

/// Follows slots twice, from the one that calldata names, and writes its callvalue plus one to the last.
pub(crate) fn pointer_chaser() -> Vec<u8> {
    code(&[
        &[CALLVALUE, PUSH1, 1, ADD],
        &word(0),
        &[SLOAD, SLOAD, SSTORE, STOP],
    ])
}

/// Moves one token from the slot of one word to the slot of another, both hashed.
pub(crate) fn token() -> Vec<u8> {
    let slot = |offset| {
        code(&[
            &word(offset),
            &ZERO,
            &[MSTORE, PUSH1, 32],
            &ZERO,
            &[KECCAK256],
        ])
    };
    code(&[
        &slot(0),
        &[DUP1, SLOAD, PUSH1, 1, SWAP1, SUB, SWAP1, SSTORE],
        &slot(32),
        &[DUP1, SLOAD, PUSH1, 1, ADD, SWAP1, SSTORE, STOP],
    ])
}

/// Stores the balance of the beneficiary, and of the address in calldata.
pub(crate) fn balance_reader() -> Vec<u8> {
    code(&[
        &[COINBASE, BALANCE, PUSH1, 1, SSTORE],
        &word(0),
        &[
            BALANCE, PUSH1, 2, SSTORE, ADDRESS, BALANCE, PUSH1, 3, SSTORE, STOP,
        ],
    ])
}

/// Stores size and hash of the code at the address in calldata.
pub(crate) fn code_reader() -> Vec<u8> {
    code(&[
        &word(0),
        &[EXTCODESIZE, PUSH1, 1, SSTORE],
        &word(0),
        &[EXTCODEHASH, PUSH1, 2, SSTORE, STOP],
    ])
}

/// Calls the address in calldata with its own callvalue and 32 zero bytes, and stores the result.
pub(crate) fn forwarder() -> Vec<u8> {
    code(&[
        &ZERO,
        &ZERO,
        &[PUSH1, 32],
        &ZERO,
        &[CALLVALUE],
        &word(0),
        &[GAS, CALL, PUSH1, 9, SSTORE, STOP],
    ])
}

/// Runs the code of the address in calldata on its own storage.
pub(crate) fn delegator() -> Vec<u8> {
    code(&[
        &ZERO,
        &ZERO,
        &[PUSH1, 32],
        &ZERO,
        &word(0),
        &[GAS, DELEGATECALL, PUSH1, 9, SSTORE, STOP],
    ])
}

/// Calls the address in calldata with all its value, writes a slot, and reverts.
pub(crate) fn reverter() -> Vec<u8> {
    code(&[
        &ZERO,
        &ZERO,
        &ZERO,
        &ZERO,
        &[CALLVALUE],
        &word(0),
        &[GAS, CALL, PUSH1, 5, SSTORE],
        &ZERO,
        &ZERO,
        &[REVERT],
    ])
}

/// Writes a slot and burns all gas.
pub(crate) fn burner() -> Vec<u8> {
    code(&[&[PUSH1, 7, PUSH1, 7, SSTORE, JUMPDEST, PUSH1, 5, JUMP]])
}

/// Halts at once.
pub(crate) fn invalid() -> Vec<u8> {
    vec![INVALID]
}

/// Destroys itself in favour of the address in calldata, after a write.
pub(crate) fn bomb() -> Vec<u8> {
    code(&[
        &[PUSH1, 1, PUSH1, 1, SLOAD, ADD, PUSH1, 1, SSTORE],
        &word(0),
        &[SELFDESTRUCT],
    ])
}

/// Creates a bomb, always at the same address, and calls it once with the word of calldata. The
/// bomb's constructor writes a slot.
pub(crate) fn bomb_factory() -> Vec<u8> {
    let child = bomb();
    // Constructor: SSTORE(1, SLOAD(1) + 5), then return the 32 bytes that follow as code.
    let mut body = [0; 32];
    body[..child.len()].copy_from_slice(&child);
    let init = code(&[
        &[PUSH1, 5, PUSH1, 1, SLOAD, ADD, PUSH1, 1, SSTORE, PUSH32],
        &body,
        &ZERO,
        &[MSTORE, PUSH1, 32],
        &ZERO,
        &[RETURN],
    ]);
    let store: Vec<u8> = init
        .iter()
        .zip(0_u8..)
        .flat_map(|(byte, offset)| [PUSH1, *byte, PUSH1, offset, MSTORE8])
        .collect();
    let length = u8::try_from(init.len()).expect("a short constructor");
    code(&[
        &store,
        &ZERO,
        &[PUSH1, length],
        &ZERO,
        &[CALLVALUE, CREATE2],
        // Keep the address, and call it with calldata's word as its own.
        &[DUP1, PUSH1, 8, SSTORE],
        &word(0),
        &ZERO,
        &[MSTORE],
        &ZERO,
        &ZERO,
        &[PUSH1, 32],
        &ZERO,
        &ZERO,
        &[PUSH1, 8, SLOAD, GAS, CALL, PUSH1, 9, SSTORE, STOP],
    ])
}

/// A constructor that deploys the counter.
pub(crate) fn counter_constructor() -> Vec<u8> {
    let child = counter();
    let store: Vec<u8> = child
        .iter()
        .zip(0_u8..)
        .flat_map(|(byte, offset)| [PUSH1, *byte, PUSH1, offset, MSTORE8])
        .collect();
    let length = u8::try_from(child.len()).expect("a short contract");
    code(&[
        &[PUSH1, 3, PUSH1, 3, SSTORE],
        &store,
        &[PUSH1, length],
        &ZERO,
        &[RETURN],
    ])
}

/// PUSH0 is an invalid opcode before Shanghai: the forks differ on this one.
pub(crate) fn fork_teller() -> Vec<u8> {
    code(&[&[PUSH0, SLOAD, PUSH1, 1, ADD, PUSH0, SSTORE, STOP]])
}

/// Appends calldata's word to an array: its slot depends on the number of earlier calls.
pub(crate) fn appender() -> Vec<u8> {
    code(&[
        &word(0),
        // Slot 100 + length.
        &ZERO,
        &[SLOAD, DUP1, PUSH1, 100, ADD, SWAP1, PUSH1, 1, ADD],
        &ZERO,
        &[SSTORE, SSTORE, STOP],
    ])
}

/// Picks one of two pools by its own balance, and adds to it.
pub(crate) fn router() -> Vec<u8> {
    code(&[
        &[PUSH1, 200, ADDRESS, BALANCE, PUSH1, 1, AND, ADD],
        &[DUP1, SLOAD, PUSH1, 1, ADD, SWAP1, SSTORE, STOP],
    ])
}

/// Writes to a slot that is new at every call: the hash of the last one.
pub(crate) fn shifter() -> Vec<u8> {
    code(&[
        &ZERO,
        &[SLOAD],
        &ZERO,
        &[MSTORE, PUSH1, 32],
        &ZERO,
        &[KECCAK256, DUP1],
        &ZERO,
        &[SSTORE],
        // The value is that of the slot, which no set contains, plus one.
        &[DUP1, SLOAD, PUSH1, 1, ADD, SWAP1, SSTORE, STOP],
    ])
}

/// Writes the caller's slot or, if bit 5 of calldata's word is set, a slot derived from the word. So its slots change
/// after a number of calls.
pub(crate) fn slot_switcher() -> Vec<u8> {
    let one_way = [CALLER, SLOAD, PUSH1, 1, ADD, CALLER, SSTORE, STOP];
    code(&[
        &word(0),
        &[PUSH1, 32, AND, PUSH1, 9 + 8, JUMPI],
        &one_way,
        &[JUMPDEST],
        &word(0),
        &[PUSH1, 100, ADD],
        &[DUP1, SLOAD, PUSH1, 1, ADD, SWAP1, SSTORE, STOP],
    ])
}

/// Adds one in a mapping of a mapping and hashes each slot at each use. Then hashes 64 bytes, which may expand memory,
/// and zero bytes at any offset, and writes the results.
pub(crate) fn hasher() -> Vec<u8> {
    let place = [
        &[CALLER][..],
        &ZERO,
        &[MSTORE],
        &word(0),
        &[PUSH1, 32, MSTORE, PUSH1, 64],
        &ZERO,
        &[KECCAK256, PUSH1, 32, MSTORE],
        &word(0),
        &ZERO,
        &[MSTORE, PUSH1, 64],
        &ZERO,
        &[KECCAK256],
    ]
    .concat();
    code(&[
        &place,
        &[SLOAD, PUSH1, 1, ADD],
        &place,
        &[SSTORE, PUSH1, 64],
        &word(32),
        &[PUSH1, 127, AND, KECCAK256],
        &ZERO,
        &word(32),
        &[KECCAK256, ADD],
        &ZERO,
        &[SSTORE, STOP],
    ])
}

/// The first call sets a flag; later ones store the beneficiary's balance.
pub(crate) fn fee_reader() -> Vec<u8> {
    code(&[
        &[PUSH1, 3, SLOAD, PUSH1, 12, JUMPI],
        &[PUSH1, 1, PUSH1, 3, SSTORE, STOP],
        &[JUMPDEST, COINBASE, BALANCE, PUSH1, 1, SSTORE, STOP],
    ])
}

/// Adds one, and the value of slot 64, to the slot that calldata names. If it names none, moves from one
/// [single sender](super::generate::single_sender) to another, as far as the second word says, and adds that account's
/// balance to its slot.
pub(crate) fn balance_walker() -> Vec<u8> {
    let stalk = code(&[
        &ZERO,
        &[SLOAD, DUP1],
        &word(32),
        &[ADD],
        &ZERO,
        &[SSTORE, PUSH1, 63, AND, PUSH1, 1, ADD],
        &[DUP1, PUSH2, 1, 0, OR, BALANCE],
        &[DUP2, SLOAD, ADD, SWAP1, SSTORE, STOP],
    ]);
    let own = u8::try_from(6 + stalk.len()).expect("a short contract");
    code(&[
        &word(0),
        &[PUSH1, own, JUMPI],
        &stalk,
        &[JUMPDEST],
        &word(0),
        &[SLOAD, PUSH1, 64, SLOAD, ADD, PUSH1, 1, ADD],
        &word(0),
        &[SSTORE, STOP],
    ])
}

/// All contracts that transactions call.
pub(crate) fn all() -> Vec<Vec<u8>> {
    vec![
        counter(),
        token(),
        pointer_chaser(),
        balance_reader(),
        code_reader(),
        forwarder(),
        delegator(),
        reverter(),
        burner(),
        invalid(),
        bomb(),
        bomb_factory(),
        fork_teller(),
        appender(),
        router(),
        shifter(),
        slot_switcher(),
        hasher(),
        fee_reader(),
        balance_walker(),
    ]
}
