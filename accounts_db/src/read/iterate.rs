//! Iteration over the whole state.
//!
//! The index is ordered by hash, so accounts and slots come in no useful order, and finding the
//! slots of one account reads every key. Tools, state roots and the rare destruction of a contract
//! with storage (before Cancun) need this; block execution does not.

use super::reader::Reader;
use crate::{
    error::ReadError,
    log::{
        Key, Location, SegmentTable,
        entry::{AccountRecord, Body, Value},
    },
    shared::Core,
};
use ahash::AHashMap;
use alloy_primitives::{Address, U256};
use lockweave_runtime::Account;
use std::sync::atomic::{AtomicU64, Ordering};

impl Core {
    /// The keys of a shard, with their values at `horizon`.
    pub(crate) fn shard_values(
        &self,
        table: &SegmentTable,
        shard: usize,
        horizon: Location,
    ) -> Result<Vec<(Key, Value)>, ReadError> {
        'again: loop {
            let locations = self.index.locations(shard);
            let mut values = Vec::with_capacity(locations.len());
            for location in &locations {
                let Some(entry) = self.entry_at(table, *location)? else {
                    if self.index.locations(shard).contains(location) {
                        return Err(self.missing_segment(*location));
                    }
                    // Its segment was freed meanwhile; the index has the new locations.
                    continue 'again;
                };
                let Body::Value { key, .. } = entry.body else {
                    continue;
                };
                if let Some(value) = self.version_at(table, horizon, *location, &entry)? {
                    values.push((key, value));
                }
            }
            return Ok(values);
        }
    }

    /// The nonzero slots of some accounts.
    pub(crate) fn slots_of(&self, owners: &[Address]) -> Result<Vec<(Address, U256)>, ReadError> {
        let table = self.segments();
        let mut accounts = AHashMap::new();
        for address in owners {
            let key = Key::Account(*address);
            let found = self.find_value(&table, self.hasher.hash(&key), &key)?;
            let slots = Value::record(found.map(|(_, value)| value)).slots;
            if slots > 0 {
                accounts.insert(*address, slots);
            }
        }
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let missing = AtomicU64::new(accounts.values().sum());
        let slots_of = |shard| -> Result<Vec<_>, ReadError> {
            if missing.load(Ordering::Relaxed) == 0 {
                return Ok(Vec::new());
            }
            let mut slots = Vec::new();
            for (key, value) in self.shard_values(&table, shard, Location::NEWEST)? {
                if let (Key::Slot(address, slot), Value::Slot(word)) = (key, value)
                    && !word.is_zero()
                    && accounts.contains_key(&address)
                {
                    slots.push((address, U256::from_be_bytes(slot.0)));
                }
            }
            missing.fetch_sub(slots.len() as u64, Ordering::Relaxed);
            Ok(slots)
        };
        let parts = (self.workers).map_range(self.index.shard_count(), slots_of)?;
        Ok(parts.into_iter().flatten().collect())
    }
}

/// An item of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateItem {
    /// An account.
    Account(Address, Account),
    /// A nonzero slot: address, slot, value.
    Slot(Address, U256, U256),
}

impl Reader {
    /// All items of the state, unordered. Uses memory for one shard of the index.
    pub fn items(&self) -> impl Iterator<Item = Result<StateItem, ReadError>> + '_ {
        (0..self.core.index.shard_count()).flat_map(|shard| {
            let values = (self.core).shard_values(&self.table, shard, self.horizon);
            let (values, error) = match values {
                Ok(values) => (values, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let items = values
                .into_iter()
                .filter_map(|(key, value)| item(key, value));
            items.map(Ok).chain(error)
        })
    }

    /// All accounts, unordered.
    pub fn accounts(&self) -> impl Iterator<Item = Result<(Address, Account), ReadError>> + '_ {
        self.items().filter_map(|item| match item {
            Ok(StateItem::Account(address, account)) => Some(Ok((address, account))),
            Ok(StateItem::Slot(..)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The nonzero slots of an account, unordered. Reads the whole index unless the account has
    /// none.
    pub fn slots(&self, address: Address) -> Result<Vec<(U256, U256)>, ReadError> {
        let count = self.slot_count(address)?;
        let mut slots = Vec::new();
        if count == 0 {
            return Ok(slots);
        }
        for item in self.items() {
            if let StateItem::Slot(owner, slot, value) = item?
                && owner == address
            {
                slots.push((slot, value));
                if slots.len() as u64 == count {
                    break;
                }
            }
        }
        Ok(slots)
    }
}

pub(crate) fn item(key: Key, value: Value) -> Option<StateItem> {
    match (key, value) {
        (Key::Account(address), Value::Account(AccountRecord { account, .. })) => {
            account.map(|account| StateItem::Account(address, account))
        }
        (Key::Slot(address, slot), Value::Slot(value)) => {
            (!value.is_zero()).then(|| StateItem::Slot(address, slot.into(), value))
        }
        _ => None,
    }
}
