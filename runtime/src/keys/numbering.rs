//! Numbering the keys of a block on all workers.
//!
//! The work is cut into pieces that need no order among each other, in four [rounds](Round) of which
//! each begins when the one before is over:
//!
//! 1. by part of the block: hash all keys, and sort the hashes by shard;
//! 2. by shard: find equal keys, where each occurs first, and in which modes;
//! 3. by part: number the keys that are named first here;
//! 4. by part: write every set down by number.
//!
//! No thread waits for a lock in a round, and no two threads look up the same key. The numbers do not
//! depend on how the work was cut: they follow the order in which the transactions name the keys.
//!
//! Until the last round keys are compared by their hashes alone, which fit in a fourth of the memory.
//! There every occurrence of a key is compared with the first one. Should two keys share a hash, then the
//! numbering is [begun again](Numbering::finish) with another seed.

use super::{
    key_table::KeyTable,
    pieces::{
        Counted, Found, HASH_SHARDS, KeyUse, Known, Linked, Met, NAMED_BEFORE, NAMED_FIRST, Piece,
        Scattered, narrow,
    },
};
use crate::{
    memory::prefetch,
    model::{AccessMode, AccessSet, DenseId, KeyAccess, KeyId, TaskId},
};
use ahash::RandomState;
use parking_lot::{RwLock, RwLockReadGuard};
use std::ops::Range;

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
#[derive(derive_more::Debug)]
#[debug("Numbering {{ tasks: {tasks}, parts: {} }}", self.scattered.len())]
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

impl Numbering {
    /// A numbering of the keys of this many sets, in the memory of a table that is not needed any
    /// more.
    pub fn new(tasks: usize, memory: Option<KeyTable>) -> Self {
        Self::with_shards(HASH_SHARDS, tasks, memory)
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
        // Not used by the rounds by shard.
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
        self.for_each_access(part, |access, known| {
            let first = known.part as usize;
            let number = counted[first].numbers[known.access as usize] as usize;
            linked.accesses[access].key = KeyId::from_index(first_keys[first] + number);
            linked.used[access] = known.used;
            if own.numbers[access] == NAMED_BEFORE {
                // It is compared with this one below.
                prefetch::for_reading(&raw const counted[first].keys[number]);
            } else if known.used == KeyUse::Credit && known.names >= POPULAR {
                linked.popular.push(linked.accesses[access].key);
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

impl KeyTable {
    /// Numbers the keys of these sets, in block order, on this thread.
    pub fn number<'a>(sets: impl IntoIterator<Item = &'a AccessSet>) -> Self {
        Self::number_in(None, sets)
    }

    /// The same, in the memory of a table that is not needed any more.
    pub(crate) fn number_in<'a>(
        mut memory: Option<Self>,
        sets: impl IntoIterator<Item = &'a AccessSet>,
    ) -> Self {
        let sets: Vec<_> = sets.into_iter().collect();
        loop {
            let numbering = Numbering::on_one_thread(sets.len(), memory);
            for round in Round::ALL {
                for piece in 0..numbering.pieces(round) {
                    numbering.run(round, piece, |task| sets[task.index()]);
                }
            }
            match numbering.finish() {
                Ok(table) => return table,
                Err(same_hash) => memory = Some(same_hash.into_memory()),
            }
        }
    }
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
