//! The work: accounts, then storage slots of 1,000 contracts; loaded, then changed block by block.
//!
//! Entries follow from their numbers and from the block that writes them, so the work takes no memory.

use crate::workload::mix;
use alloy_primitives::{Address, Bytes, U256};
use lockweave_runtime::{Account, Code, StateDelta};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Entries in a block while loading.
pub const LOAD_BLOCK: u64 = 250_000;
/// Contracts that have the slots.
pub const CONTRACTS: u64 = 1_000;
/// Fewest slots loaded, unless there are fewer accounts.
const SLOTS_MIN: u64 = 100_000;
/// Updates of existing entries in 100 changes of a block; the others are new entries.
const UPDATES_PERCENT: u64 = 80;
/// The contracts' code: what it does is of no account.
const CODE: &[u8] = &[0x5f, 0x35, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];

/// Which entries the blocks change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Accounts without storage.
    Accounts,
    /// Slots of contracts.
    Slots,
}

impl Phase {
    /// Both, in their order.
    pub const ALL: [Self; 2] = [Self::Accounts, Self::Slots];

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "accounts",
            Self::Slots => "slots",
        }
    }
}

/// The key of an entry.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// An account.
    Account(Address),
    /// A slot of a contract.
    Slot(Address, U256),
}

/// The changes so far.
#[derive(Clone, Debug)]
pub struct Work {
    /// Accounts loaded before the blocks.
    accounts_loaded: u64,
    /// Changes of a block.
    changes: u64,
    /// Accounts that exist, without contracts.
    accounts: u64,
    /// Contracts that exist.
    contracts: u64,
    /// Slots that exist.
    slots: u64,
    /// The next block's number.
    number: u64,
    random: u64,
}

impl Work {
    /// Nothing written yet; `entries` accounts will be loaded.
    pub const fn new(entries: u64, changes: u64) -> Self {
        Self {
            accounts_loaded: entries,
            changes,
            accounts: 0,
            contracts: 0,
            slots: 0,
            number: 0,
            random: 1,
        }
    }

    /// Accounts and slots that exist.
    pub const fn entries(&self) -> u64 {
        self.accounts + self.contracts + self.slots
    }

    /// Entries after both phases with this many blocks each.
    pub fn entries_after(&self, blocks: u64) -> u64 {
        let added = 2 * blocks * (self.changes - self.updates());
        self.accounts_loaded + CONTRACTS + self.slots_loaded() + added
    }

    /// The next block of a phase's load; `None` after the last.
    pub fn load(&mut self, phase: Phase) -> Option<(u64, StateDelta)> {
        let (start, loaded) = match phase {
            Phase::Accounts => (self.accounts, self.accounts_loaded),
            Phase::Slots => (self.slots, self.slots_loaded()),
        };
        let end = (start + LOAD_BLOCK).min(loaded);
        if start >= end {
            return None;
        }
        let mut delta = self.write(phase, start..end);
        if phase == Phase::Slots && self.contracts == 0 {
            self.create_contracts(&mut delta);
        }
        Some(self.number(delta))
    }

    /// The next block of updates and new entries.
    pub fn block(&mut self, phase: Phase) -> (u64, StateDelta) {
        let existing = self.existing(phase);
        let updates = self.updates();
        let mut chosen = BTreeSet::new();
        while (chosen.len() as u64) < updates.min(existing) {
            chosen.insert(self.draw() % existing);
        }
        let added = existing..existing + self.changes - updates;
        let delta = self.write(phase, chosen.into_iter().chain(added));
        self.number(delta)
    }

    /// The key of a random entry that exists.
    pub fn present(&mut self, phase: Phase) -> Key {
        let entry = self.draw() % self.existing(phase).max(1);
        match phase {
            Phase::Accounts => Key::Account(account_address(entry)),
            Phase::Slots => {
                let (address, slot) = slot_key(entry);
                Key::Slot(address, slot)
            }
        }
    }

    const fn existing(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Accounts => self.accounts,
            Phase::Slots => self.slots,
        }
    }

    const fn updates(&self) -> u64 {
        self.changes * UPDATES_PERCENT / 100
    }

    fn slots_loaded(&self) -> u64 {
        let tenth = self.accounts_loaded / 10;
        tenth.max(SLOTS_MIN.min(self.accounts_loaded))
    }

    const fn draw(&mut self) -> u64 {
        self.random = mix(self.random);
        self.random
    }

    const fn number(&mut self, delta: StateDelta) -> (u64, StateDelta) {
        let number = self.number;
        self.number += 1;
        (number, delta)
    }

    fn write(&mut self, phase: Phase, entries: impl Iterator<Item = u64>) -> StateDelta {
        let number = self.number;
        let mut delta = StateDelta::default();
        match phase {
            Phase::Accounts => {
                let account = |entry| (account_address(entry), Some(account(entry, number)));
                delta.accounts = entries
                    .inspect(|entry| self.accounts = self.accounts.max(entry + 1))
                    .map(account)
                    .collect();
            }
            Phase::Slots => {
                let slot = |entry| {
                    let (address, slot) = slot_key(entry);
                    (address, slot, slot_value(entry, number))
                };
                delta.slots = entries
                    .inspect(|entry| self.slots = self.slots.max(entry + 1))
                    .map(slot)
                    .collect();
            }
        }
        delta
    }

    fn create_contracts(&mut self, delta: &mut StateDelta) {
        let code = Arc::new(Code::new(Bytes::from_static(CODE)));
        let account = Account {
            nonce: 1,
            balance: U256::ZERO,
            code_hash: code.hash(),
        };
        delta.accounts = (0..CONTRACTS)
            .map(|contract| (contract_address(contract), Some(account)))
            .collect();
        delta.codes = vec![code];
        self.contracts = CONTRACTS;
    }
}

/// A word of 32 bytes that follows from a seed.
const fn word(seed: u64) -> U256 {
    let [a, b] = [mix(seed), mix(seed ^ 0x5bd1_e995)];
    U256::from_limbs([a, b, mix(a ^ b), mix(b)])
}

fn address(seed: u64) -> Address {
    Address::from_slice(&word(seed).to_be_bytes::<32>()[12..])
}

fn account_address(entry: u64) -> Address {
    address(entry ^ 0xaaaa_0000_0000_0000)
}

fn contract_address(contract: u64) -> Address {
    address(contract ^ 0xbbbb_0000_0000_0000)
}

/// An account as a block writes it: a nonce, and up to 2^70 wei.
fn account(entry: u64, number: u64) -> Account {
    let seed = mix(entry ^ (number << 40) ^ 0x77);
    Account {
        nonce: number,
        balance: U256::from(seed) << (mix(seed) % 7),
        ..Account::default()
    }
}

/// A slot's contract and its place in it.
fn slot_key(entry: u64) -> (Address, U256) {
    let contract = mix(entry ^ 0x55) % CONTRACTS;
    (contract_address(contract), word(entry))
}

/// A slot's value as a block writes it, never zero. One in four has 32 bytes; the others have 8, as balances do.
fn slot_value(entry: u64, number: u64) -> U256 {
    let seed = mix(entry ^ (number << 40) ^ 0x1234);
    let value = if seed.is_multiple_of(4) {
        word(seed)
    } else {
        U256::from(seed)
    };
    value | U256::ONE
}
