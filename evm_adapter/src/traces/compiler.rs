//! Compiles the path of a traced call to a program.

use super::{
    nodes::{Data, Kind, NodeId, Nodes},
    program::{Change, Instruction, LogTemplate, Program, Register, Words},
};
use alloy_primitives::B256;

/// A slot that the call uses.
#[derive(Debug)]
pub(super) struct Slot {
    /// Index among the accounts.
    pub(super) account: usize,
    pub(super) key: NodeId,
    pub(super) before: NodeId,
    pub(super) now: NodeId,
}

/// The conditions and accesses of a path, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Action {
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
    Code {
        account: usize,
        hash: B256,
        is_warm: bool,
        gas: u64,
    },
    GasLeft {
        node: NodeId,
        gas: u64,
    },
    Enter {
        wanted: NodeId,
        gas: u64,
    },
    Leave {
        gas: u64,
    },
    Store {
        /// Original, present and new.
        values: [NodeId; 3],
        is_cold: bool,
        gas_before: u64,
    },
}

/// The path that a call takes through its code.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// Accounts whose code or slots are used, the target first; they differ from each other in every call that takes
    /// this path.
    pub(super) accounts: Vec<NodeId>,
    pub(super) slots: Vec<Slot>,
    pub(super) actions: Vec<Action>,
    /// Account, topics and data.
    pub(super) logs: Vec<(usize, Vec<NodeId>, Data)>,
    pub(super) output: Data,
    /// Gas charged so far, without stores.
    pub(super) gas: u64,
}

impl Path {
    /// The program of the path.
    pub(super) fn compile(&self, nodes: &Nodes) -> Option<Program> {
        let mut compiler = Compiler {
            nodes,
            register_of: vec![None; nodes.len()],
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
                ends: Vec::new(),
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
                    let slot = &self.slots[*slot];
                    let (account, key) = (self.accounts[slot.account], slot.key);
                    let (account, key) = (compiler.register(account)?, compiler.register(key)?);
                    Instruction::Load {
                        to: compiler.new_register(slot.before)?,
                        account,
                        key,
                        gas: *gas,
                    }
                }
                Action::Code {
                    account,
                    hash,
                    is_warm,
                    gas,
                } => Instruction::Code {
                    account: compiler.register(self.accounts[*account])?,
                    hash: Box::new(*hash),
                    is_warm: *is_warm,
                    gas: *gas,
                },
                Action::GasLeft { node, gas } => Instruction::GasLeft {
                    to: compiler.new_register(*node)?,
                    gas: *gas,
                },
                Action::Enter { wanted, gas } => Instruction::Enter {
                    wanted: compiler.register(*wanted)?,
                    gas: *gas,
                },
                Action::Leave { gas } => Instruction::Leave { gas: *gas },
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
                account: compiler.register(self.accounts[slot.account])?,
                key: compiler.register(slot.key)?,
                before: compiler.register(slot.before)?,
                after: compiler.register(slot.now)?,
            };
            compiler.program.changes.push(change);
        }
        for (account, topics, data) in &self.logs {
            let account = compiler.register(self.accounts[*account])?;
            let topics = topics.iter().map(|topic| compiler.register(*topic));
            let template = LogTemplate {
                account,
                topics: topics.collect::<Option<_>>()?,
                data: compiler.words(data)?,
            };
            compiler.program.logs.push(template);
        }
        compiler.program.output = compiler.words(&self.output)?;
        Some(compiler.program)
    }
}

/// Assigns registers to nodes in the order in which they are needed; unneeded nodes are not computed.
struct Compiler<'a> {
    nodes: &'a Nodes,
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
            // These got their registers from their own instructions.
            Kind::Loaded(_) | Kind::GasLeft(..) => return None,
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
