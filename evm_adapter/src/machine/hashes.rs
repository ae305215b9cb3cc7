//! KECCAK256 that remembers the hashes of storage slots, and can note what it hashes.
//!
//! Solidity finds `mapping[key]` at `keccak(key . slot)`, and computes that anew at each use: an
//! ERC-20 transfer hashes each of its two balances' places twice, a third of its instructions.

use crate::{executor::EvmContext, inference::Preimages};
use alloy_primitives::{U256, keccak256};
use lockweave_runtime::StateAccess;
use revm::{
    bytecode::opcode,
    context::Cfg as _,
    handler::instructions::EthInstructions,
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, InstructionResult,
        instructions::system,
        interpreter::{EthInterpreter, Interpreter},
    },
    primitives::hardfork::SpecId,
};
use std::{fmt, ops::Range};

/// Ethereum's instructions, with this KECCAK256.
pub(crate) fn instructions<S: StateAccess>(
    spec: SpecId,
) -> EthInstructions<EthInterpreter, EvmContext<S>> {
    let mut instructions = EthInstructions::new_mainnet_with_spec(spec);
    let table = instructions.instruction_table_mut();
    table[usize::from(opcode::KECCAK256)] = Instruction::new(keccak256_instruction::<S>);
    instructions
}

/// What an executor keeps of what its code hashes.
#[derive(Debug, Default)]
pub(crate) struct Hashes {
    pub(crate) slots: SlotHashes,
    /// Where to note what a transaction hashes, while that is wanted.
    pub(crate) preimages: Option<Preimages>,
}

fn keccak256_instruction<S: StateAccess>(
    context: InstructionContext<'_, EvmContext<S>, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let operand = operand(interpreter);
    let place = operand.clone().and_then(|range| place(interpreter, range));
    if let Some(place) = &place
        && let Some(hash) = known(host, place)
    {
        let cost = host.cfg.gas_params().keccak256_cost(PLACE);
        if !interpreter.gas.record_regular_cost(cost) {
            return Err(InstructionResult::OutOfGas);
        }
        let Some(([_], top)) = interpreter.stack.popn_top() else {
            return Err(InstructionResult::StackUnderflow);
        };
        *top = hash;
    } else {
        system::keccak256(InstructionContext {
            interpreter: &mut *interpreter,
            host: &mut *host,
        })?;
        if let Some(place) = &place {
            host.chain.slots.put(place, interpreter.stack.peek(0)?);
        }
    }
    if let Some(preimages) = &mut host.chain.preimages
        && let Some(operand) = operand
        && operand.len() <= Preimages::BYTES_MAX
        && let hash = interpreter.stack.peek(0)?
        // Nothing may stand anywhere; anything else is in memory by now.
        && operand.end <= interpreter.memory.len()
    {
        preimages.note(hash, &interpreter.memory.slice_range(operand));
    }
    Ok(())
}

/// The hash of a place that this executor remembers, or that came with the transaction's set.
fn known<S: StateAccess>(context: &mut EvmContext<S>, place: &Place) -> Option<U256> {
    let state = &mut context.journaled_state.database.state;
    let hash = context.chain.slots.get(place);
    hash.or_else(|| state.known_hash(place))
}

/// Which bytes of memory are to be hashed, if there can be as many.
fn operand(interpreter: &Interpreter<EthInterpreter>) -> Option<Range<usize>> {
    let offset = usize::try_from(interpreter.stack.peek(0).ok()?).ok()?;
    let length = usize::try_from(interpreter.stack.peek(1).ok()?).ok()?;
    Some(offset..offset.checked_add(length)?)
}

/// The bytes to be hashed, if they may be a slot's place and if memory need not grow for them.
fn place(interpreter: &Interpreter<EthInterpreter>, operand: Range<usize>) -> Option<Place> {
    if operand.len() != PLACE || operand.end > interpreter.memory.len() {
        return None;
    }
    let memory = interpreter.memory.slice_range(operand);
    Place::try_from(&*memory).ok()
}

/// Bytes of a key and of the mapping's slot.
const PLACE: usize = 64;
/// A key and the mapping's slot.
pub(crate) type Place = [u8; PLACE];

/// Hashes that an executor remembers: 96 bytes each, so that all fit into a core's own cache.
const REMEMBERED: usize = 512;

/// The latest hashes of 64 bytes, each in the one place where it may stand.
///
/// Who finds places that share one gets no more than misses.
#[derive(Default)]
pub(crate) struct SlotHashes {
    /// Empty until the first hash.
    entries: Box<[(Place, U256)]>,
}

impl SlotHashes {
    /// The hash of a place, computed where it is not remembered.
    pub(crate) fn hash(&mut self, place: &Place) -> U256 {
        self.get(place).unwrap_or_else(|| {
            let hash = keccak256(place).into();
            self.put(place, hash);
            hash
        })
    }

    fn get(&self, place: &Place) -> Option<U256> {
        let (known, hash) = self.entries.get(index(place))?;
        (known == place).then_some(*hash)
    }

    fn put(&mut self, place: &Place, hash: U256) {
        if self.entries.is_empty() {
            // There is no entry that is not right.
            let zeros = [0; PLACE];
            self.entries = vec![(zeros, keccak256(zeros).into()); REMEMBERED].into();
        }
        self.entries[index(place)] = (*place, hash);
    }
}

/// Where a hash stands: by the ends of both words, which is where addresses and numbers differ.
fn index(place: &Place) -> usize {
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let [.., key, _, _, _, slot] = *place.as_chunks::<8>().0 else {
        return 0;
    };
    let (key, slot) = (u64::from_be_bytes(key), u64::from_be_bytes(slot));
    let mixed = (key.wrapping_mul(MIX) ^ slot).wrapping_mul(MIX);
    usize::try_from(mixed >> (u64::BITS - REMEMBERED.trailing_zeros())).unwrap_or_default()
}

impl fmt::Debug for SlotHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotHashes").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn place_of(key: u64, slot: u64) -> Place {
        let words = [U256::from(key), U256::from(slot)];
        let bytes = words.map(|word| word.to_be_bytes::<32>()).concat();
        bytes.try_into().expect("two words")
    }

    #[test]
    fn what_is_remembered_is_right() {
        let mut hashes = SlotHashes::default();
        assert_eq!(hashes.get(&[0; PLACE]), None);
        let places = (0..4 * REMEMBERED as u64).map(|key| place_of(key / 2, key % 2));
        for place in places.clone() {
            let hash = keccak256(place).into();
            assert!(hashes.get(&place).is_none_or(|known| known == hash));
            hashes.put(&place, hash);
            assert_eq!(hashes.get(&place), Some(hash));
            assert_eq!(hashes.hash(&place), hash);
        }
        let another = place_of(u64::MAX, 7);
        let hash = U256::from_be_bytes(keccak256(another).0);
        assert_eq!(hashes.hash(&another), hash);
        assert_eq!(hashes.get(&another), Some(hash));
        let known: Vec<_> = places
            .filter_map(|place| Some((place, hashes.get(&place)?)))
            .collect();
        for (place, hash) in &known {
            assert_eq!(B256::from(*hash), keccak256(place));
        }
        // They spread: of four that come to each place, one is kept.
        assert!(known.len() > REMEMBERED / 2, "{}", known.len());
    }

    #[test]
    fn what_was_never_hashed_is_not_wrong() {
        let mut hashes = SlotHashes::default();
        hashes.put(&place_of(1, 1), U256::ZERO);
        let hash = hashes.get(&[0; PLACE]);
        assert!(hash.is_none_or(|known| B256::from(known) == keccak256([0; PLACE])));
    }
}
