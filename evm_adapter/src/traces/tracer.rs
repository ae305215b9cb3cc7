//! Follows one call through its code, and compiles the way it took.
//!
//! The machine's stack and memory hold what words are made of (`Node`) in place of the words. Where the way
//! depends on a word, the program expects the same of it.

use super::{
    compiler::{Action, Slot, Way},
    nodes::{Byte, Kind, NodeId, Nodes},
    operation::Operation,
    program::{Call, Ground, Input, Program, address_of},
};
use crate::machine::CodeCache;
use alloy_primitives::U256;
use lockweave_runtime::{AccessMode, StateAccess, StateKey};
use revm::{
    bytecode::{Bytecode, opcode},
    context_interface::{cfg::gas_params::GasParams, context::SStoreResult},
    interpreter::instructions::GasTable,
    primitives::hardfork::SpecId,
};
use std::{
    collections::{HashMap, HashSet},
    mem,
};

/// Instructions that a trace goes through at most.
const STEPS_MAX: usize = 32_768;
/// Bytes of memory.
const MEMORY_MAX: usize = 16_384;
/// Slots; the keys of any two are compared.
const SLOTS_MAX: usize = 48;
/// Accounts; any two are compared.
const ACCOUNTS_MAX: usize = 12;
/// Calls within calls.
const DEPTH_MAX: usize = 16;
/// The machine's limit.
const STACK_MAX: usize = 1_024;

/// What a block's fork says about the machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) spec: SpecId,
    pub(super) gas: &'a GasParams,
    /// What each instruction takes whatever it works on.
    pub(super) costs: &'a GasTable,
}

/// Compiles the way that a call takes through its code, if it does nothing that programs cannot; and says how many
/// instructions that were.
pub(super) fn trace<S: StateAccess>(
    call: &Call<'_>,
    code: Bytecode,
    rules: Rules<'_>,
    codes: &mut CodeCache,
    ground: &mut Ground<'_, S>,
) -> (usize, Option<Program>) {
    let mut tracer = Tracer {
        call,
        rules,
        codes,
        ground,
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
        way: Way::default(),
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
    ground: &'a mut Ground<'b, S>,
    /// The code that runs. Who called it waits on the tracer's own stack.
    frame: Frame,
    depth: usize,
    steps: usize,
    nodes: Nodes,
    way: Way,
    /// By account and key; keys that are the same in this call share a slot.
    slot_of: HashMap<(usize, NodeId), usize>,
    /// What of the way is about words.
    expected: HashSet<Action>,
    /// What stores took.
    store_gas: u64,
}

/// A code that runs.
#[derive(Debug)]
struct Frame {
    code: Bytecode,
    /// Whose slots it uses.
    account: usize,
    caller: NodeId,
    /// What it was called with; the transaction's, if it says nothing else.
    data: Option<Vec<Byte>>,
    /// Whether it may change anything (EIP-214).
    is_static: bool,
    /// The gas at which it has none left.
    end: u64,
    stack: Vec<NodeId>,
    memory: Vec<Byte>,
    /// What the last code that it called returned.
    returned: Vec<Byte>,
}

impl<S: StateAccess> Tracer<'_, '_, S> {
    fn run(&mut self) -> Option<Program> {
        let target = self.nodes.input(Input::Target, self.call)?;
        self.way.accounts.push(target);
        self.frame.caller = self.nodes.input(Input::Caller, self.call)?;
        let output = self.follow()?;
        self.way.output = self.nodes.data(&output)?;
        self.way.compile(&self.nodes)
    }

    /// Goes through a frame's code to its end; returns what it returns.
    fn follow(&mut self) -> Option<Vec<Byte>> {
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
            self.way.gas += u64::from(self.rules.costs[usize::from(instruction)]);
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

    /// An instruction that the next one in the code follows.
    fn step(&mut self, instruction: u8) -> Option<()> {
        if let Some(operation) = Operation::of(instruction) {
            let from = self.frame.stack.len().checked_sub(operation.operands())?;
            let mut operands = self.frame.stack.split_off(from);
            operands.reverse();
            if operation == Operation::Exp {
                let power = self.fix(operands[1])?;
                self.way.gas += self.rules.gas.exp_cost(power);
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
                let (slot, is_cold) = self.slot(key, self.way.gas + cold)?;
                if is_cold {
                    self.way.gas += cold;
                }
                return self.push(self.way.slots[slot].now);
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
            opcode::ADDRESS => return self.push(self.way.accounts[self.frame.account]),
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

    fn memory_step(&mut self, instruction: u8) -> Option<()> {
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
                self.way.gas += self.rules.gas.keccak256_cost(length);
                self.grow(offset, length)?;
                let bytes = self.bytes(offset, length);
                let node = self.nodes.hash(&bytes)?;
                self.push(node)
            }
        }
    }

    fn copy(&mut self, instruction: u8) -> Option<()> {
        let [to, from, length] = self.pop()?;
        let from = self.fix(from)?.saturating_to::<usize>();
        let (to, length) = self.range(to, length)?;
        self.way.gas += self.rules.gas.copy_cost(length);
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

    fn move_memory(&mut self) -> Option<()> {
        self.rules.since(SpecId::CANCUN)?;
        let [to, from, length] = self.pop()?;
        let length = self.number(length)?;
        self.way.gas += self.rules.gas.mcopy_cost(length);
        if length == 0 {
            return Some(());
        }
        let (to, from) = (self.number(to)?, self.number(from)?);
        self.grow(to.max(from), length)?;
        self.frame.memory.copy_within(from..from + length, to);
        Some(())
    }

    /// Follows a call of other code, without ether, to its end.
    fn call(&mut self, instruction: u8) -> Option<()> {
        let [wanted, account] = self.pop()?;
        if instruction == opcode::CALL {
            let [value] = self.pop()?;
            self.fix(value)?.is_zero().then_some(())?;
        }
        let [from, length, to, space] = self.pop()?;
        let (from, length) = self.range(from, length)?;
        self.grow(from, length)?;
        let (to, space) = self.range(to, space)?;
        self.grow(to, space)?;
        let (account, code) = self.code_of(account)?;
        self.depth += 1;
        (self.depth <= DEPTH_MAX).then_some(())?;

        self.way.actions.push(Action::Enter {
            wanted,
            gas: self.way.gas,
        });
        let used = self.way.gas + self.store_gas;
        let left = self.frame.end.checked_sub(used)?;
        let most = self.rules.gas.call_stipend_reduction(left);
        let wanted = self.nodes.value(wanted).saturating_to::<u64>();
        let is_delegated = instruction == opcode::DELEGATECALL;
        let inner = Frame {
            code,
            account: if is_delegated {
                self.frame.account
            } else {
                account
            },
            caller: if is_delegated {
                self.frame.caller
            } else {
                self.way.accounts[self.frame.account]
            },
            data: Some(self.bytes(from, length)),
            is_static: self.frame.is_static || instruction == opcode::STATICCALL,
            end: used + most.min(wanted),
            stack: Vec::new(),
            memory: Vec::new(),
            returned: Vec::new(),
        };
        let outer = mem::replace(&mut self.frame, inner);
        let returned = self.follow()?;
        self.has_gas(self.way.gas)?;
        self.way.actions.push(Action::Leave { gas: self.way.gas });
        self.frame = outer;
        self.depth -= 1;

        let bytes = returned.len().min(space);
        self.frame.memory[to..][..bytes].copy_from_slice(&returned[..bytes]);
        self.frame.returned = returned;
        self.push_number(1)
    }

    /// An account by its address, and its code, which is looked at; takes gas if it was cold.
    fn code_of(&mut self, address: NodeId) -> Option<(usize, Bytecode)> {
        let low = self.nodes.constant(U256::MAX >> 96)?;
        let node = self.nodes.apply(Operation::And, vec![address, low])?;
        let value = self.nodes.value(node);
        let same = |other: &NodeId| *other == node || self.nodes.value(*other) == value;
        let known = self.way.accounts.iter().position(same);
        let address = address_of(value);
        if let Some(account) = known {
            self.compare(node, self.way.accounts[account], true);
            let code = self.ground.state.code(address).ok()?;
            return Some((account, self.codes.get(code)));
        }
        let account = self.way.accounts.len();
        (account < ACCOUNTS_MAX).then_some(())?;
        for other in 0..account {
            self.compare(node, self.way.accounts[other], false);
        }
        self.way.accounts.push(node);
        let is_warm = self.call.is_warm(address);
        if !is_warm {
            self.way.gas += self.rules.gas.cold_account_additional_cost();
        }
        self.has_gas(self.way.gas)?;
        let allowed = self
            .ground
            .allows(StateKey::code(address), AccessMode::Read);
        allowed.then_some(())?;
        let code = self.ground.state.code(address).ok()?;
        // At an account without code revm looks as a whole.
        (!code.is_empty()).then_some(())?;
        self.way.actions.push(Action::Code {
            account,
            hash: code.hash(),
            is_warm,
            gas: self.way.gas,
        });
        Some((account, self.codes.get(code)))
    }

    fn gas_left(&mut self) -> Option<()> {
        let gas = self.way.gas;
        let left = self.frame.end.checked_sub(gas + self.store_gas)?;
        let kind = Kind::GasLeft(gas, self.way.actions.len());
        let node = self.nodes.add(kind, U256::from(left), 64)?;
        self.way.actions.push(Action::GasLeft { node, gas });
        self.push(node)
    }

    /// Whether the code that runs has the gas that has been taken until now but by stores.
    fn has_gas(&self, gas: u64) -> Option<()> {
        (gas + self.store_gas <= self.frame.end).then_some(())
    }

    fn store(&mut self) -> Option<()> {
        (!self.frame.is_static).then_some(())?;
        let [key, new] = self.pop()?;
        let gas_before = self.way.gas;
        self.way.gas += self.rules.gas.sstore_static_gas();
        // EIP-2200: there must be more gas than that.
        let stipend = self.rules.gas.call_stipend() + 1;
        let least = gas_before + stipend;
        self.has_gas(least)?;
        let (slot, is_cold) = self.slot(key, least)?;
        let slot = &mut self.way.slots[slot];
        let value = |node: NodeId| self.nodes.value(node);
        let values = SStoreResult {
            original_value: value(slot.before),
            present_value: value(slot.now),
            new_value: value(new),
        };
        let gas = self.rules.gas.sstore_dynamic_gas(true, &values, is_cold);
        self.store_gas += gas;
        self.way.actions.push(Action::Store {
            values: [slot.before, slot.now, new],
            is_cold,
            gas_before,
        });
        slot.now = new;
        Some(())
    }

    fn log(&mut self, topics: u8) -> Option<()> {
        (!self.frame.is_static).then_some(())?;
        let [offset, length] = self.pop()?;
        let (offset, length) = self.range(offset, length)?;
        self.way.gas += self.rules.gas.log_cost(topics, u64::try_from(length).ok()?);
        self.grow(offset, length)?;
        let bytes = self.bytes(offset, length);
        let data = self.nodes.data(&bytes)?;
        let from = self.frame.stack.len().checked_sub(usize::from(topics))?;
        let mut topics = self.frame.stack.split_off(from);
        topics.reverse();
        self.way.logs.push((self.frame.account, topics, data));
        Some(())
    }

    /// What a cold slot takes, where slots that are used for the first time are cold.
    fn cold(&self, gas: u64) -> u64 {
        if self.call.listed.is_none() { gas } else { 0 }
    }

    /// The slot of a key, which is loaded at its first use, for which the call must have this much gas; and whether
    /// it was cold until now.
    fn slot(&mut self, key: NodeId, gas: u64) -> Option<(usize, bool)> {
        let account = self.frame.account;
        if let Some(slot) = self.slot_of.get(&(account, key)) {
            return Some((*slot, false));
        }
        let value = self.nodes.value(key);
        let of_account = |slot: &Slot| slot.account == account;
        let same = |slot: &Slot| of_account(slot) && self.nodes.value(slot.key) == value;
        if let Some(slot) = self.way.slots.iter().position(same) {
            self.compare(key, self.way.slots[slot].key, true);
            self.slot_of.insert((account, key), slot);
            return Some((slot, false));
        }
        let slot = self.way.slots.len();
        (slot < SLOTS_MAX).then_some(())?;
        self.has_gas(gas)?;
        for other in 0..slot {
            if of_account(&self.way.slots[other]) {
                self.compare(key, self.way.slots[other].key, false);
            }
        }
        let address = address_of(self.nodes.value(self.way.accounts[account]));
        self.call.expects(address, value).then_some(())?;
        let slot_key = StateKey::slot(address, value);
        let allowed = self.ground.allows(slot_key, AccessMode::Read);
        allowed.then_some(())?;
        let held = self.ground.state.slot(address, value).ok()?;
        let before = self.nodes.add(Kind::Loaded(slot), held, 256)?;
        self.way.actions.push(Action::Load { slot, gas });
        self.way.slots.push(Slot {
            account,
            key,
            before,
            now: before,
        });
        self.slot_of.insert((account, key), slot);
        Some((slot, self.call.listed.is_none()))
    }

    fn bytes(&self, offset: usize, length: usize) -> Vec<Byte> {
        let bytes = self.frame.memory.iter().skip(offset);
        bytes.take(length).copied().collect()
    }

    /// Memory up to the end of a range, which costs gas.
    fn grow(&mut self, offset: usize, length: usize) -> Option<()> {
        if length == 0 {
            return Some(());
        }
        let end = offset.checked_add(length)?;
        (end <= MEMORY_MAX).then_some(())?;
        let (words, had) = (end.div_ceil(32), self.frame.memory.len() / 32);
        if words > had {
            let cost = |words| self.rules.gas.memory_cost(words);
            self.way.gas += cost(words) - cost(had);
            let zero = self.nodes.constant(U256::ZERO)?;
            self.frame.memory.resize(words * 32, (zero, 0));
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

    /// Whether a word is other than zero, which from here on it is in every call that goes this way.
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
            self.way.actions.push(action);
        }
    }

    /// The word of calldata from here on.
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

    /// What stands on top of the stack, the topmost first.
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
