//! Numbering the keys of a block on all workers.
//!
//! The work is cut into pieces that need no order among each other, in four [rounds](Round) of which
//! each begins when the one before is over:
//!
//! 1. by part of the block: hash all keys, and sort the hashes by shard;
//! 2. by shard: find out which are the same, where each stands first, and in which modes;
//! 3. by part: number the keys that are named first here;
//! 4. by part: write every set down by number.
//!
//! Nobody waits for a lock in a round, and no two threads look up the same key. The numbers do not
//! depend on how the work was cut: they follow the order in which the transactions name the keys.
//!
//! Until the last round keys are compared by their hashes alone, which fit in a fourth of the memory.
//! There every name of a key is held against the first one. Should two keys share a hash, then the
//! numbering is [begun again](Numbering::finish) with another seed.

use super::key_table::{KeyTable, KeyUse};
use crate::{
    memory::prefetch,
    model::{AccessMode, AccessSet, DenseId, KeyAccess, KeyId, StateKey, TaskId},
};
use ahash::RandomState;
use hashbrown::HashTable;
use parking_lot::{RwLock, RwLockReadGuard};
use std::{fmt, ops::Range};

/// Shards of the hash, where several threads share the work.
const SHARDS: usize = 32;

/// Parts of a block, unless they would be too small or too large.
const PARTS: usize = 32;
/// Transactions in a part.
const PART_TASKS_MIN: usize = 16;
const PART_TASKS_MAX: usize = 2_048;

/// Sets were made by others, each in memory of its own, and fit into no cache together: so many sets ahead one is asked
/// for, and so much of it.
const SETS_AHEAD: usize = 4;
const ENTRIES_NEAR: usize = 8;

/// A key that this many transactions credit is popular.
const POPULAR: u32 = 16;

/// A round of the numbering. Its pieces may be done in any order and on any threads, once all of the
/// round before are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// Sorts the keys of a part by their hashes.
    Scatter,
    /// Finds the same keys of a shard.
    Meet,
    /// Numbers the keys that a part names first.
    Count,
    /// Writes the sets of a part down by number.
    Link,
}

impl Round {
    /// In their order.
    pub const ALL: [Self; 4] = [Self::Scatter, Self::Meet, Self::Count, Self::Link];
}

/// The numbering of a block's keys, under way.
///
/// ```
/// use lockweave_runtime::{AccessSet, DenseId, Numbering, Round};
///
/// let sets = [AccessSet::empty(), AccessSet::empty()];
/// let numbering = Numbering::new(sets.len(), None);
/// for round in Round::ALL {
///     // On any threads.
///     for piece in 0..numbering.pieces(round) {
///         numbering.run(round, piece, |task| &sets[task.index()]);
///     }
/// }
/// assert_eq!(numbering.finish()?.sets(), 2);
/// # Ok::<(), lockweave_runtime::SameHash>(())
/// ```
pub struct Numbering {
    tasks: usize,
    /// A part has two to the power of this many transactions.
    part_bits: u32,
    hasher: RandomState,
    scattered: Vec<RwLock<Scattered>>,
    met: Vec<RwLock<Met>>,
    counted: Vec<RwLock<Counted>>,
    linked: Vec<RwLock<Linked>>,
}

/// Two keys of a block have the same hash. Chances are some 2^-30 with a hundred thousand keys.
#[derive(Debug, thiserror::Error)]
#[error("two keys have the same hash; number them again, with another seed")]
pub struct SameHash(Box<KeyTable>);

impl SameHash {
    /// The memory, for the next attempt.
    pub fn into_memory(self) -> KeyTable {
        *self.0
    }
}

/// What rounds leave for the rounds behind them, and for the table.
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
    items: Vec<Item>,
    /// By shard: where its items begin; and the end of the last.
    starts: Vec<usize>,
    /// By access, before they are sorted.
    hashes: Vec<(u64, AccessMode)>,
}

#[derive(Clone, Copy, Debug)]
struct Item {
    hash: u64,
    /// Its place among the accesses of the part.
    access: u32,
    mode: AccessMode,
}

impl Piece for Scattered {
    fn clear(&mut self) {
        self.items.clear();
        self.starts.clear();
        self.hashes.clear();
    }
}

impl Scattered {
    fn shard(&self, shard: usize) -> &[Item] {
        &self.items[self.starts[shard]..self.starts[shard + 1]]
    }

    /// `shards` is at most [`SHARDS`].
    fn fill<'s>(
        &mut self,
        sets: impl Iterator<Item = &'s AccessSet>,
        shards: usize,
        hasher: &RandomState,
    ) {
        let mut counts = [0; SHARDS];
        for set in sets {
            for entry in set.entries() {
                let hash = hasher.hash_one(entry.key);
                counts[shard_of(hash, shards)] += 1;
                self.hashes.push((hash, entry.mode));
            }
        }
        let mut next = [0; SHARDS];
        let mut start = 0;
        for (next, count) in next[..shards].iter_mut().zip(counts) {
            self.starts.push(start);
            *next = start;
            start += count;
        }
        self.starts.push(start);
        let nothing = Item {
            hash: 0,
            access: 0,
            mode: AccessMode::Read,
        };
        self.items.resize(start, nothing);
        for (access, (hash, mode)) in (0..).zip(self.hashes.iter().copied()) {
            let next = &mut next[shard_of(hash, shards)];
            self.items[*next] = Item { hash, access, mode };
            *next += 1;
        }
    }
}

/// A key of a shard.
#[derive(Debug)]
struct Known {
    hash: u64,
    /// Where it is named first.
    part: u32,
    access: u32,
    /// How it is named there.
    mode: AccessMode,
    used: KeyUse,
    /// How many name it.
    names: u32,
}

/// The keys of a shard.
#[derive(Debug, Default)]
pub(crate) struct Met {
    known: Vec<Known>,
    places: HashTable<u32>,
    /// By item, part after part: its key among `known`.
    of: Vec<u32>,
    /// By part: where its items begin in `of`; and the end of the last.
    starts: Vec<usize>,
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
    fn of_part(&self, part: usize) -> impl Iterator<Item = &Known> {
        let keys = &self.of[self.starts[part]..self.starts[part + 1]];
        keys.iter().map(|key| &self.known[*key as usize])
    }

    fn add(&mut self, part: u32, item: &Item) {
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
    numbers: Vec<u32>,
    pub(crate) keys: Vec<StateKey>,
    /// By task of the part: where its keys end.
    pub(crate) ends: Vec<u32>,
}

/// In `Counted::numbers`: a key that was named before.
const NAMED_BEFORE: u32 = u32::MAX;
/// And one that was not, and has no number yet.
const NAMED_FIRST: u32 = u32::MAX - 1;

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
    /// By key of the part.
    pub(crate) uses: Vec<KeyUse>,
    /// The keys of the part that many credit and nobody does anything else with.
    pub(crate) popular: Vec<KeyId>,
    /// Whether one of the sets is everything.
    pub(crate) everything: bool,
    /// Whether a key has the hash of another one.
    same_hash: bool,
    /// By access: what the block does with the key.
    used: Vec<KeyUse>,
}

impl Piece for Linked {
    fn clear(&mut self) {
        self.accesses.clear();
        self.contended.clear();
        self.ends.clear();
        self.alone.clear();
        self.uses.clear();
        self.popular.clear();
        self.used.clear();
        self.everything = false;
        self.same_hash = false;
    }
}

impl Numbering {
    /// A numbering of the keys of this many sets, in the memory of a table that nobody needs any
    /// more.
    pub fn new(tasks: usize, memory: Option<KeyTable>) -> Self {
        Self::with_shards(SHARDS, tasks, memory)
    }

    /// The same, to be done on one thread.
    pub(crate) fn on_one_thread(tasks: usize, memory: Option<KeyTable>) -> Self {
        Self::with_shards(1, tasks, memory)
    }

    fn with_shards(shards: usize, tasks: usize, memory: Option<KeyTable>) -> Self {
        let part_tasks = tasks
            .div_ceil(PARTS)
            .clamp(PART_TASKS_MIN, PART_TASKS_MAX)
            .next_power_of_two();
        let parts = tasks.div_ceil(part_tasks);
        let memory = memory.map(KeyTable::into_found).unwrap_or_default();
        Self {
            tasks,
            part_bits: part_tasks.trailing_zeros(),
            hasher: RandomState::new(),
            scattered: renew(memory.scattered, parts),
            met: renew(memory.met, shards),
            counted: renew(memory.counted, parts),
            linked: renew(memory.linked, parts),
        }
    }

    /// How many pieces a round has.
    pub fn pieces(&self, round: Round) -> usize {
        match round {
            Round::Meet => self.met.len(),
            Round::Scatter | Round::Count | Round::Link => self.scattered.len(),
        }
    }

    /// Does one piece of a round. From any thread, once; `set` gives the same sets to all of them.
    pub fn run<'s>(&self, round: Round, piece: usize, set: impl Fn(TaskId) -> &'s AccessSet) {
        // Looked at by none of the rounds by shard.
        let tasks = self.tasks_of(piece);
        let sets = tasks.clone().map(|task| {
            let ahead = task + SETS_AHEAD;
            if ahead < tasks.end {
                prefetch::slice_for_reading(set(TaskId::from_index(ahead)).entries(), ENTRIES_NEAR);
            }
            set(TaskId::from_index(task))
        });
        match round {
            Round::Scatter => {
                let scattered = &mut *self.scattered[piece].write();
                scattered.fill(sets, self.met.len(), &self.hasher);
            }
            Round::Meet => self.meet(piece),
            Round::Count => self.count(piece, sets),
            Round::Link => self.link(piece, sets),
        }
    }

    fn tasks_of(&self, part: usize) -> Range<usize> {
        part << self.part_bits..((part + 1) << self.part_bits).min(self.tasks)
    }

    fn meet(&self, shard: usize) {
        let met = &mut *self.met[shard].write();
        for (part, scattered) in (0..).zip(&self.scattered) {
            met.starts.push(met.of.len());
            for item in scattered.read().shard(shard) {
                met.add(part, item);
            }
        }
        met.starts.push(met.of.len());
    }

    /// Every access of a part, shard by shard, and what is known of its key.
    fn for_each_access(&self, part: usize, mut each: impl FnMut(usize, &Known)) {
        let scattered = self.scattered[part].read();
        for (shard, met) in self.met.iter().enumerate() {
            let met = met.read();
            for (item, known) in scattered.shard(shard).iter().zip(met.of_part(part)) {
                each(item.access as usize, known);
            }
        }
    }

    fn count<'s>(&self, part: usize, sets: impl Iterator<Item = &'s AccessSet>) {
        let counted = &mut *self.counted[part].write();
        let accesses = self.scattered[part].read().items.len();
        counted.numbers.resize(accesses, NAMED_BEFORE);
        self.for_each_access(part, |access, known| {
            if (known.part as usize, known.access as usize) == (part, access) {
                counted.numbers[access] = NAMED_FIRST;
            }
        });
        let mut numbers = counted.numbers.iter_mut();
        for set in sets {
            for (entry, number) in set.entries().iter().zip(&mut numbers) {
                if *number == NAMED_FIRST {
                    *number = narrow(counted.keys.len());
                    counted.keys.push(entry.key);
                }
            }
            counted.ends.push(narrow(counted.keys.len()));
        }
    }

    fn link<'s>(&self, part: usize, sets: impl Iterator<Item = &'s AccessSet>) {
        let counted: Vec<RwLockReadGuard<'_, Counted>> =
            self.counted.iter().map(RwLock::read).collect();
        let mut first_keys = Vec::with_capacity(counted.len());
        let mut keys = 0;
        for counted in &counted {
            first_keys.push(keys);
            keys += counted.keys.len();
        }
        let linked = &mut *self.linked[part].write();
        linked.first_key = first_keys[part];
        let own = &*counted[part];
        let nobody = KeyAccess {
            key: KeyId::from_index(0),
            mode: AccessMode::Read,
        };
        linked.accesses.resize(own.numbers.len(), nobody);
        linked.used.resize(own.numbers.len(), KeyUse::Private);
        linked.uses.resize(own.keys.len(), KeyUse::Private);
        self.for_each_access(part, |access, known| {
            let first = known.part as usize;
            let number = counted[first].numbers[known.access as usize] as usize;
            linked.accesses[access].key = KeyId::from_index(first_keys[first] + number);
            linked.used[access] = known.used;
            if own.numbers[access] == NAMED_BEFORE {
                // Below it is held against this one.
                prefetch::for_reading(&raw const counted[first].keys[number]);
            } else {
                linked.uses[number] = known.used;
                if known.used == KeyUse::Credit && known.names >= POPULAR {
                    linked.popular.push(linked.accesses[access].key);
                }
            }
        });
        let mut accesses = (linked.accesses.iter_mut()).zip(linked.used.iter().copied());
        let mut numbers = own.numbers.iter().copied();
        let mut end = 0;
        for set in sets {
            linked.everything |= *set == AccessSet::Everything;
            let mut alone = true;
            for ((entry, (access, used)), number) in
                set.entries().iter().zip(&mut accesses).zip(&mut numbers)
            {
                access.mode = entry.mode;
                if number == NAMED_BEFORE {
                    let key = access.key.index();
                    let first = first_keys.partition_point(|first| *first <= key) - 1;
                    let same = counted[first].keys[key - first_keys[first]] == entry.key;
                    linked.same_hash |= !same;
                }
                if used == KeyUse::Contended {
                    linked.contended.push(*access);
                }
                let is_first = number != NAMED_BEFORE;
                let is_own = used == KeyUse::Private && access.mode != AccessMode::Credit;
                alone &= used != KeyUse::Contended && (is_own || !is_first);
            }
            linked.alone.push(alone);
            end += set.entries().len();
            linked
                .ends
                .push([narrow(end), narrow(linked.contended.len())]);
        }
    }

    /// All sets over their numbered keys, when all rounds are done.
    pub fn finish(self) -> Result<KeyTable, SameHash> {
        let found = Found {
            scattered: frozen(self.scattered),
            met: frozen(self.met),
            counted: frozen(self.counted),
            linked: frozen(self.linked),
        };
        let same_hash = found.linked.iter().any(|linked| linked.same_hash);
        let table = KeyTable::new(self.tasks, self.part_bits, self.hasher, found);
        if same_hash {
            return Err(SameHash(Box::new(table)));
        }
        Ok(table)
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
const fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & (shards - 1)
}

fn narrow(count: usize) -> u32 {
    u32::try_from(count).expect("a block names fewer than 2^32 keys")
}

/// As many cleared pieces as are needed, in the memory of earlier ones.
fn renew<P: Piece>(memory: Vec<P>, pieces: usize) -> Vec<RwLock<P>> {
    let mut renewed: Vec<_> = memory.into_iter().map(RwLock::new).collect();
    renewed.resize_with(pieces, RwLock::default);
    for piece in &mut renewed {
        piece.get_mut().clear();
    }
    renewed
}

fn frozen<P>(pieces: Vec<RwLock<P>>) -> Vec<P> {
    pieces.into_iter().map(RwLock::into_inner).collect()
}

impl fmt::Debug for Numbering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Numbering")
            .field("tasks", &self.tasks)
            .field("parts", &self.scattered.len())
            .finish_non_exhaustive()
    }
}
