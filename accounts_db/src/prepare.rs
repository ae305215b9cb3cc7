//! Preparing a block.
//!
//! Every changed key is looked up, which yields the previous version's place and value, and entries with
//! both are encoded. The state commitment follows from them; while it is computed, the record is put
//! together, compaction adds what it moves, and its pages are written where the log ends, which counts
//! for nothing until the block is committed (`early.rs`).

use crate::{
    ahead::Wish,
    batch::Batch,
    compaction::{self, Cursor, Request},
    core::{ChainChange, Change, Core, Writer},
    early::Early,
    entry::{self, AccountRecord, BLOB_BYTES_MAX, Body, Value},
    error::{CommitError, DuplicateKey, ReadError},
    hash::Key,
    lattice::{Lattice, LatticeChange},
    location::Location,
    record::{ENTRIES_START, RecordKind},
    segment::SegmentTable,
};
use ahash::{AHashMap, AHashSet};
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::{Account, StateDelta};
use std::{
    borrow::Cow,
    sync::{Arc, atomic::Ordering},
};

/// Keys looked up in one go.
const CHUNK: usize = 256;
/// Parts whose elements of the state are summed up in one go.
const PARTS: usize = 1;

/// A block that is ready to be made durable, with the state commitment it will have.
///
/// It is good for the state it was prepared on: once another block is committed it is refused.
#[derive(Debug)]
pub struct PreparedBlock {
    pub(crate) kind: RecordKind,
    pub(crate) number: u64,
    /// Sequence number its record will have.
    pub(crate) sequence: u64,
    pub(crate) lattice: Lattice,
    pub(crate) commitment: B256,
    /// The record so far: room for the header, then entries.
    pub(crate) batch: Batch,
    pub(crate) compaction: Option<Cursor>,
    pub(crate) emptied: Vec<u64>,
    /// What of the record is written already.
    pub(crate) early: Option<Early>,
    /// This preparation's number, by this value's count.
    pub(crate) preparation: u64,
    /// The number of the one that was committed before.
    follows: u64,
}

impl PreparedBlock {
    /// The block's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The state commitment after the block.
    pub const fn commitment(&self) -> B256 {
        self.commitment
    }

    /// Makes the hash of an earlier block known, for `BLOCKHASH` on a chain whose first block here is
    /// not its genesis.
    pub fn add_ancestor(&mut self, number: u64, hash: B256) {
        entry::write_ancestor(&mut self.batch.bytes, number, hash);
        self.batch.entry_count += 1;
        self.batch
            .chain_changes
            .push(ChainChange::Ancestor { number, hash });
    }
}

/// A change of one slot as the caller has it.
type SlotChange = (Address, U256, U256);

/// What looking up some keys yields.
#[derive(Default)]
struct Part {
    batch: Batch,
    /// How the number of an account's slots changes.
    counts: Vec<(Address, i64)>,
}

impl Part {
    fn new(core: &Core) -> Self {
        Self {
            batch: core.spare.part(),
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
    fn add_elements(&self, sum: &mut LatticeChange) -> Result<(), &'static str> {
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
    /// Looks everything up and encodes a block.
    pub(crate) fn prepare(
        &self,
        number: u64,
        delta: &StateDelta,
    ) -> Result<PreparedBlock, CommitError> {
        let latest = self.chain.read().latest().map(|block| block.number);
        if let Some(latest) = latest
            && latest.checked_add(1) != Some(number)
        {
            return Err(CommitError::OutOfOrder { number, latest });
        }
        self.prepare_changes(number, &self.delta_changes(delta)?, RecordKind::Block)
    }

    /// What a delta changes, with the slots of wiped accounts one by one.
    fn delta_changes<'a>(&self, delta: &'a StateDelta) -> Result<Changes<'a>, CommitError> {
        let mut slots = Cow::Borrowed(delta.slots.as_slice());
        let wiped = self.slots_of_wiped(&delta.wiped)?;
        if !wiped.is_empty() {
            let written: AHashSet<(Address, U256)> = delta
                .slots
                .iter()
                .map(|(address, slot, _)| (*address, *slot))
                .collect();
            let gone = wiped.into_iter().filter(|key| !written.contains(key));
            let slots = slots.to_mut();
            slots.extend(gone.map(|(address, slot)| (address, slot, U256::ZERO)));
        }
        Ok(Changes {
            accounts: Cow::Borrowed(&delta.accounts),
            slots,
            codes: &delta.codes,
        })
    }

    pub(crate) fn prepare_changes(
        &self,
        number: u64,
        changes: &Changes<'_>,
        kind: RecordKind,
    ) -> Result<PreparedBlock, CommitError> {
        let Writer {
            sequence,
            mut lattice,
            compaction: cursor,
            preparation: follows,
            ..
        } = self.writer.lock().clone();
        if self.options.read_only {
            return Err(CommitError::ReadOnly);
        }
        if self.stopped.load(Ordering::Acquire) {
            return Err(CommitError::Stopped);
        }
        let table = self.segments();
        let (parts, counts) = self.look_up(&table, changes)?;
        let mut block = PreparedBlock {
            kind,
            number,
            sequence,
            lattice: Lattice::default(),
            commitment: B256::ZERO,
            batch: self.spare.record(),
            compaction: cursor,
            emptied: Vec::new(),
            early: None,
            preparation: self.preparations.fetch_add(1, Ordering::Relaxed) + 1,
            follows,
        };
        let (sum, assembled) = self.workers.beside(
            || self.sum_up(&parts),
            || {
                let counted = self.look_up_counted(&table, changes, &parts, counts)?;
                self.assemble(&table, changes, &parts, &counted, &mut block)?;
                Ok::<_, CommitError>(counted)
            },
        );
        for part in parts.into_iter().chain(assembled?) {
            self.spare.give_back(part.batch);
        }
        lattice.apply(&sum?);
        block.commitment = lattice.commitment();
        block.lattice = lattice;
        Ok(block)
    }

    /// How the state commitment's lattice changes.
    fn sum_up(&self, parts: &[Part]) -> Result<LatticeChange, CommitError> {
        let sums = self.workers.map_chunks(parts, PARTS, |parts| {
            let mut sum = LatticeChange::default();
            for part in parts {
                part.add_elements(&mut sum)
                    .map_err(|what| self.damage_at(Location::NONE, what))?;
            }
            Ok::<_, ReadError>(sum)
        })?;
        let mut whole = LatticeChange::default();
        for sum in &sums {
            whole.merge(sum);
        }
        Ok(whole)
    }

    /// Puts the record together, but for what its header tells, and has it written as far as it may.
    fn assemble(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        parts: &[Part],
        counted: &[Part],
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        check_unique(parts.iter().chain(counted), changes)?;
        block.batch.bytes.resize(ENTRIES_START, 0);
        for part in parts.iter().chain(counted) {
            block.batch.append(&part.batch);
        }
        self.append_codes(table, changes, block)?;
        self.append_moves(table, block)?;
        block.early = self.write_early(block.sequence, &block.batch.bytes);
        Ok(())
    }

    /// Looks up the slots, and then the accounts that the block names. Those of which only the number of
    /// slots changes are left to [`look_up_counted`](Self::look_up_counted), with their counts, if
    /// these were needed already.
    fn look_up(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
    ) -> Result<(Vec<Part>, Option<Counts>), CommitError> {
        let look_up = |slots: &[SlotChange]| self.look_up_slots(table, slots);
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
        let look_up = |accounts: &[AccountChange]| self.look_up_accounts(table, accounts);
        match self.workers.map_chunks(&accounts, CHUNK, look_up) {
            Ok(accounts) => parts.extend(accounts),
            Err(error) => return Err(told_apart(error, &parts, changes)),
        }
        Ok((parts, Some(counts)))
    }

    /// Looks up the accounts of which only the number of slots changes. They are no part of the state
    /// commitment, so this is done while that is computed, by the caller's thread.
    fn look_up_counted(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        parts: &[Part],
        counts: Option<Counts>,
    ) -> Result<Vec<Part>, CommitError> {
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
            .map(|accounts| self.look_up_accounts(table, accounts))
            .collect::<Result<_, _>>()
            .map_err(|error| told_apart(error, parts, changes))
    }

    fn look_up_slots(&self, table: &SegmentTable, slots: &[SlotChange]) -> Result<Part, ReadError> {
        let mut part = Part::new(self);
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

    fn look_up_accounts(
        &self,
        table: &SegmentTable,
        accounts: &[AccountChange],
    ) -> Result<Part, ReadError> {
        let mut part = Part::new(self);
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

    fn append_codes(
        &self,
        table: &SegmentTable,
        changes: &Changes<'_>,
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        let mut seen = AHashSet::new();
        for code in changes.codes {
            let (hash, bytes) = (code.hash(), code.bytes().len() as u64);
            let key = Key::Code(hash);
            let index_hash = self.hasher.hash(&key);
            if !seen.insert(hash) || self.find(table, index_hash, &key)?.is_some() {
                continue;
            }
            if bytes > BLOB_BYTES_MAX {
                return Err(CommitError::CodeTooLarge {
                    hash,
                    bytes,
                    bytes_max: BLOB_BYTES_MAX,
                });
            }
            block.batch.changes.push(Change {
                hash: index_hash,
                previous: Location::NONE,
                offset: block.batch.len(),
                live: u32::try_from(entry::blob_entry_bytes(bytes)).unwrap_or(u32::MAX),
                dead: 0,
                forgets: false,
            });
            entry::write_code(&mut block.batch.bytes, Location::NONE, hash, code.bytes());
            block.batch.entry_count += 1;
        }
        Ok(())
    }

    fn append_moves(
        &self,
        table: &SegmentTable,
        block: &mut PreparedBlock,
    ) -> Result<(), CommitError> {
        let own_bytes = block.batch.len() - ENTRIES_START as u64;
        let superseded: Vec<Location> = (block.batch.changes.iter())
            .map(|change| change.previous)
            .filter(|previous| !previous.is_none())
            .collect();
        let ready = self.ahead.found(block.follows, block.compaction);
        if let Some(ready) = &ready {
            // Nothing moves of which the block itself has a new version.
            let mut gone = superseded.clone();
            gone.retain(|place| ready.places.contains(place));
            gone.sort_unstable();
            block.batch.append_without(&ready.batch, &gone);
            block.compaction = ready.cursor;
            block.emptied.clone_from(&ready.emptied);
        } else {
            let request = Request {
                cursor: block.compaction,
                appended: own_bytes,
                batch: std::mem::take(&mut block.batch),
                superseded: &[],
                emptied: &[],
                alone: false,
            };
            let moves = compaction::gather(self, table, request)?;
            block.batch = moves.batch;
            block.compaction = moves.cursor;
            block.emptied = moves.emptied;
        }
        self.ahead.want(Wish {
            follows: block.preparation,
            cursor: block.compaction,
            superseded,
            appended: own_bytes,
            emptied: block.emptied.clone(),
        });
        if let Some(ready) = ready.and_then(Arc::into_inner) {
            self.spare.give_back(ready.batch);
        }
        Ok(())
    }
}

/// Changes of a block, key by key.
pub(crate) struct Changes<'a> {
    pub(crate) accounts: Cow<'a, [(Address, Option<Account>)]>,
    pub(crate) slots: Cow<'a, [SlotChange]>,
    pub(crate) codes: &'a [Arc<lockweave_runtime::Code>],
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
type Counts = AHashMap<Address, i64>;

fn count(parts: &[Part]) -> Counts {
    let mut counts = Counts::new();
    for (address, count) in parts.iter().flat_map(|part| &part.counts) {
        *counts.entry(*address).or_default() += count;
    }
    counts
}

/// Why accounts could not be looked up. Slots that stand twice are counted twice: that is what is wrong
/// then.
fn told_apart(error: ReadError, parts: &[Part], changes: &Changes<'_>) -> CommitError {
    match check_unique(parts.iter(), changes) {
        Ok(()) => error.into(),
        Err(duplicate) => duplicate,
    }
}

/// Fails if a key stands twice; equal hashes tell, a closer look tells which.
fn check_unique<'a>(
    parts: impl Iterator<Item = &'a Part>,
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
