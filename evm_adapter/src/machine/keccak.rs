//! A KECCAK256 instruction that caches the hashes of storage slots and can record preimages.
//!
//! Solidity stores `mapping[key]` at `keccak(key . slot)`, and computes that hash at each use: an
//! ERC-20 transfer hashes the preimage of each of its two balances twice, a third of its instructions.

use super::{
    context::EvmContext,
    preimages::Preimages,
    slot_hashes::{PREIMAGE_LEN, SlotPreimage},
};
use alloy_primitives::U256;
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
use std::ops::Range;

/// Ethereum's instructions, with this KECCAK256.
pub(crate) fn instructions<S: StateAccess>(
    spec: SpecId,
) -> EthInstructions<EthInterpreter, EvmContext<S>> {
    let mut instructions = EthInstructions::new_mainnet_with_spec(spec);
    let table = instructions.instruction_table_mut();
    table[usize::from(opcode::KECCAK256)] = Instruction::new(keccak256_instruction::<S>);
    instructions
}

fn keccak256_instruction<S: StateAccess>(
    context: InstructionContext<'_, EvmContext<S>, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    let operand = operand(interpreter);
    let preimage = (operand.clone()).and_then(|range| slot_preimage(interpreter, range));
    if let Some(preimage) = &preimage
        && let Some(hash) = known(host, preimage)
    {
        let cost = host.cfg.gas_params().keccak256_cost(PREIMAGE_LEN);
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
        if let Some(preimage) = &preimage {
            host.chain.slots.put(preimage, interpreter.stack.peek(0)?);
        }
    }
    if let Some(preimages) = &mut host.chain.preimages
        && let Some(operand) = operand
        && operand.len() <= Preimages::BYTES_MAX
        && let hash = interpreter.stack.peek(0)?
        // The offset of an empty range may lie beyond memory; other ranges are in memory by now.
        && operand.end <= interpreter.memory.len()
    {
        preimages.record(hash, &interpreter.memory.slice_range(operand));
    }
    Ok(())
}

/// A hash that is cached here, or that was stored with the transaction's access set.
fn known<S: StateAccess>(context: &mut EvmContext<S>, preimage: &SlotPreimage) -> Option<U256> {
    let state = &mut context.journaled_state.database.state;
    let hash = context.chain.slots.get(preimage);
    hash.or_else(|| state.known_hash(preimage))
}

/// The range of memory to hash, if its bounds fit.
fn operand(interpreter: &Interpreter<EthInterpreter>) -> Option<Range<usize>> {
    let offset = usize::try_from(interpreter.stack.peek(0).ok()?).ok()?;
    let length = usize::try_from(interpreter.stack.peek(1).ok()?).ok()?;
    Some(offset..offset.checked_add(length)?)
}

/// The bytes to hash, if they have the length of a [`SlotPreimage`] and memory need not grow for them.
fn slot_preimage(
    interpreter: &Interpreter<EthInterpreter>,
    operand: Range<usize>,
) -> Option<SlotPreimage> {
    if operand.len() != PREIMAGE_LEN || operand.end > interpreter.memory.len() {
        return None;
    }
    let memory = interpreter.memory.slice_range(operand);
    SlotPreimage::try_from(&*memory).ok()
}
