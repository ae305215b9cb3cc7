//! Calls, code and slots.

use super::{ACCOUNTS_MAX, DEPTH_MAX, Frame, SLOTS_MAX, Tracer};
use crate::traces::{
    compiler::{Action, Slot},
    nodes::{Kind, NodeId},
    operation::Operation,
    program::address_of,
};
use alloy_primitives::U256;
use lockweave_runtime::{AccessMode, StateAccess, StateKey};
use revm::{
    bytecode::{Bytecode, opcode},
    context_interface::context::SStoreResult,
};
use std::mem;

impl<S: StateAccess> Tracer<'_, '_, S> {
    /// Traces a call of other code, without ether.
    pub(super) fn call(&mut self, instruction: u8) -> Option<()> {
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

        self.path.actions.push(Action::Enter {
            wanted,
            gas: self.path.gas,
        });
        let used = self.path.gas + self.store_gas;
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
                self.path.accounts[self.frame.account]
            },
            data: Some(self.bytes(from, length)),
            is_static: self.frame.is_static || instruction == opcode::STATICCALL,
            end: used + most.min(wanted),
            stack: Vec::new(),
            memory: Vec::new(),
            returned: Vec::new(),
        };
        let outer = mem::replace(&mut self.frame, inner);
        let returned = self.trace_frame()?;
        self.has_gas(self.path.gas)?;
        self.path.actions.push(Action::Leave { gas: self.path.gas });
        self.frame = outer;
        self.depth -= 1;

        let bytes = returned.len().min(space);
        self.frame.memory[to..][..bytes].copy_from_slice(&returned[..bytes]);
        self.frame.returned = returned;
        self.push_number(1)
    }

    /// An account by its address, and its code, which is read; charges gas if it is cold.
    pub(super) fn code_of(&mut self, address: NodeId) -> Option<(usize, Bytecode)> {
        let low = self.nodes.constant(U256::MAX >> 96)?;
        let node = self.nodes.apply(Operation::And, vec![address, low])?;
        let value = self.nodes.value(node);
        let same = |other: &NodeId| *other == node || self.nodes.value(*other) == value;
        let known = self.path.accounts.iter().position(same);
        let address = address_of(value);
        let custom_precompiles = self.program_state.custom_precompiles;
        (!custom_precompiles.contains(&address)).then_some(())?;
        if let Some(account) = known {
            self.compare(node, self.path.accounts[account], true);
            let code = self.program_state.state.code(address).ok()?;
            return Some((account, self.codes.get(code)));
        }
        let account = self.path.accounts.len();
        (account < ACCOUNTS_MAX).then_some(())?;
        for other in 0..account {
            self.compare(node, self.path.accounts[other], false);
        }
        self.path.accounts.push(node);
        let is_warm = self.call.is_warm(address);
        if !is_warm {
            self.path.gas += self.rules.gas.cold_account_additional_cost();
        }
        self.has_gas(self.path.gas)?;
        let allowed = self
            .program_state
            .allows(StateKey::code(address), AccessMode::Read);
        allowed.then_some(())?;
        let code = self.program_state.state.code(address).ok()?;
        // revm loads nonce and balance of an account without code.
        (!code.is_empty()).then_some(())?;
        self.path.actions.push(Action::Code {
            account,
            hash: code.hash(),
            is_warm,
            gas: self.path.gas,
        });
        Some((account, self.codes.get(code)))
    }

    pub(super) fn gas_left(&mut self) -> Option<()> {
        let gas = self.path.gas;
        let left = self.frame.end.checked_sub(gas + self.store_gas)?;
        let kind = Kind::GasLeft(gas, self.path.actions.len());
        let node = self.nodes.add(kind, U256::from(left), 64)?;
        self.path.actions.push(Action::GasLeft { node, gas });
        self.push(node)
    }

    /// Checks that the running code has the gas charged so far without stores.
    pub(super) fn has_gas(&self, gas: u64) -> Option<()> {
        (gas + self.store_gas <= self.frame.end).then_some(())
    }

    pub(super) fn store(&mut self) -> Option<()> {
        (!self.frame.is_static).then_some(())?;
        let [key, new] = self.pop()?;
        let gas_before = self.path.gas;
        self.path.gas += self.rules.gas.sstore_static_gas();
        // EIP-2200: there must be more gas than that.
        let stipend = self.rules.gas.call_stipend() + 1;
        let least = gas_before + stipend;
        self.has_gas(least)?;
        let (slot, is_cold) = self.slot(key, least)?;
        let slot = &mut self.path.slots[slot];
        let value = |node: NodeId| self.nodes.value(node);
        let values = SStoreResult {
            original_value: value(slot.before),
            present_value: value(slot.now),
            new_value: value(new),
        };
        let gas = self.rules.gas.sstore_dynamic_gas(true, &values, is_cold);
        self.store_gas += gas;
        self.path.actions.push(Action::Store {
            values: [slot.before, slot.now, new],
            is_cold,
            gas_before,
        });
        slot.now = new;
        Some(())
    }

    /// The gas of a cold slot, if slots are cold at their first use.
    pub(super) fn cold(&self, gas: u64) -> u64 {
        if self.call.listed.is_none() { gas } else { 0 }
    }

    /// The slot of a key, and whether it was cold. Its first use loads it, for which the call needs this much gas.
    pub(super) fn slot(&mut self, key: NodeId, gas: u64) -> Option<(usize, bool)> {
        let account = self.frame.account;
        if let Some(slot) = self.slot_of.get(&(account, key)) {
            return Some((*slot, false));
        }
        let value = self.nodes.value(key);
        let of_account = |slot: &Slot| slot.account == account;
        let same = |slot: &Slot| of_account(slot) && self.nodes.value(slot.key) == value;
        if let Some(slot) = self.path.slots.iter().position(same) {
            self.compare(key, self.path.slots[slot].key, true);
            self.slot_of.insert((account, key), slot);
            return Some((slot, false));
        }
        let slot = self.path.slots.len();
        (slot < SLOTS_MAX).then_some(())?;
        self.has_gas(gas)?;
        for other in 0..slot {
            if of_account(&self.path.slots[other]) {
                self.compare(key, self.path.slots[other].key, false);
            }
        }
        let address = address_of(self.nodes.value(self.path.accounts[account]));
        self.call.expects(address, value).then_some(())?;
        let slot_key = StateKey::slot(address, value);
        let allowed = self.program_state.allows(slot_key, AccessMode::Read);
        allowed.then_some(())?;
        let held = self.program_state.state.slot(address, value).ok()?;
        let before = self.nodes.add(Kind::Loaded(slot), held, 256)?;
        self.path.actions.push(Action::Load { slot, gas });
        self.path.slots.push(Slot {
            account,
            key,
            before,
            now: before,
        });
        self.slot_of.insert((account, key), slot);
        Some((slot, self.call.listed.is_none()))
    }
}
