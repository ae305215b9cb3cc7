//! The pieces in which a numbering is made and a key table is kept.

use crate::model::{AccessMode, AccessSet, KeyAccess, KeyId, StateKey};
use ahash::RandomState;
use hashbrown::HashTable;

/// Shards of the hash, where several threads share the work.
pub(super) const HASH_SHARDS: usize = 32;

/// What the transactions of a block do with a key, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyUse {
    /// One transaction names it.
    Private,
    /// Several name it, all to read.
    Read,
    /// Several name it, all to credit.
    Credit,
    /// Several name it, and not all can have it at a time.
    Contended,
}

impl KeyUse {
    /// The use by one more.
    pub(crate) const fn and(self, first: AccessMode, mode: AccessMode) -> Self {
        match (self, first, mode) {
            (Self::Private | Self::Read, AccessMode::Read, AccessMode::Read) => Self::Read,
            (Self::Private | Self::Credit, AccessMode::Credit, AccessMode::Credit) => Self::Credit,
            _ => Self::Contended,
        }
    }
}

/// What rounds leave for later rounds, and for the table.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) scattered: Vec<Scattered>,
    pub(crate) met: Vec<Met>,
    pub(crate) counted: Vec<Counted>,
    pub(crate) linked: Vec<Linked>,
}

/// A piece that is filled again and again, in the same memory.
pub(crate) trait Piece: Default {
    fn clear(&mut self);
}

/// The hashes of a part, by shard.
#[derive(Debug, Default)]
pub(crate) struct Scattered {
    pub(super) items: Vec<HashedAccess>,
    /// By shard: where its items begin; and the end of the last.
    pub(super) starts: Vec<usize>,
    /// By access, before they are sorted.
    pub(super) hashes: Vec<(u64, AccessMode)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct HashedAccess {
    pub(super) hash: u64,
    /// Its place among the accesses of the part.
    pub(super) access: u32,
    pub(super) mode: AccessMode,
}

impl Piece for Scattered {
    fn clear(&mut self) {
        self.items.clear();
        self.starts.clear();
        self.hashes.clear();
    }
}

impl Scattered {
    pub(super) fn shard(&self, shard: usize) -> &[HashedAccess] {
        &self.items[self.starts[shard]..self.starts[shard + 1]]
    }

    /// `shards` is at most [`HASH_SHARDS`].
    pub(super) fn fill<'s>(
        &mut self,
        sets: impl Iterator<Item = &'s AccessSet>,
        shards: usize,
        hasher: &RandomState,
    ) {
        let mut counts = [0; HASH_SHARDS];
        for set in sets {
            for entry in set.entries() {
                let hash = hasher.hash_one(entry.key);
                counts[shard_of(hash, shards)] += 1;
                self.hashes.push((hash, entry.mode));
            }
        }
        let mut next = [0; HASH_SHARDS];
        let mut start = 0;
        for (next, count) in next[..shards].iter_mut().zip(counts) {
            self.starts.push(start);
            *next = start;
            start += count;
        }
        self.starts.push(start);
        let nothing = HashedAccess {
            hash: 0,
            access: 0,
            mode: AccessMode::Read,
        };
        self.items.resize(start, nothing);
        for (access, (hash, mode)) in (0..).zip(self.hashes.iter().copied()) {
            let next = &mut next[shard_of(hash, shards)];
            self.items[*next] = HashedAccess { hash, access, mode };
            *next += 1;
        }
    }
}

/// A key of a shard.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) hash: u64,
    /// Where it is named first.
    pub(super) part: u32,
    pub(super) access: u32,
    /// How it is named there.
    pub(super) mode: AccessMode,
    pub(super) used: KeyUse,
    /// How many name it.
    pub(super) names: u32,
}

/// The keys of a shard.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(super) known: Vec<Known>,
    pub(super) places: HashTable<u32>,
    /// By item, part after part: its key among `known`.
    pub(super) of: Vec<u32>,
    /// By part: where its items begin in `of`; and the end of the last.
    pub(super) starts: Vec<usize>,
}

impl Piece for Met {
    fn clear(&mut self) {
        self.known.clear();
        self.places.clear();
        self.of.clear();
        self.starts.clear();
    }
}

impl Met {
    /// The keys of this shard's items of a part, in their order.
    pub(super) fn of_part(&self, part: usize) -> impl Iterator<Item = &Known> {
        let keys = &self.of[self.starts[part]..self.starts[part + 1]];
        keys.iter().map(|key| &self.known[*key as usize])
    }

    pub(super) fn add(&mut self, part: u32, item: &HashedAccess) {
        let Self {
            known, places, of, ..
        } = self;
        let new = narrow(known.len());
        let hash_of = |key: &u32| known[*key as usize].hash;
        let same = |key: &u32| hash_of(key) == item.hash;
        match places.entry(item.hash, same, hash_of) {
            hashbrown::hash_table::Entry::Occupied(key) => {
                let key = *key.get();
                let known = &mut known[key as usize];
                known.used = known.used.and(known.mode, item.mode);
                known.names += 1;
                of.push(key);
            }
            hashbrown::hash_table::Entry::Vacant(place) => {
                place.insert(new);
                of.push(new);
                known.push(Known {
                    hash: item.hash,
                    part,
                    access: item.access,
                    mode: item.mode,
                    used: KeyUse::Private,
                    names: 1,
                });
            }
        }
    }
}

/// The keys that a part names first.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// By access: the number of its key among `keys`, if it is named first here.
    pub(super) numbers: Vec<u32>,
    pub(crate) keys: Vec<StateKey>,
    /// By task of the part: where its keys end.
    pub(crate) ends: Vec<u32>,
}

/// In `Counted::numbers`: a key that was named before.
pub(super) const NAMED_BEFORE: u32 = u32::MAX;
/// And one that was not, and has no number yet.
pub(super) const NAMED_FIRST: u32 = u32::MAX - 1;

impl Piece for Counted {
    fn clear(&mut self) {
        self.numbers.clear();
        self.keys.clear();
        self.ends.clear();
    }
}

/// The sets of a part.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// One after another, each in its own order.
    pub(crate) accesses: Vec<KeyAccess>,
    /// The contended ones of them.
    pub(crate) contended: Vec<KeyAccess>,
    /// By task of the part: where its accesses end in the two lists.
    pub(crate) ends: Vec<[u32; 2]>,
    /// By task of the part: whether it is [alone](KeyTable::is_alone).
    pub(crate) alone: Vec<bool>,
    /// The number of the part's first key.
    pub(crate) first_key: usize,
    /// The keys of the part that many transactions credit and none uses otherwise.
    pub(crate) popular: Vec<KeyId>,
    /// Whether one of the sets is everything.
    pub(crate) everything: bool,
    /// Whether a key has the hash of another one.
    pub(super) same_hash: bool,
    /// By access: what the block does with the key.
    pub(super) used: Vec<KeyUse>,
}

impl Piece for Linked {
    fn clear(&mut self) {
        self.accesses.clear();
        self.contended.clear();
        self.ends.clear();
        self.alone.clear();
        self.popular.clear();
        self.used.clear();
        self.everything = false;
        self.same_hash = false;
    }
}

impl Found {
    /// Where a key with this hash is named first, as part and number in the part.
    pub(crate) fn find(&self, hash: u64) -> Option<(usize, usize)> {
        let met = self.met.get(shard_of(hash, self.met.len()))?;
        let same = |key: &u32| met.known[*key as usize].hash == hash;
        let known = &met.known[*met.places.find(hash, same)? as usize];
        let part = known.part as usize;
        let number = self.counted[part].numbers[known.access as usize];
        Some((part, number as usize))
    }
}

/// The shard of a hash; there are a power of two of them. The tables of the shards use the top seven bits
/// and the low ones.
pub(super) const fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & (shards - 1)
}

pub(super) fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a block names fewer than 2^32 keys")
}
