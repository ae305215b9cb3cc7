//! A compiled trace, and how it runs.

use super::operation::Operation;
use crate::machine::{Limits, SlotHashes};
use alloy_eips::eip2930::AccessList;
use alloy_primitives::{Address, B256, Bytes, Log, LogData, U256, keccak256};
use lockweave_runtime::{AccessMode, StateAccess, StateKey, WriteSet};
use revm::{
    context::BlockEnv,
    context_interface::{cfg::gas_params::GasParams, context::SStoreResult},
    primitives::AddressSet,
};
use std::ops::Range;

/// The place of a word while a program runs.
pub(super) type Register = u16;

/// A transaction's call, without ether.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) caller: Address,
    pub(crate) target: Address,
    pub(crate) data: &'a [u8],
    pub(crate) gas_price: u128,
    /// Gas for the code: the limit without the intrinsic gas.
    pub(crate) gas: u64,
    pub(crate) chain_id: u64,
    pub(crate) block: &'a BlockEnv,
    /// If any keys are warm from the start (EIP-2930), all slots that a program uses must be.
    pub(crate) listed: Option<&'a AccessList>,
    /// Whether the beneficiary is warm from the start (EIP-3651).
    pub(crate) warms_beneficiary: bool,
}

impl Call<'_> {
    /// Whether a slot is as warm from the start as programs for this call have it.
    pub(super) fn expects(&self, address: Address, slot: U256) -> bool {
        self.listed.is_none_or(|list| {
            let items = list.iter().filter(|item| item.address == address);
            let mut slots = items.flat_map(|item| &item.storage_keys);
            slots.any(|listed| *listed == B256::from(slot))
        })
    }

    /// Whether an account other than sender and target is warm from the start. Programs only ask for accounts with
    /// code, which are not precompiles.
    pub(super) fn is_warm(&self, address: Address) -> bool {
        let is_listed = |list: &AccessList| list.iter().any(|item| item.address == address);
        (self.warms_beneficiary && address == self.block.beneficiary)
            || self.listed.is_some_and(is_listed)
    }
}

/// A word that a call provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Input {
    Caller,
    Target,
    GasPrice,
    ChainId,
    BaseFee,
    Beneficiary,
    BlockGasLimit,
    Number,
    Timestamp,
    Difficulty,
    /// The random value that replaces it since the merge (EIP-4399).
    Randomness,
    /// The 32 bytes of calldata from this offset, padded with zeros.
    Data(usize),
}

impl Input {
    pub(super) fn of(self, call: &Call<'_>) -> U256 {
        let address = |address: Address| address.into_word().into();
        match self {
            Self::Caller => address(call.caller),
            Self::Target => address(call.target),
            Self::GasPrice => U256::from(call.gas_price),
            Self::ChainId => U256::from(call.chain_id),
            Self::BaseFee => U256::from(call.block.basefee),
            Self::Beneficiary => address(call.block.beneficiary),
            Self::BlockGasLimit => U256::from(call.block.gas_limit),
            Self::Number => call.block.number,
            Self::Timestamp => call.block.timestamp,
            Self::Difficulty => call.block.difficulty,
            Self::Randomness => call.block.prevrandao.unwrap_or_default().into(),
            Self::Data(from) => {
                let bytes = call.data.get(from..).unwrap_or_default();
                let Some(word) = bytes.first_chunk() else {
                    let mut word = [0; 32];
                    word[..bytes.len()].copy_from_slice(bytes);
                    return U256::from_be_bytes(word);
                };
                U256::from_be_bytes::<32>(*word)
            }
        }
    }

    /// How many of the lowest bits can be set.
    pub(super) const fn width(self) -> usize {
        match self {
            Self::Caller | Self::Target | Self::Beneficiary => 160,
            Self::GasPrice => 128,
            Self::ChainId | Self::BaseFee | Self::BlockGasLimit => 64,
            Self::Number
            | Self::Timestamp
            | Self::Difficulty
            | Self::Randomness
            | Self::Data(_) => 256,
        }
    }
}

/// Bytes made of words; the last word may count in part.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Words {
    pub(super) registers: Range<u32>,
    pub(super) bytes: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Instruction {
    Input {
        to: Register,
        input: Input,
    },
    Apply {
        operation: Operation,
        to: Register,
        operands: [Register; 3],
    },
    Hash {
        to: Register,
        words: Words,
    },
    /// Reads a slot, if the call has gas for all instructions and stores up to here: a call does not access what it
    /// has no gas for.
    Load {
        to: Register,
        account: Register,
        key: Register,
        gas: u64,
    },
    /// Continues only if a new account has this code and this warmth; reads it if the call has gas for that.
    Code {
        account: Register,
        hash: Box<B256>,
        is_warm: bool,
        gas: u64,
    },
    /// The gas left to the running code.
    GasLeft {
        to: Register,
        gas: u64,
    },
    /// Gives a called code its gas: the requested amount, at most 63/64 of what is left (EIP-150).
    Enter {
        wanted: Register,
        gas: u64,
    },
    /// Ends the called code, if it had enough gas.
    Leave {
        gas: u64,
    },
    /// Charges gas for writing a slot, by its original, present and new value.
    Store {
        slot: [Register; 3],
        is_cold: bool,
        /// Gas of everything before it, without stores.
        gas_before: u64,
    },
    /// Continues only if the word is zero, or is not.
    Expect {
        register: Register,
        zero: bool,
    },
    /// Continues only if both words are equal, or are not.
    Compare {
        registers: [Register; 2],
        same: bool,
    },
}

/// A slot that a program may change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) account: Register,
    pub(super) key: Register,
    pub(super) before: Register,
    pub(super) after: Register,
}

#[derive(Clone, Debug)]
pub(super) struct LogTemplate {
    pub(super) account: Register,
    pub(super) topics: Vec<Register>,
    pub(super) data: Words,
}

/// One execution path, without stack, memory and jumps.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) instructions: Vec<Instruction>,
    /// The registers of [`Words`].
    pub(super) words: Vec<Register>,
    /// Constants keep their values; all other registers are written before they are read.
    pub(super) registers: Vec<U256>,
    pub(super) changes: Vec<Change>,
    pub(super) logs: Vec<LogTemplate>,
    pub(super) output: Words,
    /// All gas except that of stores.
    pub(super) gas: u64,
    /// Scratch space for words.
    pub(super) buffer: Vec<u8>,
    /// Scratch space for the gas limit of each calling code, the innermost last.
    pub(super) ends: Vec<u64>,
}

/// The result of a call; its slots are in the write set.
#[derive(Debug)]
pub(crate) struct CallOutcome {
    pub(crate) gas: u64,
    pub(crate) refund: i64,
    pub(crate) logs: Vec<Log>,
    pub(crate) output: Bytes,
}

/// The state that a program runs on.
pub(crate) struct ProgramState<'a, S> {
    /// Precompiled contracts of the embedder, which may replace code.
    pub(crate) custom_precompiles: &'a AddressSet,
    pub(crate) limits: Option<&'a Limits>,
    pub(crate) hashes: &'a mut SlotHashes,
    pub(crate) state: &'a mut S,
    pub(crate) writes: &'a mut WriteSet,
}

impl<S: StateAccess> ProgramState<'_, S> {
    /// Whether the signed declaration, if there is one, allows an access.
    pub(super) fn allows(&self, key: StateKey, mode: AccessMode) -> bool {
        self.limits
            .is_none_or(|limits| limits.check(&key, mode).is_ok())
    }

    /// Whether a transaction may run a program: it may access what every call accesses, and its target is no custom
    /// precompiled contract.
    pub(super) fn allows_call(&self, caller: Address, target: Address) -> bool {
        self.allows(StateKey::code(target), AccessMode::Read)
            && self.allows(StateKey::code(caller), AccessMode::Read)
            && self.allows(StateKey::account(caller), AccessMode::Write)
            && !self.custom_precompiles.contains(&target)
    }

    /// Reads a slot, if the call may.
    fn load(&mut self, call: &Call<'_>, [account, key]: [U256; 2]) -> Option<U256> {
        let address = address_of(account);
        let allowed = self.allows(StateKey::slot(address, key), AccessMode::Read);
        if !allowed || !call.expects(address, key) {
            return None;
        }
        self.state.slot(address, key).ok()
    }

    fn hash(&mut self, bytes: &[u8]) -> U256 {
        match <&[u8; 64]>::try_from(bytes) {
            Ok(place) => {
                let known = self.state.known_hash(place);
                known.unwrap_or_else(|| self.hashes.hash(place))
            }
            Err(_) => keccak256(bytes).into(),
        }
    }

    fn has_code(&mut self, address: Address, hash: &B256) -> Option<bool> {
        if self.custom_precompiles.contains(&address)
            || !self.allows(StateKey::code(address), AccessMode::Read)
        {
            return None;
        }
        Some(self.state.code(address).ok()?.hash() == *hash)
    }
}

impl Program {
    #[cfg(test)]
    pub(super) fn of_size(registers: usize) -> Self {
        let no_words = Words {
            registers: 0..0,
            bytes: 0,
        };
        Self {
            instructions: Vec::new(),
            words: Vec::new(),
            registers: vec![U256::ZERO; registers],
            changes: Vec::new(),
            logs: Vec::new(),
            output: no_words,
            gas: 0,
            buffer: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Instructions and registers.
    pub(super) fn size(&self) -> usize {
        self.instructions.len() + self.registers.len()
    }

    /// Runs a call that takes this path and succeeds; otherwise returns `None` without effects.
    pub(super) fn run<S: StateAccess>(
        &mut self,
        call: &Call<'_>,
        rules: &GasParams,
        program_state: &mut ProgramState<'_, S>,
    ) -> Option<CallOutcome> {
        if self.gas > call.gas {
            return None;
        }
        let (store_gas, refund) = self.compute(call, rules, program_state)?;
        let gas = self.gas + store_gas;
        if gas > call.gas {
            return None;
        }
        let value = |register: &Register| self.registers[usize::from(*register)];
        program_state.writes.clear();
        for change in &self.changes {
            let (key, after) = (value(&change.key), value(&change.after));
            if after != value(&change.before) {
                let address = address_of(value(&change.account));
                if !program_state.allows(StateKey::slot(address, key), AccessMode::Write) {
                    return None;
                }
                program_state.writes.slots.push((address, key, after));
            }
        }
        let mut bytes = |words: &Words| {
            let bytes = gather(&self.registers, &self.words, words, &mut self.buffer);
            Bytes::copy_from_slice(bytes)
        };
        let logs = self.logs.iter().map(|log| {
            let topics = log.topics.iter().map(|topic| B256::from(value(topic)));
            Log {
                address: address_of(value(&log.account)),
                data: LogData::new_unchecked(topics.collect(), bytes(&log.data)),
            }
        });
        let logs = logs.collect();
        Some(CallOutcome {
            gas,
            refund,
            logs,
            output: bytes(&self.output),
        })
    }

    /// Fills the registers; returns the gas and the refund of stores, or `None` if the call takes another path or runs
    /// out of gas.
    fn compute<S: StateAccess>(
        &mut self,
        call: &Call<'_>,
        rules: &GasParams,
        program_state: &mut ProgramState<'_, S>,
    ) -> Option<(u64, i64)> {
        self.ends.clear();
        let mut end = call.gas;
        let mut store_gas = 0_u64;
        let mut refund = 0;
        for instruction in &self.instructions {
            let registers = &mut self.registers;
            match instruction {
                Instruction::Apply {
                    operation,
                    to,
                    operands: [a, b, c],
                } => {
                    let [a, b, c] = [a, b, c].map(|register| registers[usize::from(*register)]);
                    registers[usize::from(*to)] = operation.apply(a, b, c);
                }
                Instruction::Expect { register, zero } => {
                    if registers[usize::from(*register)].is_zero() != *zero {
                        return None;
                    }
                }
                Instruction::Input { to, input } => {
                    registers[usize::from(*to)] = input.of(call);
                }
                Instruction::Load {
                    to,
                    account,
                    key,
                    gas,
                } => {
                    if gas + store_gas > end {
                        return None;
                    }
                    let slot = [*account, *key].map(|register| registers[usize::from(register)]);
                    registers[usize::from(*to)] = program_state.load(call, slot)?;
                }
                Instruction::Code {
                    account,
                    hash,
                    is_warm,
                    gas,
                } => {
                    let address = address_of(registers[usize::from(*account)]);
                    let fits = *is_warm == call.is_warm(address) && gas + store_gas <= end;
                    if !fits || !program_state.has_code(address, hash)? {
                        return None;
                    }
                }
                Instruction::GasLeft { to, gas } => {
                    let left = end.checked_sub(gas + store_gas)?;
                    registers[usize::from(*to)] = U256::from(left);
                }
                Instruction::Enter { wanted, gas } => {
                    let used = gas + store_gas;
                    let most = rules.call_stipend_reduction(end.checked_sub(used)?);
                    self.ends.push(end);
                    let wanted = registers[usize::from(*wanted)].saturating_to::<u64>();
                    end = used + most.min(wanted);
                }
                Instruction::Leave { gas } => {
                    if gas + store_gas > end {
                        return None;
                    }
                    end = self.ends.pop()?;
                }
                Instruction::Hash { to, words } => {
                    let bytes = gather(registers, &self.words, words, &mut self.buffer);
                    registers[usize::from(*to)] = program_state.hash(bytes);
                }
                Instruction::Compare {
                    registers: [a, b],
                    same,
                } => {
                    if (registers[usize::from(*a)] == registers[usize::from(*b)]) != *same {
                        return None;
                    }
                }
                Instruction::Store {
                    slot,
                    is_cold,
                    gas_before,
                } => {
                    // EIP-2200: the gas left must exceed the stipend.
                    let left = end.checked_sub(gas_before + store_gas)?;
                    if left <= rules.call_stipend() {
                        return None;
                    }
                    let [original_value, present_value, new_value] =
                        slot.map(|register| registers[usize::from(register)]);
                    let values = SStoreResult {
                        original_value,
                        present_value,
                        new_value,
                    };
                    store_gas += rules.sstore_dynamic_gas(true, &values, *is_cold);
                    refund += rules.sstore_refund(true, &values);
                }
            }
        }
        Some((store_gas, refund))
    }
}

/// The address in the low bits of a word.
pub(super) fn address_of(word: U256) -> Address {
    Address::from_word(B256::from(word))
}

/// The bytes that words stand for.
fn gather<'a>(
    registers: &[U256],
    words: &[Register],
    wanted: &Words,
    buffer: &'a mut Vec<u8>,
) -> &'a [u8] {
    buffer.clear();
    let range = wanted.registers.start as usize..wanted.registers.end as usize;
    for register in &words[range] {
        let word: [u8; 32] = registers[usize::from(*register)].to_be_bytes();
        buffer.extend_from_slice(&word);
    }
    &buffer[..wanted.bytes]
}
