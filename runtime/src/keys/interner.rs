//! Keys to dense ids, on many threads.

use crate::model::KeyId;
use ahash::RandomState;
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use std::hash::Hash;

/// Parts of the map: enough that a handful of interning threads rarely meet.
pub(crate) const SHARDS: usize = 64;

/// Gives every distinct key one dense id.
///
/// The map is sharded by hash, so threads that intern different keys seldom wait for each other.
/// Ids are handed out by the caller's `assign`, which runs once per key, under the lock of the
/// key's shard: a thread that gets the id back also sees what `assign` did for it.
///
/// The hash is seeded at random, so that keys cannot be ground against it; no id order is promised,
/// and nothing that reaches a block depends on one.
#[derive(derive_more::Debug)]
#[debug("Interner({} keys)", self.shards.iter().map(|shard| shard.lock().len()).sum::<usize>())]
pub struct Interner<K> {
    hasher: RandomState,
    shards: Box<[CachePadded<Shard<K>>]>,
    room: Room,
}

/// How much of the memory the latest uses needed.
///
/// Iterating over a table takes time for its capacity, not for its keys, and keys that lie far apart are in
/// no cache. So the memory that one large block needed is not kept for many small ones.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Uses in a row that needed little of it.
    little_used: u32,
    /// The most keys that one of these had.
    most: usize,
}

/// Uses that need less than this part of the room need little.
const LITTLE: usize = 8;
/// After this many of them in a row the room is cut down, to
const LITTLE_USED_MAX: u32 = 16;
/// this many times the keys of the largest of them,
const ROOM_LEFT: usize = 4;
/// but not to less than this in a part.
const ROOM_LEFT_MIN: usize = 28;

impl Room {
    /// After a use that had so many keys in room for so many: how much to keep, if that is less.
    pub(crate) fn cut_down(&mut self, keys: usize, room: usize) -> Option<usize> {
        if keys >= room / LITTLE {
            *self = Self::default();
            return None;
        }
        self.little_used += 1;
        self.most = self.most.max(keys);
        if self.little_used < LITTLE_USED_MAX {
            return None;
        }
        let kept = self.most * ROOM_LEFT;
        *self = Self::default();
        Some(kept)
    }
}

type Shard<K> = Mutex<HashTable<(K, KeyId)>>;

impl<K: Hash + Eq + Clone> Interner<K> {
    /// An interner without keys.
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            room: Room::default(),
        }
    }

    /// The id of `key`, from `assign` if the key is new. If `assign` fails the key stays unknown.
    pub fn intern<E>(
        &self,
        key: &K,
        assign: impl FnOnce() -> Result<KeyId, E>,
    ) -> Result<KeyId, E> {
        self.intern_hashed(self.hasher.hash_one(key), key, assign)
    }

    /// As [`intern`](Self::intern), by way of what the calling thread looked up lately.
    ///
    /// A few keys are in almost every set (the block's beneficiary, a popular token). Looking them up
    /// in the map would have all threads meet at the lock of one shard.
    pub fn intern_cached<E>(
        &self,
        recent: &mut RecentKeys<K>,
        key: &K,
        assign: impl FnOnce() -> Result<KeyId, E>,
    ) -> Result<KeyId, E> {
        let hash = self.hasher.hash_one(key);
        #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
        let place = &mut recent.0[hash as usize % RECENT_KEYS];
        if let Some((known, id)) = place
            && known == key
        {
            return Ok(*id);
        }
        let id = self.intern_hashed(hash, key, assign)?;
        *place = Some((key.clone(), id));
        Ok(id)
    }

    #[inline]
    fn intern_hashed<E>(
        &self,
        hash: u64,
        key: &K,
        assign: impl FnOnce() -> Result<KeyId, E>,
    ) -> Result<KeyId, E> {
        let mut shard = self.shard(hash).lock();
        if let Some(id) = find_in(&shard, hash, key) {
            return Ok(id);
        }
        let id = assign()?;
        shard.insert_unique(hash, (key.clone(), id), |(known, _)| {
            self.hasher.hash_one(known)
        });
        Ok(id)
    }

    /// The id of `key`, if it has one.
    pub fn get(&self, key: &K) -> Option<KeyId> {
        let hash = self.hasher.hash_one(key);
        find_in(&self.shard(hash).lock(), hash, key)
    }

    /// Calls `each` for every key of one of the `SHARDS` parts, in no order.
    ///
    /// The part is locked meanwhile: `each` must not intern.
    pub fn for_each_in_shard(&self, shard: usize, mut each: impl FnMut(&K, KeyId)) {
        for (key, id) in self.shards[shard].lock().iter() {
            each(key, *id);
        }
    }

    /// The hash of a key, and the part that it belongs to.
    pub fn place_of(&self, key: &K) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        (hash, shard_of(hash))
    }

    /// Locks one of the `SHARDS` parts.
    pub fn lock_shard(&self, shard: usize) -> LockedShard<'_, K> {
        LockedShard(self.shards[shard].lock())
    }

    /// Every key with its id, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, KeyId)> {
        self.shards
            .iter_mut()
            .flat_map(|shard| shard.get_mut().iter().map(|(key, id)| (key, *id)))
    }

    /// Forgets all keys and keeps the memory, unless little of it was needed for some time.
    pub fn clear(&mut self) {
        let (mut keys, mut room) = (0, 0);
        for shard in &mut self.shards {
            let shard = shard.get_mut();
            keys += shard.len();
            room += shard.capacity();
            shard.clear();
        }
        if let Some(kept) = self.room.cut_down(keys, room) {
            let kept = (kept / SHARDS).max(ROOM_LEFT_MIN);
            for shard in &mut self.shards {
                // There is no key to be hashed.
                shard.get_mut().shrink_to(kept, |_| 0);
            }
        }
    }

    fn shard(&self, hash: u64) -> &Shard<K> {
        &self.shards[shard_of(hash)]
    }
}

const fn shard_of(hash: u64) -> usize {
    // The table itself uses the top seven bits and the low bits; the middle is free.
    (hash >> 32) as usize % SHARDS
}

/// A part of an interner that this thread has locked.
pub struct LockedShard<'a, K>(MutexGuard<'a, HashTable<(K, KeyId)>>);

impl<K: Eq> LockedShard<'_, K> {
    /// The id of a key of this part with its hash (see [`Interner::place_of`]), if it has one.
    pub fn get(&self, hash: u64, key: &K) -> Option<KeyId> {
        find_in(&self.0, hash, key)
    }
}

#[inline]
fn find_in<K: Eq>(shard: &HashTable<(K, KeyId)>, hash: u64, key: &K) -> Option<KeyId> {
    let found = shard.find(hash, |(known, _)| known == key);
    found.map(|(_, id)| *id)
}

/// Keys a thread remembers: a power of two, small enough to stay in its cache.
const RECENT_KEYS: usize = 64;

/// What one thread looked up lately in one [`Interner`]. Of no use, and wrong, with another one.
#[derive(derive_more::Debug)]
#[debug("RecentKeys({})", self.0.iter().flatten().count())]
pub struct RecentKeys<K>(Box<[Option<(K, KeyId)>]>);

impl<K> Default for RecentKeys<K> {
    fn default() -> Self {
        Self((0..RECENT_KEYS).map(|_| None).collect())
    }
}

impl<K: Hash + Eq + Clone> Default for Interner<K> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DenseId;
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    #[test]
    fn room_of_a_large_use_is_kept_until_many_small_ones_in_a_row_have_not_needed_it() {
        let mut interner = Interner::<u64>::new();
        let mut use_for = |keys: u64| {
            for key in 0..keys {
                let id = KeyId::from_index(usize::try_from(key).unwrap());
                let got = interner.intern(&key, || Ok::<_, Infallible>(id));
                assert_eq!(got, Ok(id));
            }
            interner.clear();
            assert_eq!(interner.get(&0), None);
            let shards = interner.shards.iter();
            shards.map(|shard| shard.lock().capacity()).sum::<usize>()
        };
        let room = use_for(100_000);
        assert!(room >= 100_000);
        for small in 1..LITTLE_USED_MAX {
            assert_eq!(use_for(1_000), room, "after {small}");
        }
        assert_eq!(use_for(50_000), room, "it is needed now and then");
        for small in 1..LITTLE_USED_MAX {
            assert_eq!(use_for(1_000), room, "after {small}");
        }
        let left = use_for(2_000);
        assert!((8_000..20_000).contains(&left), "{left} for 2,000 keys");
        for _ in 0..10 * LITTLE_USED_MAX {
            assert_eq!(use_for(2_000), left, "that is enough");
        }
    }

    #[test]
    fn threads_agree_on_ids_and_each_key_is_assigned_once() {
        let interner = Interner::<u64>::new();
        let next = AtomicUsize::new(0);
        let ids: Vec<Vec<KeyId>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..5_000_u64)
                            .map(|key| {
                                interner
                                    .intern(&(key % 1_000), || {
                                        Ok::<_, Infallible>(KeyId::from_index(
                                            next.fetch_add(1, Ordering::Relaxed),
                                        ))
                                    })
                                    .unwrap()
                            })
                            .collect()
                    })
                })
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect()
        });
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(next.into_inner(), 1_000);
    }

    #[test]
    fn a_failed_assignment_leaves_the_key_unknown() {
        let interner = Interner::<u8>::new();
        assert_eq!(interner.intern(&1, || Err("no room")), Err("no room"));
        assert_eq!(interner.get(&1), None);
    }
}
