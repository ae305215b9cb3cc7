//! From changed entries to changed leaves.
//!
//! The trie has the accounts that exist, each with its nonzero slots. The database may have slots of
//! accounts that do not exist; they are part of the trie once their account is created.

use super::source::TrieSource;
use crate::{
    error::ReadError,
    log::{
        Key, Location,
        entry::{AccountRecord, Value},
    },
    shared::Core,
};
use ahash::{AHashMap, AHashSet};
use alloy_primitives::{Address, U256};
use lockweave_runtime::Account;
use lockweave_state_trie::{AccountChange, Changes, Prepared, SlotChange};

/// A changed account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccountTouch {
    pub(crate) address: Address,
    pub(crate) id: u64,
    pub(crate) before: AccountRecord,
    pub(crate) after: AccountRecord,
}

/// A changed slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotTouch {
    pub(crate) address: Address,
    pub(crate) slot: U256,
    pub(crate) id: u64,
    pub(crate) before: U256,
    pub(crate) after: U256,
}

/// Changed accounts and slots, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) accounts: Vec<AccountTouch>,
    pub(crate) slots: Vec<SlotTouch>,
}

impl Touched {
    /// Adds the change of a key.
    pub(crate) fn push(&mut self, key: &Key, id: u64, before: Option<Value>, after: Option<Value>) {
        match *key {
            Key::Account(address) => self.accounts.push(AccountTouch {
                address,
                id,
                before: Value::record(before),
                after: Value::record(after),
            }),
            Key::Slot(address, slot) => self.slots.push(SlotTouch {
                address,
                slot: slot.into(),
                id,
                before: Value::word(before),
                after: Value::word(after),
            }),
            Key::Code(_) => {}
        }
    }

    /// The changes the other way round.
    pub(super) fn reversed(mut self) -> Self {
        for touch in &mut self.accounts {
            std::mem::swap(&mut touch.before, &mut touch.after);
        }
        for touch in &mut self.slots {
            std::mem::swap(&mut touch.before, &mut touch.after);
        }
        self
    }
}

fn value_of(account: Account) -> (u64, U256, alloy_primitives::B256) {
    (account.nonce, account.balance, account.code_hash)
}

impl Core {
    /// The state trie after these changes.
    pub(crate) fn prepare_touched(&self, touched: Vec<Touched>) -> Result<Prepared, ReadError> {
        let changes = self.trie_changes(touched)?;
        let source = TrieSource::new(self);
        let threads = self.workers.count();
        (self.workers).install(|| self.trie.prepare(&changes, &source, threads))
    }

    /// The changes of the trie, given those of the database. Keys that are not among them have the same
    /// value before and after.
    pub(super) fn trie_changes(&self, mut touched: Vec<Touched>) -> Result<Changes, ReadError> {
        let table = self.segments();
        let mut known: AHashMap<Address, [AccountRecord; 2]> = AHashMap::new();
        if touched.iter().any(|part| !part.slots.is_empty()) {
            let accounts = touched.iter().flat_map(|part| &part.accounts);
            known.extend(accounts.map(|it| (it.address, [it.before, it.after])));
            let mut owners = Touched::default();
            for slot in touched.iter().flat_map(|part| &part.slots) {
                if known.contains_key(&slot.address) {
                    continue;
                }
                let key = Key::Account(slot.address);
                let id = self.hasher.hash(&key);
                let record = self.find_value(&table, id, &key)?;
                let record = record.map(|(_, value)| value);
                known.insert(slot.address, [Value::record(record); 2]);
                owners.push(&key, id, record, record);
            }
            touched.push(owners);
        }
        let mut changes = Changes::default();
        let count = touched.iter().map(|part| part.accounts.len()).sum();
        changes.accounts.reserve_exact(count);
        // Accounts that come or go with slots that did not change, and whether they go.
        let mut whole: AHashMap<Address, bool> = AHashMap::new();
        for touch in touched.iter().flat_map(|part| &part.accounts) {
            let (before, after) = (&touch.before, &touch.after);
            match (before.account, after.account) {
                (None, None) => continue,
                (None, Some(_)) if before.slots > 0 => drop(whole.insert(touch.address, false)),
                (Some(_), None) if after.slots > 0 => drop(whole.insert(touch.address, true)),
                _ => {}
            }
            changes.accounts.push(AccountChange {
                address: touch.address,
                id: touch.id,
                existed: before.account.is_some(),
                account: after.account.map(value_of),
            });
        }
        for slot in touched.iter().flat_map(|part| &part.slots) {
            let [before, after] = &known[&slot.address];
            let existed = before.account.is_some() && !slot.before.is_zero();
            let value = match after.account {
                Some(_) => slot.after,
                None => U256::ZERO,
            };
            changes.slots.push(SlotChange {
                address: slot.address,
                slot: slot.slot,
                id: slot.id,
                existed,
                value,
            });
        }
        if !whole.is_empty() {
            self.add_whole_storages(&touched, &whole, &mut changes)?;
        }
        Ok(changes)
    }

    /// Adds the slots that did not change of accounts that come or go.
    fn add_whole_storages(
        &self,
        touched: &[Touched],
        whole: &AHashMap<Address, bool>,
        changes: &mut Changes,
    ) -> Result<(), ReadError> {
        let table = self.segments();
        let slots = touched.iter().flat_map(|part| &part.slots);
        let seen: AHashSet<(Address, U256)> = slots.map(|slot| (slot.address, slot.slot)).collect();
        let addresses: Vec<Address> = whole.keys().copied().collect();
        for (address, slot) in self.slots_of(&addresses)? {
            if seen.contains(&(address, slot)) {
                continue;
            }
            let key = Key::slot(address, slot);
            let id = self.hasher.hash(&key);
            let value = self.find_value(&table, id, &key)?;
            let value = Value::word(value.map(|(_, value)| value));
            let is_removed = whole[&address];
            changes.slots.push(SlotChange {
                address,
                slot,
                id,
                existed: is_removed,
                value: if is_removed { U256::ZERO } else { value },
            });
        }
        Ok(())
    }

    /// The end of the log, as a stamp of the trie's version.
    pub(crate) fn stamp(position: u64) -> u64 {
        Location::from_position(position).units()
    }
}
