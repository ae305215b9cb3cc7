//! Instructions on memory, and logs.

use super::{MEMORY_MAX, Tracer};
use crate::traces::nodes::{Byte, NodeId};
use alloy_primitives::U256;
use lockweave_runtime::StateAccess;
use revm::{bytecode::opcode, primitives::hardfork::SpecId};

impl<S: StateAccess> Tracer<'_, '_, S> {
    pub(super) fn memory_step(&mut self, instruction: u8) -> Option<()> {
        if instruction == opcode::MLOAD {
            let [offset] = self.pop()?;
            let offset = self.number(offset)?;
            self.grow(offset, 32)?;
            let bytes = self.bytes(offset, 32);
            let node = self.nodes.word(&bytes)?;
            return self.push(node);
        }
        let [offset, operand] = self.pop()?;
        match instruction {
            opcode::MSTORE => {
                let offset = self.number(offset)?;
                self.grow(offset, 32)?;
                for (index, byte) in self.frame.memory[offset..][..32].iter_mut().enumerate() {
                    *byte = (operand, index);
                }
                Some(())
            }
            opcode::MSTORE8 => {
                let offset = self.number(offset)?;
                self.grow(offset, 1)?;
                self.frame.memory[offset] = (operand, 31);
                Some(())
            }
            _ => {
                let (offset, length) = self.range(offset, operand)?;
                self.path.gas += self.rules.gas.keccak256_cost(length);
                self.grow(offset, length)?;
                let bytes = self.bytes(offset, length);
                let node = self.nodes.hash(&bytes)?;
                self.push(node)
            }
        }
    }

    pub(super) fn copy(&mut self, instruction: u8) -> Option<()> {
        let [to, from, length] = self.pop()?;
        let from = self.fix(from)?.saturating_to::<usize>();
        let (to, length) = self.range(to, length)?;
        self.path.gas += self.rules.gas.copy_cost(length);
        self.grow(to, length)?;
        if instruction == opcode::RETURNDATACOPY {
            let end = from.checked_add(length)?;
            let bytes = self.frame.returned.get(from..end)?;
            self.frame.memory[to..][..length].copy_from_slice(bytes);
            return Some(());
        }
        for done in (0..length).step_by(32) {
            let from = from.saturating_add(done);
            let node = if instruction == opcode::CALLDATACOPY {
                self.calldata(from)?
            } else {
                let code = self.frame.code.original_byte_slice();
                let bytes = code.get(from..).unwrap_or_default();
                let bytes = &bytes[..bytes.len().min(32)];
                let mut word = [0; 32];
                word[..bytes.len()].copy_from_slice(bytes);
                self.nodes.constant(U256::from_be_bytes(word))?
            };
            let bytes = &mut self.frame.memory[to + done..to + length];
            for (index, byte) in bytes.iter_mut().take(32).enumerate() {
                *byte = (node, index);
            }
        }
        Some(())
    }

    pub(super) fn move_memory(&mut self) -> Option<()> {
        self.rules.since(SpecId::CANCUN)?;
        let [to, from, length] = self.pop()?;
        let length = self.number(length)?;
        self.path.gas += self.rules.gas.mcopy_cost(length);
        if length == 0 {
            return Some(());
        }
        let (to, from) = (self.number(to)?, self.number(from)?);
        self.grow(to.max(from), length)?;
        self.frame.memory.copy_within(from..from + length, to);
        Some(())
    }

    pub(super) fn log(&mut self, topics: u8) -> Option<()> {
        (!self.frame.is_static).then_some(())?;
        let [offset, length] = self.pop()?;
        let (offset, length) = self.range(offset, length)?;
        self.path.gas += self.rules.gas.log_cost(topics, u64::try_from(length).ok()?);
        self.grow(offset, length)?;
        let bytes = self.bytes(offset, length);
        let data = self.nodes.data(&bytes)?;
        let from = self.frame.stack.len().checked_sub(usize::from(topics))?;
        let mut topics = self.frame.stack.split_off(from);
        topics.reverse();
        self.path.logs.push((self.frame.account, topics, data));
        Some(())
    }

    pub(super) fn bytes(&self, offset: usize, length: usize) -> Vec<Byte> {
        let bytes = self.frame.memory.iter().skip(offset);
        bytes.take(length).copied().collect()
    }

    /// Grows memory to the end of a range and charges for it.
    pub(super) fn grow(&mut self, offset: usize, length: usize) -> Option<()> {
        if length == 0 {
            return Some(());
        }
        let end = offset.checked_add(length)?;
        (end <= MEMORY_MAX).then_some(())?;
        let (words, had) = (end.div_ceil(32), self.frame.memory.len() / 32);
        if words > had {
            let cost = |words| self.rules.gas.memory_cost(words);
            self.path.gas += cost(words) - cost(had);
            let zero = self.nodes.constant(U256::ZERO)?;
            self.frame.memory.resize(words * 32, (zero, 0));
        }
        Some(())
    }

    /// A range of memory by its operands. An empty range may begin anywhere.
    pub(super) fn range(&mut self, offset: NodeId, length: NodeId) -> Option<(usize, usize)> {
        let length = self.number(length)?;
        if length == 0 {
            return Some((0, 0));
        }
        (length <= MEMORY_MAX).then_some((self.number(offset)?, length))
    }
}
