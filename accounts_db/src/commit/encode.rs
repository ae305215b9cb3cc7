//! Looks up the keys that a block changes, and encodes their new versions.
//!
//! A lookup yields the location and the value of the previous version; the entry contains both.

use crate::{
    error::{CommitError, DuplicateKey, ReadError},
    log::{
        Batch, Key, Location, SegmentTable,
        entry::{self, AccountRecord, Value},
    },
    shared::Core,
    trie::Touched,
};
use ahash::{AHashMap, AHashSet};
use alloy_primitives::{Address, U256};
use lockweave_runtime::Account;
use std::{borrow::Cow, sync::Arc};

/// Keys looked up together.
const CHUNK: usize = 256;

/// The changes of a block, by key.
pub(crate) struct Changes<'a> {
    pub(crate) accounts: Cow<'a, [(Address, Option<Account>)]>,
    pub(crate) slots: Cow<'a, [SlotChange]>,
    pub(crate) codes: &'a [Arc<lockweave_runtime::Code>],
}

/// Address, slot, new value.
pub(crate) type SlotChange = (Address, U256, U256);

/// The encoded changes of some keys.
#[derive(Default)]
pub(crate) struct EncodedPart {
    pub(crate) batch: Batch,
    /// The changes for the state trie.
    pub(crate) touched: Touched,
    /// Changes in the slot counts of accounts.
    counts: Vec<(Address, i64)>,
}

impl EncodedPart {
    fn new(core: &Core) -> Self {
        Self {
            batch: core.spare_batches.part(),
            ..Self::default()
        }
    }

    /// Encodes a new version of a key.
    fn put(&mut self, hash: u64, key: &Key, value: &Value, old: Option<(Location, Value)>) {
        let (previous, before) = old.unzip();
        self.touched.push(key, hash, before, Some(*value));
        let previous = previous.unwrap_or(Location::NONE);
        let bytes = [
            value.live_bytes(),
            before.map_or(0, |before| before.live_bytes()),
        ];
        self.batch.push(hash, previous, bytes, false);
        let bytes = &mut self.batch.bytes;
        entry::write_value(bytes, previous, key, value, before.as_ref());
    }
}

impl Core {
    /// Encodes the slots, then the accounts in `changes`. Accounts of which only the slot count
    /// changes are left to [`encode_slot_counts`](Self::encode_slot_counts), with the counts if
    /// they were computed already.
    pub(crate) fn encode_changes(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
    ) -> Result<(Vec<EncodedPart>, Option<SlotCounts>), CommitError> {
        let encode = |slots: &[SlotChange]| self.encode_slots(table, slots);
        let mut parts = self.workers.map_chunks(&changes.slots, CHUNK, encode)?;
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
        let encode = |accounts: &[AccountChange]| self.encode_accounts(table, accounts);
        match self.workers.map_chunks(&accounts, CHUNK, encode) {
            Ok(accounts) => parts.extend(accounts),
            Err(error) => return Err(duplicate_or(error, &parts, changes)),
        }
        Ok((parts, Some(counts)))
    }

    /// Encodes the accounts of which only the slot count changes.
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
        // Maps are unordered, but the bytes of a record must depend on the block alone.
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
        self.prefetch_lookups(table, &hashes);
        for ((key, hash), (address, _, after)) in keys.into_iter().zip(hashes).zip(slots) {
            let old = self.find_value(table, hash, &key)?;
            let before = Value::word(old.map(|(_, value)| value));
            if before == *after {
                continue;
            }
            let count = i64::from(!after.is_zero()) - i64::from(!before.is_zero());
            if count != 0 {
                part.counts.push((*address, count));
            }
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
        self.prefetch_lookups(table, &hashes);
        for (change, hash) in accounts.iter().zip(hashes) {
            let key = Key::Account(change.address);
            let old = self.find_value(table, hash, &key)?;
            let before = Value::record(old.map(|(_, value)| value));
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

/// The new value of an account.
#[derive(Clone, Copy)]
enum AccountWrite {
    Set(Option<Account>),
    /// Only the slot count changes.
    Keep,
}

struct AccountChange {
    address: Address,
    write: AccountWrite,
    /// Change of its slot count.
    count: i64,
}

/// Changes of slot counts.
pub(crate) type SlotCounts = AHashMap<Address, i64>;

fn count(parts: &[EncodedPart]) -> SlotCounts {
    let mut counts = SlotCounts::new();
    for (address, count) in parts.iter().flat_map(|part| &part.counts) {
        *counts.entry(*address).or_default() += count;
    }
    counts
}

/// The error for accounts that were not encoded. A duplicate slot, which is counted twice, is the
/// more precise reason.
fn duplicate_or(error: ReadError, parts: &[EncodedPart], changes: &Changes<'_>) -> CommitError {
    match check_unique(parts, changes) {
        Ok(()) => error.into(),
        Err(duplicate) => duplicate,
    }
}

/// Fails if a key occurs twice. Equal hashes detect it; a second pass finds the key.
pub(crate) fn check_unique(
    parts: &[EncodedPart],
    changes: &Changes<'_>,
) -> Result<(), CommitError> {
    let mut hashes: Vec<u64> = (parts.iter())
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
