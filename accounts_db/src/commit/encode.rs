//! Looks up what a block changes, and encoding it.
//!
//! Every changed key is looked up, which yields the previous version's place and value, and an entry with
//! both is written.

use crate::{
    commitment::LatticeChange,
    error::{CommitError, DuplicateKey, ReadError},
    log::{
        Batch, Change, Key, Location, SegmentTable,
        entry::{self, AccountRecord, Body, Value},
    },
    shared::Core,
};
use ahash::{AHashMap, AHashSet};
use alloy_primitives::{Address, U256};
use lockweave_runtime::Account;
use std::{borrow::Cow, sync::Arc};

/// Keys looked up in one go.
const CHUNK: usize = 256;

/// Changes of a block, key by key.
pub(crate) struct Changes<'a> {
    pub(crate) accounts: Cow<'a, [(Address, Option<Account>)]>,
    pub(crate) slots: Cow<'a, [SlotChange]>,
    pub(crate) codes: &'a [Arc<lockweave_runtime::Code>],
}

/// A change of one slot as the caller has it.
pub(crate) type SlotChange = (Address, U256, U256);

/// What looking up some keys yields.
#[derive(Default)]
pub(crate) struct EncodedPart {
    pub(crate) batch: Batch,
    /// How the number of an account's slots changes.
    counts: Vec<(Address, i64)>,
}

impl EncodedPart {
    fn new(core: &Core) -> Self {
        Self {
            batch: core.spare_batches.part(),
            ..Self::default()
        }
    }

    /// Writes a new version of a key.
    fn put(&mut self, hash: u64, key: &Key, value: &Value, old: Option<(Location, Value)>) {
        let weigh = |value: &Value| {
            if value.is_tombstone() {
                0
            } else {
                value.move_bytes()
            }
        };
        let weight = |value: &Value| u32::try_from(weigh(value)).unwrap_or(u32::MAX);
        let (previous, before) = old.unzip();
        let previous = previous.unwrap_or(Location::NONE);
        self.batch.changes.push(Change {
            hash,
            previous,
            offset: self.batch.len(),
            live: weight(value),
            dead: before.as_ref().map_or(0, weight),
            forgets: false,
        });
        self.batch.entry_count += 1;
        let bytes = &mut self.batch.bytes;
        entry::write_value(bytes, previous, key, value, before.as_ref());
    }

    /// Notes which elements of the state the entries replace.
    pub(crate) fn add_elements(&self, sum: &mut LatticeChange) -> Result<(), &'static str> {
        for change in &self.batch.changes {
            let start = usize::try_from(change.offset).expect("an offset in memory");
            let entry = entry::parse_fixed(&self.batch.bytes[start..])?;
            match entry.body {
                Body::Value {
                    key: Key::Slot(address, slot),
                    value: Value::Slot(after),
                    before,
                } => {
                    let before = match before {
                        Some(Value::Slot(before)) => before,
                        _ => U256::ZERO,
                    };
                    sum.slot(address, slot, before, after);
                }
                Body::Value {
                    key: Key::Account(address),
                    value: Value::Account(after),
                    before,
                } => {
                    let before = match before {
                        Some(Value::Account(before)) => before.account,
                        _ => None,
                    };
                    sum.account(address, before.as_ref(), after.account.as_ref());
                }
                _ => return Err("a change is neither a slot's nor an account's"),
            }
        }
        Ok(())
    }
}

impl Core {
    /// Looks up the slots, and then the accounts that the block names. Those of which only the number of
    /// slots changes are left to [`encode_slot_counts`](Self::encode_slot_counts), with their counts, if
    /// these were needed already.
    pub(crate) fn look_up(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
    ) -> Result<(Vec<EncodedPart>, Option<SlotCounts>), CommitError> {
        let look_up = |slots: &[SlotChange]| self.encode_slots(table, slots);
        let mut parts = self.workers.map_chunks(&changes.slots, CHUNK, look_up)?;
        if changes.accounts.is_empty() {
            return Ok((parts, None));
        }
        let mut counts = count(&parts);
        let accounts: Vec<AccountChange> = (changes.accounts.iter())
            .map(|(address, account)| AccountChange {
                address: *address,
                write: AccountWrite::Set(*account),
                count: counts.remove(address).unwrap_or(0),
            })
            .collect();
        let look_up = |accounts: &[AccountChange]| self.encode_accounts(table, accounts);
        match self.workers.map_chunks(&accounts, CHUNK, look_up) {
            Ok(accounts) => parts.extend(accounts),
            Err(error) => return Err(duplicate_or(error, &parts, changes)),
        }
        Ok((parts, Some(counts)))
    }

    /// Looks up the accounts of which only the number of slots changes. They are no part of the state
    /// commitment, so this is done while that is computed, by the caller's thread.
    pub(crate) fn encode_slot_counts(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        parts: &[EncodedPart],
        counts: Option<SlotCounts>,
    ) -> Result<Vec<EncodedPart>, CommitError> {
        let counts = counts.unwrap_or_else(|| count(parts));
        let mut accounts: Vec<AccountChange> = (counts.into_iter())
            .filter(|(_, count)| *count != 0)
            .map(|(address, count)| AccountChange {
                address,
                write: AccountWrite::Keep,
                count,
            })
            .collect();
        // Maps have an order of their own; a record's bytes follow from the block alone.
        accounts.sort_unstable_by_key(|change| change.address);
        (accounts.chunks(CHUNK))
            .map(|accounts| self.encode_accounts(table, accounts))
            .collect::<Result<_, _>>()
            .map_err(|error| duplicate_or(error, parts, changes))
    }

    fn encode_slots(
        &self,
        table: &SegmentTable,
        slots: &[SlotChange],
    ) -> Result<EncodedPart, ReadError> {
        let mut part = EncodedPart::new(self);
        let keys: Vec<Key> = (slots.iter())
            .map(|(address, slot, _)| Key::slot(*address, *slot))
            .collect();
        let hashes: Vec<u64> = keys.iter().map(|key| self.hasher.hash(key)).collect();
        self.bring_near(table, &hashes);
        for ((key, hash), (address, _, after)) in keys.into_iter().zip(hashes).zip(slots) {
            let old = match self.find_value(table, hash, &key)? {
                Some((location, Value::Slot(value))) => Some((location, value)),
                _ => None,
            };
            let before = old.map_or(U256::ZERO, |(_, value)| value);
            if before == *after {
                continue;
            }
            let count = i64::from(!after.is_zero()) - i64::from(!before.is_zero());
            if count != 0 {
                part.counts.push((*address, count));
            }
            let old = old.map(|(location, value)| (location, Value::Slot(value)));
            part.put(hash, &key, &Value::Slot(*after), old);
        }
        Ok(part)
    }

    fn encode_accounts(
        &self,
        table: &SegmentTable,
        accounts: &[AccountChange],
    ) -> Result<EncodedPart, ReadError> {
        let mut part = EncodedPart::new(self);
        let hashes: Vec<u64> = (accounts.iter())
            .map(|change| self.hasher.account(change.address.as_slice()))
            .collect();
        self.bring_near(table, &hashes);
        for (change, hash) in accounts.iter().zip(hashes) {
            let key = Key::Account(change.address);
            let old = match self.find_value(table, hash, &key)? {
                Some((location, Value::Account(record))) => Some((location, record)),
                _ => None,
            };
            let before = old.map_or_else(AccountRecord::default, |(_, record)| record);
            let after = AccountRecord {
                account: match change.write {
                    AccountWrite::Set(account) => account,
                    AccountWrite::Keep => before.account,
                },
                slots: (before.slots.checked_add_signed(change.count))
                    .ok_or_else(|| self.miscounted(old.map(|(location, _)| location)))?,
            };
            if before == after {
                continue;
            }
            let old = old.map(|(location, record)| (location, Value::Account(record)));
            part.put(hash, &key, &Value::Account(after), old);
        }
        Ok(part)
    }

    #[cold]
    fn miscounted(&self, location: Option<Location>) -> ReadError {
        let what = "an account has fewer slots than were counted";
        self.damage_at(location.unwrap_or(Location::NONE), what)
    }
}

/// What becomes of an account itself.
#[derive(Clone, Copy)]
enum AccountWrite {
    Set(Option<Account>),
    /// Only the number of its slots changes.
    Keep,
}

struct AccountChange {
    address: Address,
    write: AccountWrite,
    /// By how much the number of its slots changes.
    count: i64,
}

/// By how much the number of an account's slots changes.
pub(crate) type SlotCounts = AHashMap<Address, i64>;

fn count(parts: &[EncodedPart]) -> SlotCounts {
    let mut counts = SlotCounts::new();
    for (address, count) in parts.iter().flat_map(|part| &part.counts) {
        *counts.entry(*address).or_default() += count;
    }
    counts
}

/// Why accounts could not be looked up. Slots that stand twice are counted twice: that is what is wrong
/// then.
fn duplicate_or(error: ReadError, parts: &[EncodedPart], changes: &Changes<'_>) -> CommitError {
    match check_unique(parts.iter(), changes) {
        Ok(()) => error.into(),
        Err(duplicate) => duplicate,
    }
}

/// Fails if a key stands twice; equal hashes tell, a closer look tells which.
pub(crate) fn check_unique<'a>(
    parts: impl Iterator<Item = &'a EncodedPart>,
    changes: &Changes<'_>,
) -> Result<(), CommitError> {
    let mut hashes: Vec<u64> = parts
        .flat_map(|part| part.batch.changes.iter().map(|change| change.hash))
        .collect();
    hashes.sort_unstable();
    if hashes.windows(2).all(|pair| pair[0] != pair[1]) {
        return Ok(());
    }
    let mut seen = AHashSet::new();
    let slot = changes.slots.iter().find(|it| !seen.insert((it.0, it.1)));
    let mut seen = AHashSet::new();
    let account = changes.accounts.iter().find(|it| !seen.insert(it.0));
    let key = match (slot, account) {
        (Some(it), _) => DuplicateKey::Slot(it.0, it.1),
        (None, Some(it)) => DuplicateKey::Account(it.0),
        // Two keys share a hash.
        (None, None) => return Ok(()),
    };
    Err(CommitError::Duplicate { key })
}
