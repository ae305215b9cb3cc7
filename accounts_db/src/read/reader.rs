//! Reads the state after one block.

use super::lookup::FastLookup;
use crate::{
    error::ReadError,
    index::HASHES_REACHED,
    log::{
        Key, Location, SegmentTable,
        entry::{self, AccountRecord, Value},
    },
    shared::Core,
};
use alloy_primitives::{Address, B256, U256};
use lockweave_runtime::{Account, Code, KeyPart, StateError, StateKey, StateView};
use std::{fmt, sync::Arc};

/// Keys looked up together.
const BATCH: usize = 64;

/// The state after one block. It does not change, whatever is committed, undone or compacted while
/// the reader lives. A long-lived reader keeps old segments on disk.
pub struct Reader {
    pub(crate) core: Arc<Core>,
    pub(super) table: Arc<SegmentTable>,
    number: u64,
    sequence: u64,
    /// Entries at or after it are newer than the block.
    pub(crate) horizon: Location,
    state_root: B256,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pins = self.core.pins.lock();
        if let Some(count) = pins.get_mut(&self.sequence) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.sequence);
            }
        }
    }
}

impl Clone for Reader {
    fn clone(&self) -> Self {
        *self.core.pins.lock().entry(self.sequence).or_default() += 1;
        Self {
            core: Arc::clone(&self.core),
            table: Arc::clone(&self.table),
            ..*self
        }
    }
}

impl Reader {
    /// Pins a block; `None` is the newest.
    pub(crate) fn new(core: &Arc<Core>, number: Option<u64>) -> Result<Self, ReadError> {
        let chain = core.chain.read();
        let latest = chain.latest().ok_or(ReadError::Empty)?;
        let number = number.unwrap_or(latest.number);
        let block = chain.retained(number)?;
        // The chain is locked, so the block cannot leave the history in between.
        *core.pins.lock().entry(block.sequence).or_default() += 1;
        Ok(Self {
            core: Arc::clone(core),
            table: core.segments(),
            number,
            sequence: block.sequence,
            horizon: block.horizon,
            state_root: block.state_root,
        })
    }

    pub(crate) const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The block's number.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The state root after the block.
    pub const fn state_root(&self) -> B256 {
        self.state_root
    }

    /// The hash of a block, at most 255 blocks before this one.
    pub fn hash_of(&self, number: u64) -> Option<B256> {
        let reached = number <= self.number && self.number - number < HASHES_REACHED;
        let known = || self.core.chain.read().hashes.get(&number).copied();
        reached.then(known).flatten()
    }

    /// The value of a key at the block; `None` if it was never written.
    #[inline]
    pub(crate) fn value(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        let hash = self.core.hasher.hash(key);
        match self.core.find_fast(&self.table, hash, key) {
            FastLookup::Absent => return Ok(None),
            FastLookup::Found(location, value) if location < self.horizon => {
                return Ok(Some(value));
            }
            FastLookup::Found(..) | FastLookup::Unknown => {}
        }
        self.find_value_at(hash, key)
    }

    fn find_value_at(&self, hash: u64, key: &Key) -> Result<Option<Value>, ReadError> {
        match self.core.find(&self.table, hash, key)? {
            Some((location, entry)) => {
                self.core
                    .version_at(&self.table, self.horizon, location, &entry)
            }
            None => Ok(None),
        }
    }

    pub(crate) fn account_record(&self, address: Address) -> Result<AccountRecord, ReadError> {
        Ok(Value::record(self.value(&Key::Account(address))?))
    }

    /// The account at an address.
    pub fn account(&self, address: Address) -> Result<Option<Account>, ReadError> {
        Ok(self.account_record(address)?.account)
    }

    /// The value of a slot; zero if it was never written.
    pub fn slot(&self, address: Address, slot: U256) -> Result<U256, ReadError> {
        Ok(Value::word(self.value(&Key::slot(address, slot))?))
    }

    /// The values of many slots, in order. Several times faster than single reads if they are not
    /// in the processor's cache.
    pub fn read_slots(&self, slots: &[(Address, U256)]) -> Result<Vec<U256>, ReadError> {
        let mut values = Vec::with_capacity(slots.len());
        let mut hashes = Vec::with_capacity(slots.len().min(BATCH));
        for slots in slots.chunks(BATCH) {
            hashes.clear();
            let hash = |(address, slot): &(Address, U256)| {
                let slot = slot.to_be_bytes::<32>();
                self.core.hasher.slot(address.as_slice(), &slot)
            };
            hashes.extend(slots.iter().map(hash));
            self.core.prefetch_lookups(&self.table, &hashes);
            for (address, slot) in slots {
                values.push(self.slot(*address, *slot)?);
            }
        }
        Ok(values)
    }

    /// Number of nonzero slots of an account.
    pub fn slot_count(&self, address: Address) -> Result<u64, ReadError> {
        Ok(self.account_record(address)?.slots)
    }

    /// Code by its hash, whichever block added it.
    pub fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, ReadError> {
        self.core.code(&self.table, hash)
    }

    /// Starts reading what these keys need into memory, without waiting.
    pub fn prefetch(&self, keys: &[StateKey]) {
        for key in keys {
            let key = match key.part {
                KeyPart::Account | KeyPart::Code => Key::Account(key.address),
                KeyPart::Slot(slot) => Key::slot(key.address, slot),
            };
            let hash = self.core.hasher.hash(&key);
            if let Some(location) = self.core.index.first_candidate(hash) {
                self.core
                    .with_segment(&self.table, location, |segment, offset| {
                        segment.read_ahead(offset, entry::Kind::SlotPut.bytes());
                    });
            }
        }
    }
}

fn state_error(error: ReadError) -> StateError {
    StateError::Backend(Arc::new(error))
}

impl StateView for Reader {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        Self::account(self, address).map_err(state_error)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        Self::slot(self, address, slot).map_err(state_error)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        Self::code(self, hash).map_err(state_error)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        Ok(self.hash_of(number))
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        Ok(self.slot_count(address).map_err(state_error)? > 0)
    }
}
