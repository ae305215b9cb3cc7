//! Follows one call through its code, and compiles the way it took.
//!
//! The machine's stack and memory hold what words are made of (`Node`) in place of the words. Where the way
//! depends on a word, the program expects the same of it.

use super::{
    operation::Operation,
    program::{Call, Change, Input, Instruction, LogTemplate, Program, Register, Words},
};
use alloy_primitives::{U256, keccak256};
use lockweave_runtime::StateAccess;
use revm::{
    bytecode::{Bytecode, opcode},
    context_interface::{cfg::gas_params::GasParams, context::SStoreResult},
    interpreter::instructions::GasTable,
    primitives::hardfork::SpecId,
};
use std::collections::{HashMap, HashSet};

/// Instructions that a trace goes through at most.
const STEPS_MAX: usize = 16_384;
/// Words that it tells apart at most; registers are numbered in sixteen bits.
const NODES_MAX: usize = 8_192;
/// Bytes of memory.
const MEMORY_MAX: usize = 16_384;
/// Slots; the keys of any two are compared.
const SLOTS_MAX: usize = 24;
/// The machine's limit.
const STACK_MAX: usize = 1_024;

/// A word by what it is made of.
type NodeId = usize;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Constant(U256),
    Input(Input),
    Apply(Operation, Vec<NodeId>),
    /// Of words, of which only so many bytes count.
    Hash(Vec<NodeId>, usize),
    /// What a slot held before the call.
    Loaded(usize),
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    /// What it is in the call that is followed.
    value: U256,
    /// How many of the lowest bits can be set in any call.
    width: usize,
}

#[derive(Debug)]
struct Slot {
    key: NodeId,
    before: NodeId,
    now: NodeId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Expect {
        node: NodeId,
        zero: bool,
    },
    Compare {
        nodes: [NodeId; 2],
        same: bool,
    },
    Load {
        slot: usize,
        gas: u64,
    },
    Store {
        /// Before the call, present and new.
        values: [NodeId; 3],
        is_cold: bool,
        gas_before: u64,
    },
}

#[derive(Debug)]
struct Data {
    nodes: Vec<NodeId>,
    bytes: usize,
}

/// What a block's fork says about the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) spec: SpecId,
    pub(super) gas: &'a GasParams,
    /// What each instruction takes whatever it works on.
    pub(super) costs: &'a GasTable,
}

/// Compiles the way that a call takes through its code; `None` if it does anything that programs cannot.
pub(super) fn trace<S: StateAccess>(
    call: &Call<'_>,
    code: &Bytecode,
    rules: Rules<'_>,
    state: &mut S,
) -> Option<Program> {
    let mut tracer = Tracer {
        call,
        code,
        rules,
        state,
        nodes: Vec::new(),
        known: HashMap::new(),
        stack: Vec::new(),
        memory: Vec::new(),
        slots: Vec::new(),
        slot_of: HashMap::new(),
        actions: Vec::new(),
        expected: HashSet::new(),
        logs: Vec::new(),
        gas: 0,
        store_gas: 0,
    };
    let output = tracer.follow()?;
    tracer.compile(&output)
}

struct Tracer<'a, S> {
    call: &'a Call<'a>,
    code: &'a Bytecode,
    rules: Rules<'a>,
    state: &'a mut S,
    nodes: Vec<Node>,
    known: HashMap<Kind, NodeId>,
    stack: Vec<NodeId>,
    /// Each byte: which of a word's, counted from the highest.
    memory: Vec<(NodeId, usize)>,
    slots: Vec<Slot>,
    /// By key; keys that are the same in this call share a slot.
    slot_of: HashMap<NodeId, usize>,
    actions: Vec<Action>,
    /// What of that is about words.
    expected: HashSet<Action>,
    logs: Vec<(Vec<NodeId>, Data)>,
    /// What was taken so far, but by stores.
    gas: u64,
    /// What stores took.
    store_gas: u64,
}

impl<S: StateAccess> Tracer<'_, S> {
    /// Goes through the code to its end; returns what the call returns.
    fn follow(&mut self) -> Option<Data> {
        let code = self.code.original_byte_slice();
        let jumps = self.code.legacy_jump_table()?;
        let mut next = 0;
        for _ in 0..STEPS_MAX {
            let at = next;
            let instruction = code.get(at).copied().unwrap_or(opcode::STOP);
            next += 1;
            self.gas += u64::from(self.rules.costs[usize::from(instruction)]);
            match instruction {
                opcode::STOP => return self.data(0, 0),
                opcode::RETURN => {
                    let [offset, length] = self.pop()?;
                    let (offset, length) = self.range(offset, length)?;
                    self.grow(offset, length)?;
                    return self.data(offset, length);
                }
                opcode::JUMP => {
                    let [target] = self.pop()?;
                    next = self.number(target)?;
                    jumps.is_valid(next).then_some(())?;
                }
                opcode::JUMPI => {
                    let [target, condition] = self.pop()?;
                    if self.decide(condition) {
                        next = self.number(target)?;
                        jumps.is_valid(next).then_some(())?;
                    }
                }
                opcode::JUMPDEST => {}
                opcode::PC => self.push_number(at)?,
                opcode::PUSH0 => {
                    self.rules.since(SpecId::SHANGHAI)?;
                    self.push_number(0)?;
                }
                opcode::PUSH1..=opcode::PUSH32 => {
                    let bytes = usize::from(instruction - opcode::PUSH0);
                    let mut word = [0; 32];
                    let known = code.get(next..).unwrap_or_default();
                    let known = &known[..known.len().min(bytes)];
                    word[32 - bytes..][..known.len()].copy_from_slice(known);
                    next += bytes;
                    let node = self.constant(U256::from_be_bytes(word))?;
                    self.push(node)?;
                }
                _ => self.step(instruction)?,
            }
        }
        None
    }

    /// An instruction that the next one in the code follows.
    fn step(&mut self, instruction: u8) -> Option<()> {
        if let Some(operation) = Operation::of(instruction) {
            let from = self.stack.len().checked_sub(operation.operands())?;
            let mut operands = self.stack.split_off(from);
            operands.reverse();
            if operation == Operation::Exp {
                let power = self.fix(operands[1])?;
                self.gas += self.rules.gas.exp_cost(power);
                operands[1] = self.constant(power)?;
            }
            let node = self.apply(operation, operands)?;
            return self.push(node);
        }
        let input = match instruction {
            opcode::POP => {
                let [_] = self.pop()?;
                return Some(());
            }
            opcode::DUP1..=opcode::DUP16 => {
                let depth = usize::from(instruction - opcode::DUP1) + 1;
                let from = self.stack.len().checked_sub(depth)?;
                return self.push(self.stack[from]);
            }
            opcode::SWAP1..=opcode::SWAP16 => {
                let depth = usize::from(instruction - opcode::SWAP1) + 2;
                let top = self.stack.len().checked_sub(1)?;
                let other = self.stack.len().checked_sub(depth)?;
                self.stack.swap(top, other);
                return Some(());
            }
            opcode::CALLDATALOAD => {
                let [offset] = self.pop()?;
                let offset = self.fix(offset)?;
                let node = self.calldata(offset.saturating_to())?;
                return self.push(node);
            }
            opcode::MLOAD | opcode::MSTORE | opcode::MSTORE8 | opcode::KECCAK256 => {
                return self.memory_step(instruction);
            }
            opcode::CALLDATACOPY | opcode::CODECOPY => return self.copy(instruction),
            opcode::SLOAD => {
                let [key] = self.pop()?;
                let cold = self.cold(self.rules.gas.cold_storage_additional_cost());
                let (slot, is_cold) = self.slot(key, self.gas + cold)?;
                if is_cold {
                    self.gas += cold;
                }
                return self.push(self.slots[slot].now);
            }
            opcode::SSTORE => return self.store(),
            opcode::LOG0..=opcode::LOG4 => return self.log(instruction - opcode::LOG0),
            opcode::CALLDATASIZE => return self.push_number(self.call.data.len()),
            opcode::CODESIZE => return self.push_number(self.code.len()),
            opcode::MSIZE => return self.push_number(self.memory.len()),
            // No ether is sent, and no call was made before.
            opcode::CALLVALUE | opcode::RETURNDATASIZE => return self.push_number(0),
            opcode::CALLER | opcode::ORIGIN => Input::Caller,
            opcode::ADDRESS => Input::Target,
            opcode::GASPRICE => Input::GasPrice,
            opcode::CHAINID => Input::ChainId,
            opcode::BASEFEE => {
                self.rules.since(SpecId::LONDON)?;
                Input::BaseFee
            }
            opcode::COINBASE => Input::Beneficiary,
            opcode::GASLIMIT => Input::BlockGasLimit,
            opcode::NUMBER => Input::Number,
            opcode::TIMESTAMP => Input::Timestamp,
            _ => return None,
        };
        let node = self.input(input)?;
        self.push(node)
    }

    fn memory_step(&mut self, instruction: u8) -> Option<()> {
        if instruction == opcode::MLOAD {
            let [offset] = self.pop()?;
            let offset = self.number(offset)?;
            self.grow(offset, 32)?;
            let node = self.word(offset, 32)?;
            return self.push(node);
        }
        let [offset, operand] = self.pop()?;
        match instruction {
            opcode::MSTORE => {
                let offset = self.number(offset)?;
                self.grow(offset, 32)?;
                for (index, byte) in self.memory[offset..][..32].iter_mut().enumerate() {
                    *byte = (operand, index);
                }
                Some(())
            }
            opcode::MSTORE8 => {
                let offset = self.number(offset)?;
                self.grow(offset, 1)?;
                self.memory[offset] = (operand, 31);
                Some(())
            }
            _ => {
                let (offset, length) = self.range(offset, operand)?;
                self.gas += self.rules.gas.keccak256_cost(length);
                self.grow(offset, length)?;
                let node = self.hash(offset, length)?;
                self.push(node)
            }
        }
    }

    fn copy(&mut self, instruction: u8) -> Option<()> {
        let [to, from, length] = self.pop()?;
        let from = self.fix(from)?.saturating_to::<usize>();
        let (to, length) = self.range(to, length)?;
        self.gas += self.rules.gas.copy_cost(length);
        self.grow(to, length)?;
        for done in (0..length).step_by(32) {
            let from = from.saturating_add(done);
            let node = if instruction == opcode::CALLDATACOPY {
                self.calldata(from)?
            } else {
                let code = self.code.original_byte_slice();
                let bytes = code.get(from..).unwrap_or_default();
                let bytes = &bytes[..bytes.len().min(32)];
                let mut word = [0; 32];
                word[..bytes.len()].copy_from_slice(bytes);
                self.constant(U256::from_be_bytes(word))?
            };
            let bytes = &mut self.memory[to + done..to + length];
            for (index, byte) in bytes.iter_mut().take(32).enumerate() {
                *byte = (node, index);
            }
        }
        Some(())
    }

    fn store(&mut self) -> Option<()> {
        let [key, new] = self.pop()?;
        let gas_before = self.gas;
        self.gas += self.rules.gas.sstore_static_gas();
        // EIP-2200: there must be more gas than that.
        let stipend = self.rules.gas.call_stipend() + 1;
        let least = gas_before + stipend;
        (least + self.store_gas <= self.call.gas).then_some(())?;
        let (slot, is_cold) = self.slot(key, least)?;
        let slot = &mut self.slots[slot];
        let value = |node: NodeId| self.nodes[node].value;
        let values = SStoreResult {
            original_value: value(slot.before),
            present_value: value(slot.now),
            new_value: value(new),
        };
        let gas = self.rules.gas.sstore_dynamic_gas(true, &values, is_cold);
        self.store_gas += gas;
        self.actions.push(Action::Store {
            values: [slot.before, slot.now, new],
            is_cold,
            gas_before,
        });
        slot.now = new;
        Some(())
    }

    fn log(&mut self, topics: u8) -> Option<()> {
        let [offset, length] = self.pop()?;
        let (offset, length) = self.range(offset, length)?;
        self.gas += self.rules.gas.log_cost(topics, u64::try_from(length).ok()?);
        self.grow(offset, length)?;
        let data = self.data(offset, length)?;
        let from = self.stack.len().checked_sub(usize::from(topics))?;
        let mut topics = self.stack.split_off(from);
        topics.reverse();
        self.logs.push((topics, data));
        Some(())
    }

    /// What a cold slot takes, where slots that are used for the first time are cold.
    fn cold(&self, gas: u64) -> u64 {
        if self.call.listed.is_none() { gas } else { 0 }
    }

    /// The slot of a key, which is loaded at its first use, for which the call must have this much gas; and whether
    /// it was cold until now.
    fn slot(&mut self, key: NodeId, gas: u64) -> Option<(usize, bool)> {
        if let Some(slot) = self.slot_of.get(&key) {
            return Some((*slot, false));
        }
        let value = self.nodes[key].value;
        let same = |slot: &Slot| self.nodes[slot.key].value == value;
        if let Some(slot) = self.slots.iter().position(same) {
            self.compare(key, self.slots[slot].key, true);
            self.slot_of.insert(key, slot);
            return Some((slot, false));
        }
        let slot = self.slots.len();
        let has_gas = gas + self.store_gas <= self.call.gas;
        (slot < SLOTS_MAX && has_gas).then_some(())?;
        for other in 0..slot {
            self.compare(key, self.slots[other].key, false);
        }
        self.call.expects(value).then_some(())?;
        let held = self.state.slot(self.call.target, value).ok()?;
        let before = self.node(Kind::Loaded(slot), held, 256)?;
        self.actions.push(Action::Load { slot, gas });
        self.slots.push(Slot {
            key,
            before,
            now: before,
        });
        self.slot_of.insert(key, slot);
        Some((slot, self.call.listed.is_none()))
    }

    fn hash(&mut self, offset: usize, length: usize) -> Option<NodeId> {
        let Data { nodes, bytes } = self.data(offset, length)?;
        let words = nodes.iter().map(|node| self.nodes[*node].value);
        let words: Vec<u8> = words.flat_map(|word| word.to_be_bytes::<32>()).collect();
        let value = keccak256(&words[..bytes]).into();
        if nodes.iter().all(|node| self.is_constant(*node)) {
            return self.constant(value);
        }
        self.node(Kind::Hash(nodes, bytes), value, 256)
    }

    /// A range of memory, as words.
    fn data(&mut self, offset: usize, length: usize) -> Option<Data> {
        let words = (0..length).step_by(32);
        let nodes = words.map(|done| self.word(offset + done, (length - done).min(32)));
        Some(Data {
            nodes: nodes.collect::<Option<_>>()?,
            bytes: length,
        })
    }

    /// A word of memory, with zeros behind its first bytes.
    fn word(&mut self, offset: usize, bytes: usize) -> Option<NodeId> {
        let bytes = self.memory[offset..][..bytes].to_vec();
        let (first, _) = bytes[0];
        if bytes.len() == 32
            && bytes
                .iter()
                .copied()
                .eq((0..32).map(|index| (first, index)))
        {
            return Some(first);
        }
        let zero = self.constant(U256::ZERO)?;
        let mut word = zero;
        let mut start = 0;
        while start < bytes.len() {
            let (node, index) = bytes[start];
            let rest = bytes[start..].iter().copied();
            let run = rest
                .zip(index..)
                .take_while(|(byte, index)| *byte == (node, *index));
            let end = start + run.count();
            if node != zero {
                let (operation, distance) = if start >= index {
                    (Operation::ShiftRight, start - index)
                } else {
                    (Operation::ShiftLeft, index - start)
                };
                let distance = self.constant(U256::from(8 * distance))?;
                let shifted = self.apply(operation, vec![distance, node])?;
                let mut mask = [0; 32];
                mask[start..end].fill(u8::MAX);
                let mask = self.constant(U256::from_be_bytes(mask))?;
                let part = self.apply(Operation::And, vec![shifted, mask])?;
                word = self.apply(Operation::Or, vec![word, part])?;
            }
            start = end;
        }
        Some(word)
    }

    /// Memory up to the end of a range, which costs gas.
    fn grow(&mut self, offset: usize, length: usize) -> Option<()> {
        if length == 0 {
            return Some(());
        }
        let end = offset.checked_add(length)?;
        (end <= MEMORY_MAX).then_some(())?;
        let (words, had) = (end.div_ceil(32), self.memory.len() / 32);
        if words > had {
            let cost = |words| self.rules.gas.memory_cost(words);
            self.gas += cost(words) - cost(had);
            let zero = self.constant(U256::ZERO)?;
            self.memory.resize(words * 32, (zero, 0));
        }
        Some(())
    }

    /// A range of memory by what stood on the stack; where an empty one begins does not matter.
    fn range(&mut self, offset: NodeId, length: NodeId) -> Option<(usize, usize)> {
        let length = self.number(length)?;
        if length == 0 {
            return Some((0, 0));
        }
        (length <= MEMORY_MAX).then_some((self.number(offset)?, length))
    }

    /// What a word is in this call, which from here on is the same in every call that goes this way.
    fn fix(&mut self, node: NodeId) -> Option<U256> {
        let value = self.nodes[node].value;
        if !self.is_constant(node) {
            let constant = self.constant(value)?;
            self.compare(node, constant, true);
        }
        Some(value)
    }

    fn number(&mut self, node: NodeId) -> Option<usize> {
        usize::try_from(self.fix(node)?).ok()
    }

    /// Whether a word is other than zero, which from here on it is in every call that goes this way.
    fn decide(&mut self, condition: NodeId) -> bool {
        let holds = !self.nodes[condition].value.is_zero();
        let (mut node, mut zero) = (condition, !holds);
        while let Kind::Apply(Operation::IsZero, operands) = &self.nodes[node].kind {
            node = operands[0];
            zero = !zero;
        }
        if !self.is_constant(node) {
            self.expect(Action::Expect { node, zero });
        }
        holds
    }

    fn compare(&mut self, a: NodeId, b: NodeId, same: bool) {
        if !(self.is_constant(a) && self.is_constant(b)) {
            let nodes = [a, b];
            self.expect(Action::Compare { nodes, same });
        }
    }

    fn expect(&mut self, action: Action) {
        if self.expected.insert(action.clone()) {
            self.actions.push(action);
        }
    }

    fn apply(&mut self, operation: Operation, operands: Vec<NodeId>) -> Option<NodeId> {
        if let Some(node) = self.simplify(operation, &operands) {
            return Some(node);
        }
        let operand = |index: usize| operands.get(index).map(|node| &self.nodes[*node]);
        let [a, b, c] = [0, 1, 2].map(operand);
        let value = |node: Option<&Node>| node.map_or(U256::ZERO, |node| node.value);
        let width = |node: Option<&Node>| node.map_or(256, |node| node.width);
        let result = operation.apply(value(a), value(b), value(c));
        if operands.iter().all(|node| self.is_constant(*node)) {
            return self.constant(result);
        }
        let shift = operands.first().filter(|node| self.is_constant(**node));
        let shift = shift.map(|node| self.nodes[*node].value);
        let width = operation.width([width(a), width(b), width(c)], shift);
        self.node(Kind::Apply(operation, operands), result, width)
    }

    /// A word that is the result in any call, if there already is one.
    fn simplify(&mut self, operation: Operation, operands: &[NodeId]) -> Option<NodeId> {
        let constant = |node: NodeId| match self.nodes[node].kind {
            Kind::Constant(value) => Some(value),
            _ => None,
        };
        match (operation, operands) {
            (Operation::IsZero, [node]) => match &self.nodes[*node].kind {
                Kind::Apply(Operation::IsZero, inner) if self.nodes[inner[0]].width == 1 => {
                    Some(inner[0])
                }
                _ => None,
            },
            (Operation::And, [a, b]) => {
                [(*a, *b), (*b, *a)].into_iter().find_map(|(mask, node)| {
                    let mask = constant(mask)?;
                    let is_low = (mask & mask.wrapping_add(U256::ONE)).is_zero();
                    (is_low && self.nodes[node].width <= mask.bit_len()).then_some(node)
                })
            }
            (Operation::Add | Operation::Or | Operation::Xor, [a, b]) => {
                let zero = Some(U256::ZERO);
                match (constant(*a), constant(*b)) {
                    (first, _) if first == zero => Some(*b),
                    (_, second) if second == zero => Some(*a),
                    _ => None,
                }
            }
            // Calls of one kind have the same first four bytes of data.
            (Operation::ShiftRight | Operation::ShiftLeft | Operation::Div, [a, b]) => {
                let (word, by) = match operation {
                    Operation::Div => (*a, constant(*b)?),
                    _ => (*b, constant(*a)?),
                };
                if operation != Operation::Div && by.is_zero() {
                    return Some(word);
                }
                let cuts = match operation {
                    Operation::Div => by == U256::ONE << 224,
                    Operation::ShiftRight => by == U256::from(224),
                    _ => false,
                };
                let is_data = self.nodes[word].kind == Kind::Input(Input::Data(0));
                if cuts && is_data {
                    let selector = self.nodes[word].value >> 224;
                    return self.constant(selector);
                }
                None
            }
            _ => None,
        }
    }

    fn calldata(&mut self, from: usize) -> Option<NodeId> {
        if from >= self.call.data.len() {
            return self.constant(U256::ZERO);
        }
        self.input(Input::Data(from))
    }

    fn input(&mut self, input: Input) -> Option<NodeId> {
        self.node(Kind::Input(input), input.of(self.call), input.width())
    }

    fn constant(&mut self, value: U256) -> Option<NodeId> {
        self.node(Kind::Constant(value), value, value.bit_len())
    }

    fn node(&mut self, kind: Kind, value: U256, width: usize) -> Option<NodeId> {
        if let Some(node) = self.known.get(&kind) {
            return Some(*node);
        }
        let node = self.nodes.len();
        (node < NODES_MAX).then_some(())?;
        self.known.insert(kind.clone(), node);
        self.nodes.push(Node { kind, value, width });
        Some(node)
    }

    fn is_constant(&self, node: NodeId) -> bool {
        matches!(self.nodes[node].kind, Kind::Constant(_))
    }

    fn push(&mut self, node: NodeId) -> Option<()> {
        (self.stack.len() < STACK_MAX).then(|| self.stack.push(node))
    }

    fn push_number(&mut self, number: usize) -> Option<()> {
        let node = self.constant(U256::from(number))?;
        self.push(node)
    }

    /// What stands on top of the stack, the topmost first.
    fn pop<const N: usize>(&mut self) -> Option<[NodeId; N]> {
        let from = self.stack.len().checked_sub(N)?;
        let mut nodes = [0; N];
        nodes.copy_from_slice(&self.stack[from..]);
        nodes.reverse();
        self.stack.truncate(from);
        Some(nodes)
    }

    /// The program of the way that was followed.
    fn compile(&self, output: &Data) -> Option<Program> {
        let mut compiler = Compiler {
            nodes: &self.nodes,
            register_of: vec![None; self.nodes.len()],
            program: Program {
                instructions: Vec::new(),
                words: Vec::new(),
                registers: Vec::new(),
                changes: Vec::new(),
                logs: Vec::new(),
                output: Words {
                    registers: 0..0,
                    bytes: 0,
                },
                gas: self.gas,
                buffer: Vec::new(),
            },
        };
        for action in &self.actions {
            let instruction = match action {
                Action::Expect { node, zero } => Instruction::Expect {
                    register: compiler.register(*node)?,
                    zero: *zero,
                },
                Action::Compare {
                    nodes: [a, b],
                    same,
                } => Instruction::Compare {
                    registers: [compiler.register(*a)?, compiler.register(*b)?],
                    same: *same,
                },
                Action::Load { slot, gas } => {
                    let Slot { key, before, .. } = self.slots[*slot];
                    let key = compiler.register(key)?;
                    let to = compiler.new_register(before)?;
                    let gas = *gas;
                    Instruction::Load { to, key, gas }
                }
                Action::Store {
                    values: [before, now, new],
                    is_cold,
                    gas_before,
                } => Instruction::Store {
                    slot: [
                        compiler.register(*before)?,
                        compiler.register(*now)?,
                        compiler.register(*new)?,
                    ],
                    is_cold: *is_cold,
                    gas_before: *gas_before,
                },
            };
            compiler.program.instructions.push(instruction);
        }
        for slot in self.slots.iter().filter(|slot| slot.now != slot.before) {
            let change = Change {
                key: compiler.register(slot.key)?,
                before: compiler.register(slot.before)?,
                after: compiler.register(slot.now)?,
            };
            compiler.program.changes.push(change);
        }
        for (topics, data) in &self.logs {
            let topics = topics.iter().map(|topic| compiler.register(*topic));
            let template = LogTemplate {
                topics: topics.collect::<Option<_>>()?,
                data: compiler.words(data)?,
            };
            compiler.program.logs.push(template);
        }
        compiler.program.output = compiler.words(output)?;
        Some(compiler.program)
    }
}

impl Rules<'_> {
    fn since(&self, spec: SpecId) -> Option<()> {
        self.spec.is_enabled_in(spec).then_some(())
    }
}

/// Puts nodes into registers, in the order in which they are needed; what is not needed is not computed.
struct Compiler<'a> {
    nodes: &'a [Node],
    register_of: Vec<Option<Register>>,
    program: Program,
}

impl Compiler<'_> {
    fn register(&mut self, node: NodeId) -> Option<Register> {
        if let Some(register) = self.register_of[node] {
            return Some(register);
        }
        let instruction = match &self.nodes[node].kind {
            Kind::Constant(_) => return self.new_register(node),
            // A slot has its register since it was loaded.
            Kind::Loaded(_) => return None,
            Kind::Input(input) => Instruction::Input {
                to: self.new_register(node)?,
                input: *input,
            },
            Kind::Apply(operation, operands) => {
                let mut registers = [0; 3];
                for (register, operand) in registers.iter_mut().zip(operands) {
                    *register = self.register(*operand)?;
                }
                Instruction::Apply {
                    operation: *operation,
                    to: self.new_register(node)?,
                    operands: registers,
                }
            }
            Kind::Hash(nodes, bytes) => {
                let words = self.registers(nodes, *bytes)?;
                Instruction::Hash {
                    to: self.new_register(node)?,
                    words,
                }
            }
        };
        self.program.instructions.push(instruction);
        self.register_of[node]
    }

    fn new_register(&mut self, node: NodeId) -> Option<Register> {
        let register = Register::try_from(self.program.registers.len()).ok()?;
        self.program.registers.push(self.nodes[node].value);
        self.register_of[node] = Some(register);
        Some(register)
    }

    fn words(&mut self, data: &Data) -> Option<Words> {
        self.registers(&data.nodes, data.bytes)
    }

    fn registers(&mut self, nodes: &[NodeId], bytes: usize) -> Option<Words> {
        let registers = nodes.iter().map(|node| self.register(*node));
        let registers: Vec<Register> = registers.collect::<Option<_>>()?;
        let start = u32::try_from(self.program.words.len()).ok()?;
        self.program.words.extend(registers);
        let end = u32::try_from(self.program.words.len()).ok()?;
        Some(Words {
            registers: start..end,
            bytes,
        })
    }
}
