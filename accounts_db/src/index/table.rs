//! The index: from the hash of a key to the location of its newest version.
//!
//! Open addressing in shards. A slot has eight bytes: 20 bits of the key's hash and a 44-bit
//! location. The key itself is in the log and is always compared there. The first bits of the hash
//! select the shard; the next 20 bits give the start of the search in it: `bits × capacity ÷ 2^20`,
//! for any capacity. A shard therefore grows by a quarter at a time without reading a key.
//! Neighbouring shards form a group that shares memory and grows together. There are many groups,
//! so no commit waits for the growth of a whole table. A group grows when one of its shards is
//! filled to 80 %.
//!
//! Changing a key's location is one atomic store under the shard's shared lock; inserting, removing
//! and growing take the lock exclusively. No lock of the index is held while the log is read.
//! Lookups take no lock: a group has a version that is odd while slots move, and a lookup that sees
//! an odd or changed version is repeated under the shard's lock.

use super::memory::{CurrentGroup, TableGroup, TableSlots};
use crate::log::{LOCATION_BITS, Location};
use lockweave_runtime::prefetch as cache;
use parking_lot::{Mutex, RwLock};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering, fence},
};

/// Bits of the hash in a slot.
const FINGERPRINT_BITS: u32 = u64::BITS - LOCATION_BITS;
const LOCATION_MASK: u64 = (1 << LOCATION_BITS) - 1;
const CAPACITY_MIN: usize = 8;
/// Logarithm of the number of groups, unless there are fewer shards.
const GROUP_BITS: u32 = 5;

/// The index.
#[derive(Debug)]
pub(crate) struct Index {
    shards: Box<[Shard]>,
    shard_bits: u32,
    groups: Box<[Group]>,
    /// Logarithm of the number of shards in a group.
    group_shift: u32,
}

/// Neighbouring shards that grow together. Aligned to a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Group {
    /// Odd while slots move.
    version: AtomicU64,
    tables: CurrentGroup,
    /// Held while slots move.
    moving: Mutex<()>,
}

impl Group {
    fn new(view: Arc<TableGroup>) -> Self {
        Self {
            version: AtomicU64::new(0),
            tables: CurrentGroup::new(view),
            moving: Mutex::default(),
        }
    }

    /// Runs `work`, which moves slots.
    fn with_moving_slots<R>(&self, work: impl FnOnce() -> R) -> R {
        let _moving = self.moving.lock();
        self.version.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        let result = work();
        self.version.fetch_add(1, Ordering::Release);
        result
    }
}

/// A shard, in a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
struct Shard(RwLock<Table>);

#[derive(Debug)]
struct Table {
    slots: TableSlots,
    used: usize,
}

/// A key's fingerprint within its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint(u64);

impl Fingerprint {
    const fn home(self, capacity: usize) -> usize {
        // Less than `capacity`, because the fingerprint has 20 bits.
        ((self.0 * capacity as u64) >> FINGERPRINT_BITS) as usize
    }

    const fn slot(self, location: Location) -> u64 {
        (self.0 << LOCATION_BITS) | location.units()
    }

    const fn of(slot: u64) -> Self {
        Self(slot >> LOCATION_BITS)
    }
}

const fn location_of(slot: u64) -> Location {
    Location::from_units(slot & LOCATION_MASK)
}

impl Index {
    /// An empty index with space for `keys` keys.
    pub(crate) fn new(shard_bits: u32, keys: u64) -> Self {
        let shards = 1_usize << shard_bits;
        let groups = 1_usize << shard_bits.min(GROUP_BITS);
        let mean = usize::try_from(keys).unwrap_or(usize::MAX) / shards;
        // Nearly every shard has fewer; one that has more grows.
        let most = mean + 4 * mean.isqrt();
        let capacity = (most * 4 / 3 + 1).next_multiple_of(CAPACITY_MIN);
        let views: Vec<Arc<TableGroup>> = (0..groups)
            .map(|_| TableGroup::new(shards / groups, capacity))
            .collect();
        let tables = views.iter().flat_map(TableGroup::parts).map(Table::new);
        Self {
            shards: tables.map(|table| Shard(RwLock::new(table))).collect(),
            shard_bits,
            groups: views.into_iter().map(Group::new).collect(),
            group_shift: shard_bits - shard_bits.min(GROUP_BITS),
        }
    }

    /// The group of a shard, and the shard's position in it.
    const fn group(&self, shard: usize) -> (usize, usize) {
        (
            shard >> self.group_shift,
            shard & ((1 << self.group_shift) - 1),
        )
    }

    /// Looks up in a shard, without a lock unless slots move.
    #[inline]
    fn with_slots<R>(&self, shard: usize, probe: impl Fn(&[AtomicU64]) -> R) -> R {
        let (group, table) = self.group(shard);
        let group = &self.groups[group];
        let version = group.version.load(Ordering::Acquire);
        if version.is_multiple_of(2) {
            let result = probe(group.tables.table(table));
            fence(Ordering::Acquire);
            if group.version.load(Ordering::Relaxed) == version {
                return result;
            }
        }
        probe(&self.shards[shard].0.read().slots)
    }

    pub(crate) const fn shard_bits(&self) -> u32 {
        self.shard_bits
    }

    pub(crate) const fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// The shard of a hash.
    pub(crate) const fn shard_of(&self, hash: u64) -> usize {
        // The first bits. Two shifts, because a shift by 64 overflows.
        ((hash >> 1) >> (u64::BITS - 1 - self.shard_bits)) as usize
    }

    const fn fingerprint(&self, hash: u64) -> Fingerprint {
        Fingerprint((hash << self.shard_bits) >> LOCATION_BITS)
    }

    /// The first location under this hash. If it belongs to another key,
    /// [`candidates`](Self::candidates) has the others.
    pub(crate) fn first_candidate(&self, hash: u64) -> Option<Location> {
        let fingerprint = self.fingerprint(hash);
        self.with_slots(self.shard_of(hash), |slots| first(slots, fingerprint))
    }

    /// Prefetches the slots of these hashes into the processor's cache.
    pub(crate) fn prefetch(&self, hashes: &[u64]) {
        for hash in hashes {
            let (group, table) = self.group(self.shard_of(*hash));
            let slots = self.groups[group].tables.table(table);
            let home = self.fingerprint(*hash).home(slots.len());
            cache::for_reading(slots.as_ptr().wrapping_add(home));
        }
    }

    /// Prefetches the slots of these hashes and what is needed to change them.
    pub(crate) fn prefetch_to_change(&self, hashes: &[u64]) {
        for hash in hashes {
            cache::for_reading(&raw const self.shards[self.shard_of(*hash)]);
        }
        self.prefetch(hashes);
    }

    /// Every location under this hash, at one moment.
    pub(crate) fn candidates(&self, hash: u64) -> Vec<Location> {
        let table = self.shards[self.shard_of(hash)].0.read();
        table.probe(self.fingerprint(hash)).collect()
    }

    /// Whether the index contains this location under the hash.
    pub(crate) fn contains(&self, hash: u64, location: Location) -> bool {
        let slot = self.fingerprint(hash).slot(location);
        self.with_slots(self.shard_of(hash), |slots| find(slots, slot).is_some())
    }

    /// Changes a key's location; `false` if the old one is not in the index.
    #[must_use]
    pub(crate) fn replace(&self, hash: u64, from: Location, to: Location) -> bool {
        let fingerprint = self.fingerprint(hash);
        let table = self.shards[self.shard_of(hash)].0.read();
        let Some(at) = find(&table.slots, fingerprint.slot(from)) else {
            return false;
        };
        table.slots[at].store(fingerprint.slot(to), Ordering::Release);
        true
    }

    /// Inserts a new key.
    pub(crate) fn insert(&self, hash: u64, location: Location) {
        self.insert_slot(self.shard_of(hash), self.fingerprint(hash).slot(location));
    }

    fn insert_slot(&self, shard: usize, slot: u64) {
        loop {
            let mut table = self.shards[shard].0.write();
            let capacity = table.slots.len();
            if (table.used + 1) * 5 <= capacity * 4 {
                table.insert(slot);
                return;
            }
            drop(table);
            self.grow(shard, capacity);
        }
    }

    /// Grows a shard that is full at `capacity`, together with its group, by a quarter.
    fn grow(&self, shard: usize, capacity: usize) {
        let (group, table) = self.group(shard);
        let neighbours = &self.shards[shard - table..][..1 << self.group_shift];
        let group = &self.groups[group];
        group.with_moving_slots(|| {
            if self.shards[shard].0.read().slots.len() > capacity {
                // Another thread has grown it.
                return;
            }
            let capacity = (capacity + capacity / 4 + 1).next_multiple_of(CAPACITY_MIN);
            let view = TableGroup::new(neighbours.len(), capacity);
            for (shard, part) in neighbours.iter().zip(view.parts()) {
                shard.0.write().move_to(part);
            }
            group.tables.replace(view);
        });
    }

    /// Removes a key at a location; `false` if it is not in the index.
    #[must_use]
    pub(crate) fn remove(&self, hash: u64, location: Location) -> bool {
        let fingerprint = self.fingerprint(hash);
        let shard = self.shard_of(hash);
        self.groups[self.group(shard).0].with_moving_slots(|| {
            let mut table = self.shards[shard].0.write();
            let Some(at) = find(&table.slots, fingerprint.slot(location)) else {
                return false;
            };
            table.remove(at);
            true
        })
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> u64 {
        self.shards
            .iter()
            .map(|shard| shard.0.read().used as u64)
            .sum()
    }

    /// Memory of the slots and the shards, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let slots = |shard: &Shard| shard.0.read().slots.len() as u64 * 8;
        self.shards.iter().map(slots).sum::<u64>() + size_of_val(&*self.shards) as u64
    }

    /// Appends a shard's slots, in table order and each as eight bytes, to `out`.
    pub(crate) fn copy_shard(&self, shard: usize, out: &mut Vec<u8>) {
        const BYTES: usize = size_of::<u64>();
        let table = self.shards[shard].0.read();
        let mut end = out.len();
        // Every slot is written, and the next one overwrites it if it is empty. This avoids a
        // branch that is not predictable.
        out.resize(end + (table.used + 1) * BYTES, 0);
        for slot in &*table.slots {
            let slot = slot.load(Ordering::Relaxed);
            out[end..end + BYTES].copy_from_slice(&slot.to_le_bytes());
            end += BYTES * usize::from(slot != 0);
        }
        out.truncate(end);
    }

    /// Every location in a shard.
    pub(crate) fn locations(&self, shard: usize) -> Vec<Location> {
        let table = self.shards[shard].0.read();
        let slots = table.slots.iter().map(|slot| slot.load(Ordering::Relaxed));
        let used = slots.filter(|slot| *slot != 0);
        used.map(location_of).collect()
    }

    /// Fills an empty shard with slots from [`copy_shard`](Self::copy_shard); `false` if they are
    /// not valid.
    #[must_use]
    pub(crate) fn load_shard(&self, shard: usize, slots: &[u64]) -> bool {
        let is_empty = self.shards[shard].0.read().used == 0;
        if !is_empty || slots.iter().any(|slot| location_of(*slot).is_none()) {
            return false;
        }
        for slot in slots {
            self.insert_slot(shard, *slot);
        }
        true
    }
}

/// The first location under a fingerprint: the first result of [`Table::probe`], without the cost
/// of an iterator in every read.
#[inline]
fn first(slots: &[AtomicU64], fingerprint: Fingerprint) -> Option<Location> {
    let capacity = slots.len();
    let mut at = fingerprint.home(capacity);
    // Tables are never full, so the search ends.
    while at < capacity {
        let slot = slots[at].load(Ordering::Acquire);
        if slot == 0 {
            return None;
        }
        if Fingerprint::of(slot) == fingerprint {
            return Some(location_of(slot));
        }
        at += 1;
    }
    // Wrap around.
    let slots = slots.iter().map(|slot| slot.load(Ordering::Acquire));
    let mut slots = slots.take_while(|slot| *slot != 0);
    slots
        .find(|slot| Fingerprint::of(*slot) == fingerprint)
        .map(location_of)
}

/// The position of this slot.
#[inline]
fn find(slots: &[AtomicU64], wanted: u64) -> Option<usize> {
    let capacity = slots.len();
    let home = Fingerprint::of(wanted).home(capacity);
    let mut at = home;
    while at < capacity {
        match slots[at].load(Ordering::Acquire) {
            0 => return None,
            slot if slot == wanted => return Some(at),
            _ => at += 1,
        }
    }
    // Wrap around. A full search ends at `home`; an empty table has no slot.
    let slots = slots[..home]
        .iter()
        .map(|slot| slot.load(Ordering::Acquire));
    let mut slots = slots.take_while(|slot| *slot != 0);
    slots.position(|slot| slot == wanted)
}

impl Table {
    const fn new(slots: TableSlots) -> Self {
        Self { slots, used: 0 }
    }

    /// Locations under a fingerprint, in search order.
    fn probe(&self, fingerprint: Fingerprint) -> impl Iterator<Item = Location> {
        let capacity = self.slots.len();
        let home = fingerprint.home(capacity);
        let order = (home..capacity).chain(0..home);
        order
            .map(|at| self.slots[at].load(Ordering::Acquire))
            .take_while(|slot| *slot != 0)
            .filter(move |slot| Fingerprint::of(*slot) == fingerprint)
            .map(location_of)
    }

    /// Inserts a slot; there must be space.
    fn insert(&mut self, slot: u64) {
        let capacity = self.slots.len();
        let mut at = Fingerprint::of(slot).home(capacity);
        while self.slots[at].load(Ordering::Relaxed) != 0 {
            at += 1;
            if at == capacity {
                at = 0;
            }
        }
        self.slots[at].store(slot, Ordering::Relaxed);
        self.used += 1;
    }

    /// Removes a slot and closes the gap, so that no search ends too early.
    fn remove(&mut self, at: usize) {
        let capacity = self.slots.len();
        let mut gap = at;
        let mut next = at;
        loop {
            next = if next + 1 == capacity { 0 } else { next + 1 };
            let slot = self.slots[next].load(Ordering::Relaxed);
            if slot == 0 {
                break;
            }
            let home = Fingerprint::of(slot).home(capacity);
            // It may fill the gap unless its search begins after the gap.
            let begins_after = if gap <= next {
                gap < home && home <= next
            } else {
                gap < home || home <= next
            };
            if !begins_after {
                self.slots[gap].store(slot, Ordering::Relaxed);
                gap = next;
            }
        }
        self.slots[gap].store(0, Ordering::Relaxed);
        self.used -= 1;
    }

    /// Moves all slots into larger memory.
    fn move_to(&mut self, part: TableSlots) {
        let mut moved = Self::new(part);
        for slot in &*self.slots {
            let slot = slot.load(Ordering::Relaxed);
            if slot != 0 {
                moved.insert(slot);
            }
        }
        *self = moved;
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
