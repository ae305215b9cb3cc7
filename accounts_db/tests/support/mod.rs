//! A model of the database in ordered maps, and random blocks for both.

// Every test binary uses a part of this module.
#![allow(dead_code)]

pub(crate) mod faulty;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use lockweave_accounts_db::{CommitError, Db, Reader, StateItem};
use lockweave_runtime::{Account, Code, StateDelta};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, error::Error, sync::Arc};

/// A state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelState {
    pub(crate) accounts: BTreeMap<Address, Account>,
    pub(crate) slots: BTreeMap<(Address, U256), U256>,
}

impl ModelState {
    /// Applies a block's changes.
    pub(crate) fn apply(&mut self, delta: &StateDelta) {
        for address in &delta.cleared {
            self.slots.retain(|(owner, _), _| owner != address);
        }
        for (address, slot, value) in &delta.slots {
            if value.is_zero() {
                self.slots.remove(&(*address, *slot));
            } else {
                self.slots.insert((*address, *slot), *value);
            }
        }
        for (address, account) in &delta.accounts {
            match account {
                Some(account) => self.accounts.insert(*address, *account),
                None => self.accounts.remove(address),
            };
        }
    }

    /// The state root, computed from nothing by another implementation.
    pub(crate) fn state_root(&self) -> B256 {
        let mut storages: BTreeMap<Address, Vec<(B256, U256)>> = BTreeMap::new();
        for ((address, slot), value) in &self.slots {
            let slots = storages.entry(*address).or_default();
            slots.push((B256::from(*slot), *value));
        }
        state_root_unhashed(self.accounts.iter().map(|(address, account)| {
            let slots = storages.remove(address).unwrap_or_default();
            let account = TrieAccount {
                nonce: account.nonce,
                balance: account.balance,
                storage_root: storage_root_unhashed(slots),
                code_hash: account.code_hash,
            };
            (*address, account)
        }))
    }
}

/// A block of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelBlock {
    pub(crate) number: u64,
    pub(crate) state: ModelState,
    pub(crate) payload: Vec<u8>,
    pub(crate) hash: B256,
    pub(crate) state_root: B256,
}

/// The size of random blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) accounts: u8,
    pub(crate) slots: u64,
    pub(crate) changes: usize,
    pub(crate) payload_bytes: usize,
}

pub(crate) const SMALL: Shape = Shape {
    accounts: 12,
    slots: 24,
    changes: 24,
    payload_bytes: 600,
};

/// Generates random blocks.
pub(crate) struct Generator {
    pub(crate) random: StdRng,
    pub(crate) shape: Shape,
}

impl Generator {
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            shape,
        }
    }

    fn address(&mut self) -> Address {
        Address::repeat_byte(self.random.random_range(1..=self.shape.accounts))
    }

    /// The next block on `state`.
    pub(crate) fn block(&mut self, number: u64, state: &ModelState) -> (StateDelta, ModelBlock) {
        let mut accounts = BTreeMap::new();
        let mut slots = BTreeMap::new();
        let mut delta = StateDelta::default();
        let changes = self.random.random_range(0..=self.shape.changes);
        if self.random.random_bool(0.1) {
            let address = self.address();
            delta.cleared.push(address);
            accounts.insert(address, None);
        }
        for _ in 0..changes {
            let address = self.address();
            if self.random.random_bool(0.3) {
                accounts.insert(address, self.account(&mut delta));
            } else {
                let slot = U256::from(self.random.random_range(0..self.shape.slots));
                let value = match self.random.random_range(0..4_u8) {
                    0 => U256::ZERO,
                    1 => U256::MAX - U256::from(number),
                    _ => U256::from(self.random.random::<u64>()),
                };
                slots.insert((address, slot), value);
            }
        }
        for ((address, slot), value) in slots {
            let is_wiped = delta.cleared.contains(&address);
            // A delta does not contain the zero slots of an account whose storage is cleared.
            if !(is_wiped && value.is_zero()) {
                delta.slots.push((address, slot, value));
            }
        }
        delta.accounts = accounts.into_iter().collect();
        let mut payload = vec![0; self.random.random_range(0..=self.shape.payload_bytes)];
        self.random.fill(&mut payload[..]);
        let mut state = state.clone();
        state.apply(&delta);
        let block = ModelBlock {
            number,
            state_root: state.state_root(),
            state,
            payload,
            hash: keccak256(number.to_be_bytes()),
        };
        (delta, block)
    }

    fn account(&mut self, delta: &mut StateDelta) -> Option<Account> {
        if self.random.random_bool(0.2) {
            return None;
        }
        let mut account = Account {
            nonce: self.random.random_range(0..5),
            balance: U256::from(self.random.random_range(0..9_u64)),
            ..Account::default()
        };
        if self.random.random_bool(0.2) {
            let bytes = vec![self.random.random::<u8>() % 8; self.random.random_range(1..300)];
            let code = Arc::new(Code::new(Bytes::from(bytes)));
            account.code_hash = code.hash();
            if delta.codes.iter().all(|known| known.hash() != code.hash()) {
                delta.codes.push(code);
            }
        }
        Some(account)
    }
}

/// The result of a comparison: the first difference, or why a read failed.
pub(crate) type Checked = Result<(), Box<dyn Error>>;

/// Compares a reader with a state: what it contains and what it does not.
pub(crate) fn check_state(reader: &Reader, shape: Shape, state: &ModelState) -> Checked {
    let wrong = |what: String| Err(format!("block {}: {what}", reader.number()).into());
    for byte in 1..=shape.accounts {
        let address = Address::repeat_byte(byte);
        let account = reader.account(address)?;
        if account != state.accounts.get(&address).copied() {
            return wrong(format!("account {address} is {account:?}"));
        }
        let mut count = 0;
        let all: Vec<(Address, U256)> = (0..shape.slots)
            .map(|slot| (address, U256::from(slot)))
            .collect();
        let at_once = reader.read_slots(&all)?;
        for ((_, slot), value) in all.iter().zip(&at_once) {
            if *value != (state.slots.get(&(address, *slot)).copied()).unwrap_or_default() {
                return wrong(format!(
                    "slot {slot} of {address} read with others is {value}"
                ));
            }
        }
        if at_once.len() != all.len() {
            return wrong(format!("{} of {} slots", at_once.len(), all.len()));
        }
        for slot in 0..shape.slots {
            let slot = U256::from(slot);
            let value = reader.slot(address, slot)?;
            let expected = state
                .slots
                .get(&(address, slot))
                .copied()
                .unwrap_or_default();
            if value != expected {
                return wrong(format!(
                    "slot {slot} of {address} is {value}, not {expected}"
                ));
            }
            count += u64::from(!value.is_zero());
        }
        let counted = reader.slot_count(address)?;
        if counted != count {
            return wrong(format!("{address} has {count} slots, counted {counted}"));
        }
        if let Some(account) = account
            && account.code_hash != alloy_primitives::KECCAK256_EMPTY
        {
            let code = reader.code(account.code_hash)?;
            match code {
                Some(code) if keccak256(code.bytes()) == account.code_hash => {}
                other => return wrong(format!("code of {address} is {other:?}")),
            }
        }
    }
    Ok(())
}

/// The state after the newest of these blocks.
pub(crate) fn newest_state(blocks: &[ModelBlock]) -> ModelState {
    (blocks.last()).map_or_else(ModelState::default, |block| block.state.clone())
}

/// Commits another block.
pub(crate) fn commit(
    db: &Db,
    generator: &mut Generator,
    blocks: &mut Vec<ModelBlock>,
) -> Result<(), CommitError> {
    let (delta, block) = generator.block(blocks.len() as u64, &newest_state(blocks));
    let prepared = db.prepare(block.number, &delta)?;
    db.commit_prepared(prepared, block.hash, &block.payload)?;
    blocks.push(block);
    Ok(())
}

/// Commits `count` more blocks.
pub(crate) fn extend(
    db: &Db,
    generator: &mut Generator,
    blocks: &mut Vec<ModelBlock>,
    count: usize,
) {
    for _ in 0..count {
        commit(db, generator, blocks).expect("a sound medium with space");
    }
}

/// Compares the whole database with blocks, the newest last; skips blocks that are no longer
/// readable.
pub(crate) fn check_db(db: &Db, shape: Shape, blocks: &[ModelBlock]) -> Checked {
    let newest = blocks.last().map(|block| block.number);
    let latest = db.latest().map(|block| block.number);
    if newest != latest {
        return Err(format!("the newest block is {latest:?}, not {newest:?}").into());
    }
    let oldest = db.oldest().unwrap_or(0);
    for block in blocks {
        let payload = db.payload(block.number)?;
        if payload.unwrap_or_default()[..] != block.payload[..] {
            return Err(format!("payload of block {} differs", block.number).into());
        }
        if block.number < oldest {
            continue;
        }
        let reader = db.reader_at(block.number)?;
        if reader.state_root() != block.state_root {
            return Err(format!("state_root of block {} differs", block.number).into());
        }
        if reader.hash_of(block.number) != Some(block.hash) {
            return Err(format!("hash of block {} differs", block.number).into());
        }
        check_state(&reader, shape, &block.state)?;
    }
    if let Some(block) = blocks.last() {
        check_whole(db, block)?;
    }
    Ok(())
}

/// Compares iteration and the recomputed state root with the newest block.
pub(crate) fn check_whole(db: &Db, block: &ModelBlock) -> Checked {
    let reader = db.reader_latest()?;
    let mut found = ModelState::default();
    for item in reader.items() {
        match item? {
            StateItem::Account(address, account) => {
                if found.accounts.insert(address, account).is_some() {
                    return Err(format!("account {address} comes twice").into());
                }
            }
            StateItem::Slot(address, slot, value) => {
                if found.slots.insert((address, slot), value).is_some() {
                    return Err(format!("slot {slot} of {address} comes twice").into());
                }
            }
        }
    }
    if found != block.state {
        return Err(format!("iteration differs from block {}", block.number).into());
    }
    if db.recompute(|_, _| {})?.state_root != block.state_root {
        return Err("the state root of all accounts differs".into());
    }
    Ok(())
}
