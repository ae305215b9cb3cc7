//! Traces one call through its code and compiles its path.
//!
//! Stack and memory hold expressions (`NodeId`) in place of words. Where the path depends on a word, the program checks
//! that word.
//!
//! * `memory`: instructions on memory, and logs.
//! * `state`: calls, code and slots.

mod memory;
mod state;

use super::{
    compiler::{Action, Path},
    nodes::{Byte, Kind, NodeId, Nodes},
    operation::Operation,
    program::{Call, Input, Program, ProgramState},
};
use crate::machine::CodeCache;
use alloy_primitives::U256;
use lockweave_runtime::StateAccess;
use revm::{
    bytecode::{Bytecode, opcode},
    context_interface::cfg::gas_params::GasParams,
    interpreter::instructions::GasTable,
    primitives::hardfork::SpecId,
};
use std::collections::{HashMap, HashSet};

/// Instructions of a trace, at most.
const STEPS_MAX: usize = 32_768;
/// Bytes of memory, at most.
const MEMORY_MAX: usize = 16_384;
/// Slots, at most: the keys of any two are compared.
const SLOTS_MAX: usize = 48;
/// Accounts, at most: any two are compared.
const ACCOUNTS_MAX: usize = 12;
/// Nested calls, at most.
const DEPTH_MAX: usize = 16;
/// The EVM's limit.
const STACK_MAX: usize = 1_024;

/// The EVM rules of a block's fork.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) spec: SpecId,
    pub(super) gas: &'a GasParams,
    /// Static gas of each instruction.
    pub(super) costs: &'a GasTable,
}

/// Traces a call. Returns the number of traced instructions, and the program if programs can do all that the call does.
pub(super) fn trace<S: StateAccess>(
    call: &Call<'_>,
    code: Bytecode,
    rules: Rules<'_>,
    codes: &mut CodeCache,
    program_state: &mut ProgramState<'_, S>,
) -> (usize, Option<Program>) {
    let mut tracer = Tracer {
        call,
        rules,
        codes,
        program_state,
        frame: Frame {
            code,
            account: 0,
            caller: 0,
            data: None,
            is_static: false,
            end: call.gas,
            stack: Vec::new(),
            memory: Vec::new(),
            returned: Vec::new(),
        },
        depth: 0,
        steps: 0,
        nodes: Nodes::default(),
        path: Path::default(),
        slot_of: HashMap::new(),
        expected: HashSet::new(),
        store_gas: 0,
    };
    let program = tracer.run();
    (tracer.steps, program)
}

struct Tracer<'a, 'b, S> {
    call: &'a Call<'a>,
    rules: Rules<'a>,
    codes: &'a mut CodeCache,
    program_state: &'a mut ProgramState<'b, S>,
    /// The running code. Its callers wait on the tracer's own stack.
    frame: Frame,
    depth: usize,
    steps: usize,
    nodes: Nodes,
    path: Path,
    /// By account and key; keys that are equal in this call share a slot.
    slot_of: HashMap<(usize, NodeId), usize>,
    /// The path's conditions on words.
    expected: HashSet<Action>,
    /// Gas of stores.
    store_gas: u64,
}

/// A running code.
#[derive(Debug)]
struct Frame {
    code: Bytecode,
    /// The account whose slots it uses.
    account: usize,
    caller: NodeId,
    /// Calldata; `None` for the transaction's.
    data: Option<Vec<Byte>>,
    /// Whether it must not change state (EIP-214).
    is_static: bool,
    /// The total gas charged at which it runs out.
    end: u64,
    stack: Vec<NodeId>,
    memory: Vec<Byte>,
    /// The output of the last code that it called.
    returned: Vec<Byte>,
}

impl<S: StateAccess> Tracer<'_, '_, S> {
    fn run(&mut self) -> Option<Program> {
        let target = self.nodes.input(Input::Target, self.call)?;
        self.path.accounts.push(target);
        self.frame.caller = self.nodes.input(Input::Caller, self.call)?;
        let output = self.trace_frame()?;
        self.path.output = self.nodes.data(&output)?;
        self.path.compile(&self.nodes)
    }

    /// Traces a frame's code to its end; returns its output.
    fn trace_frame(&mut self) -> Option<Vec<Byte>> {
        let bytecode = self.frame.code.clone();
        let code = bytecode.original_byte_slice();
        let jumps = bytecode.legacy_jump_table()?;
        let mut next = 0;
        loop {
            self.steps += 1;
            (self.steps <= STEPS_MAX).then_some(())?;
            let at = next;
            let instruction = code.get(at).copied().unwrap_or(opcode::STOP);
            next += 1;
            self.path.gas += u64::from(self.rules.costs[usize::from(instruction)]);
            match instruction {
                opcode::STOP => return Some(Vec::new()),
                opcode::RETURN => {
                    let [offset, length] = self.pop()?;
                    let (offset, length) = self.range(offset, length)?;
                    self.grow(offset, length)?;
                    return Some(self.bytes(offset, length));
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
                    let node = self.nodes.constant(U256::from_be_bytes(word))?;
                    self.push(node)?;
                }
                _ => self.step(instruction)?,
            }
        }
    }

    /// Traces an instruction without a jump.
    fn step(&mut self, instruction: u8) -> Option<()> {
        if let Some(operation) = Operation::of(instruction) {
            let from = self.frame.stack.len().checked_sub(operation.operands())?;
            let mut operands = self.frame.stack.split_off(from);
            operands.reverse();
            if operation == Operation::Exp {
                let power = self.fix(operands[1])?;
                self.path.gas += self.rules.gas.exp_cost(power);
                operands[1] = self.nodes.constant(power)?;
            }
            let node = self.nodes.apply(operation, operands)?;
            return self.push(node);
        }
        let input = match instruction {
            opcode::POP => {
                let [_] = self.pop()?;
                return Some(());
            }
            opcode::DUP1..=opcode::DUP16 => {
                let depth = usize::from(instruction - opcode::DUP1) + 1;
                let from = self.frame.stack.len().checked_sub(depth)?;
                return self.push(self.frame.stack[from]);
            }
            opcode::SWAP1..=opcode::SWAP16 => {
                let depth = usize::from(instruction - opcode::SWAP1) + 2;
                let top = self.frame.stack.len().checked_sub(1)?;
                let other = self.frame.stack.len().checked_sub(depth)?;
                self.frame.stack.swap(top, other);
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
            opcode::CALLDATACOPY | opcode::CODECOPY | opcode::RETURNDATACOPY => {
                return self.copy(instruction);
            }
            opcode::MCOPY => return self.move_memory(),
            opcode::CALL | opcode::DELEGATECALL | opcode::STATICCALL => {
                return self.call(instruction);
            }
            opcode::EXTCODESIZE => {
                let [account] = self.pop()?;
                let code = self.code_of(account)?.1;
                return self.push_number(code.len());
            }
            opcode::GAS => return self.gas_left(),
            opcode::SLOAD => {
                let [key] = self.pop()?;
                let cold = self.cold(self.rules.gas.cold_storage_additional_cost());
                let (slot, is_cold) = self.slot(key, self.path.gas + cold)?;
                if is_cold {
                    self.path.gas += cold;
                }
                return self.push(self.path.slots[slot].now);
            }
            opcode::SSTORE => return self.store(),
            opcode::LOG0..=opcode::LOG4 => return self.log(instruction - opcode::LOG0),
            opcode::CALLDATASIZE => return self.push_number(self.data_length()),
            opcode::CODESIZE => return self.push_number(self.frame.code.len()),
            opcode::MSIZE => return self.push_number(self.frame.memory.len()),
            opcode::RETURNDATASIZE => return self.push_number(self.frame.returned.len()),
            // No ether is sent.
            opcode::CALLVALUE => return self.push_number(0),
            opcode::CALLER => return self.push(self.frame.caller),
            opcode::ADDRESS => return self.push(self.path.accounts[self.frame.account]),
            opcode::ORIGIN => Input::Caller,
            opcode::GASPRICE => Input::GasPrice,
            opcode::CHAINID => Input::ChainId,
            opcode::BASEFEE => {
                self.rules.since(SpecId::LONDON)?;
                Input::BaseFee
            }
            opcode::COINBASE => Input::Beneficiary,
            opcode::DIFFICULTY if self.rules.since(SpecId::MERGE).is_some() => Input::Randomness,
            opcode::DIFFICULTY => Input::Difficulty,
            opcode::GASLIMIT => Input::BlockGasLimit,
            opcode::NUMBER => Input::Number,
            opcode::TIMESTAMP => Input::Timestamp,
            _ => return None,
        };
        let node = self.nodes.input(input, self.call)?;
        self.push(node)
    }

    /// The value of a word in this call, which becomes a condition of the path.
    fn fix(&mut self, node: NodeId) -> Option<U256> {
        let value = self.nodes.value(node);
        if !self.nodes.is_constant(node) {
            let constant = self.nodes.constant(value)?;
            self.compare(node, constant, true);
        }
        Some(value)
    }

    fn number(&mut self, node: NodeId) -> Option<usize> {
        usize::try_from(self.fix(node)?).ok()
    }

    /// Whether a word is not zero, which becomes a condition of the path.
    fn decide(&mut self, condition: NodeId) -> bool {
        let holds = !self.nodes.value(condition).is_zero();
        let (mut node, mut zero) = (condition, !holds);
        while let Kind::Apply(Operation::IsZero, operands) = &self.nodes[node].kind {
            node = operands[0];
            zero = !zero;
        }
        if !self.nodes.is_constant(node) {
            self.expect(Action::Expect { node, zero });
        }
        holds
    }

    fn compare(&mut self, a: NodeId, b: NodeId, same: bool) {
        if a != b && !(self.nodes.is_constant(a) && self.nodes.is_constant(b)) {
            let nodes = [a, b];
            self.expect(Action::Compare { nodes, same });
        }
    }

    fn expect(&mut self, action: Action) {
        if self.expected.insert(action.clone()) {
            self.path.actions.push(action);
        }
    }

    /// The word of calldata at an offset.
    fn calldata(&mut self, from: usize) -> Option<NodeId> {
        let length = self.data_length();
        if from >= length {
            return self.nodes.constant(U256::ZERO);
        }
        let Some(data) = &self.frame.data else {
            return self.nodes.input(Input::Data(from), self.call);
        };
        let bytes = data[from..length.min(from.saturating_add(32))].to_vec();
        self.nodes.word(&bytes)
    }

    fn data_length(&self) -> usize {
        let data = self.frame.data.as_ref();
        data.map_or(self.call.data.len(), Vec::len)
    }

    fn push(&mut self, node: NodeId) -> Option<()> {
        (self.frame.stack.len() < STACK_MAX).then(|| self.frame.stack.push(node))
    }

    fn push_number(&mut self, number: usize) -> Option<()> {
        let node = self.nodes.constant(U256::from(number))?;
        self.push(node)
    }

    /// Pops words from the stack, the topmost first.
    fn pop<const N: usize>(&mut self) -> Option<[NodeId; N]> {
        let from = self.frame.stack.len().checked_sub(N)?;
        let mut nodes = [0; N];
        nodes.copy_from_slice(&self.frame.stack[from..]);
        nodes.reverse();
        self.frame.stack.truncate(from);
        Some(nodes)
    }
}

impl Rules<'_> {
    fn since(&self, spec: SpecId) -> Option<()> {
        self.spec.is_enabled_in(spec).then_some(())
    }
}
