//! The keys of a whole block, numbered before it runs.

use super::pieces::Found;
use crate::model::{AccessSet, DenseId, KeyAccess, KeyId, StateKey, TaskId};
use ahash::RandomState;
use std::ops::Range;

/// The access sets of a block over one table of its keys.
///
/// Where a block's sets are known before it runs, its keys can get their [dense ids](KeyId)
/// beforehand, in the order in which the transactions first name them. Then
/// no thread looks a key up while the block runs: a transaction [introduces](Self::introduces) the keys that
/// no earlier transaction names, and the thread that prepares it fills their cells.
///
/// All sets together show which keys need no lock: those that only one transaction names, that
/// all only read, or that all only credit. Only the rest is [contended](Self::contended).
///
/// A [`Numbering`](crate::Numbering) makes it, on as many threads as there are.
#[derive(Default, derive_more::Debug)]
#[debug("KeyTable {{ keys: {keys}, sets: {sets} }}")]
pub struct KeyTable {
    sets: usize,
    keys: usize,
    /// A part has two to the power of this many transactions.
    part_bits: u32,
    hasher: RandomState,
    /// Sorted.
    popular: Vec<KeyId>,
    found: Found,
}

impl KeyTable {
    pub(crate) fn new(sets: usize, part_bits: u32, hasher: RandomState, found: Found) -> Self {
        let popular = found.linked.iter().flat_map(|part| &part.popular);
        let mut popular: Vec<_> = popular.copied().collect();
        popular.sort_unstable();
        Self {
            popular,
            sets,
            keys: found.counted.iter().map(|part| part.keys.len()).sum(),
            part_bits,
            hasher,
            found,
        }
    }

    pub(crate) fn into_found(self) -> Found {
        self.found
    }

    /// The id of a key, if a set names it.
    pub fn find(&self, key: &StateKey) -> Option<KeyId> {
        let (part, number) = self.found.find(self.hasher.hash_one(key))?;
        let known = self.found.counted[part].keys.get(number)?;
        let id = || KeyId::from_index(self.found.linked[part].first_key + number);
        (known == key).then(id)
    }

    /// Whether many transactions credit a key, and none does anything else with it.
    #[inline]
    pub fn is_popular_credit(&self, key: KeyId) -> bool {
        self.popular.binary_search(&key).is_ok()
    }

    /// The task that names a key first.
    pub fn introducer(&self, key: KeyId) -> Option<TaskId> {
        let (part, number) = self.locate_key(key)?;
        let ends = &self.found.counted[part].ends;
        let place = ends.partition_point(|end| *end as usize <= number);
        let task = || TaskId::from_index((part << self.part_bits) + place);
        (place < ends.len()).then(task)
    }

    /// The part of a task's set that needs locks.
    #[inline]
    pub fn contended(&self, task: TaskId) -> &[KeyAccess] {
        let (part, place) = self.locate(task);
        let part = &self.found.linked[part];
        &part.contended[range_at(place, |place| part.ends[place][1])]
    }

    /// Whether a task is in no conflict, and no other task names the keys that it
    /// [introduces](Self::introduces),
    /// none of which it only credits.
    #[inline]
    pub(crate) fn is_alone(&self, task: TaskId) -> bool {
        let (part, place) = self.locate(task);
        self.found.linked[part].alone[place]
    }

    /// How many keys there are; their ids are the numbers below.
    pub const fn len(&self) -> usize {
        self.keys
    }

    /// Whether no set names a key.
    pub const fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// How many sets there are.
    pub const fn sets(&self) -> usize {
        self.sets
    }

    /// Whether one of the sets is the whole state. It counts as one without keys here.
    pub fn has_everything(&self) -> bool {
        self.found.linked.iter().any(|part| part.everything)
    }

    /// A task's set, in its order.
    #[inline]
    pub fn accesses(&self, task: TaskId) -> &[KeyAccess] {
        let (part, place) = self.locate(task);
        let part = &self.found.linked[part];
        &part.accesses[range_at(place, |place| part.ends[place][0])]
    }

    /// The keys that no task before this one names, and the id of the first of them; the others
    /// follow.
    #[inline]
    pub fn introduces(&self, task: TaskId) -> (KeyId, &[StateKey]) {
        let (part, place) = self.locate(task);
        let counted = &self.found.counted[part];
        let keys = range_at(place, |place| counted.ends[place]);
        let first = KeyId::from_index(self.found.linked[part].first_key + keys.start);
        (first, &counted.keys[keys])
    }

    /// The keys that these tasks introduce, in pieces.
    pub fn introduced_by(&self, tasks: Range<usize>) -> impl Iterator<Item = &[StateKey]> {
        let part_tasks = 1 << self.part_bits;
        let parts = tasks.start >> self.part_bits..tasks.end.div_ceil(part_tasks);
        parts.map(move |part| {
            let ends = &self.found.counted[part].ends;
            let first = part << self.part_bits;
            let key = |task: usize| match task.saturating_sub(first).min(ends.len()) {
                0 => 0,
                place => ends[place - 1] as usize,
            };
            &self.found.counted[part].keys[key(tasks.start)..key(tasks.end)]
        })
    }

    pub(crate) fn parts(&self) -> usize {
        self.found.linked.len()
    }

    pub(crate) fn tasks_of(&self, part: usize) -> Range<usize> {
        let first = part << self.part_bits;
        first..first + self.found.linked[part].ends.len()
    }

    /// The part that names a key first, and the key's number there.
    fn locate_key(&self, key: KeyId) -> Option<(usize, usize)> {
        let linked = &self.found.linked;
        let part = linked.partition_point(|part| part.first_key <= key.index());
        let part = part.checked_sub(1)?;
        Some((part, key.index() - linked[part].first_key))
    }

    #[inline]
    fn locate(&self, task: TaskId) -> (usize, usize) {
        let part = task.index() >> self.part_bits;
        (part, task.index() - (part << self.part_bits))
    }

    /// Whether these are the sets that were numbered.
    pub fn is_of<'a>(&self, sets: impl IntoIterator<Item = &'a AccessSet>) -> bool {
        let mut tasks = 0;
        let same = sets.into_iter().enumerate().all(|(index, set)| {
            tasks += 1;
            if index >= self.sets {
                return false;
            }
            let accesses = self.accesses(TaskId::from_index(index));
            let mut pairs = set.entries().iter().zip(accesses);
            set.entries().len() == accesses.len()
                && pairs.all(|(entry, access)| {
                    self.find(&entry.key) == Some(access.key) && entry.mode == access.mode
                })
        });
        same && tasks == self.sets()
    }
}

/// What belongs to a place of a list, if each place's part begins where that of the one before ends.
#[inline]
fn range_at(place: usize, end: impl Fn(usize) -> u32) -> Range<usize> {
    place.checked_sub(1).map_or(0, &end) as usize..end(place) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccessMode, keys::pieces::KeyUse};
    use alloy_primitives::{Address, U256};
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn keys_are_numbered_where_they_are_first_named() {
        let key = |slot: u8| StateKey::slot(Address::repeat_byte(1), U256::from(slot));
        let set = |slots: &[u8]| {
            let fill = |set: &mut crate::AccessSetBuilder| {
                for slot in slots {
                    set.insert(key(*slot), AccessMode::Write);
                }
            };
            AccessSet::build(fill).unwrap()
        };
        let sets = [set(&[3, 5]), set(&[]), set(&[1, 3]), set(&[5])];
        let table = KeyTable::number(&sets);
        let introduced = [0, 1, 2, 3].map(|task| {
            let (first, keys) = table.introduces(TaskId::from_index(task));
            (first.index(), keys.to_vec())
        });
        let expected = [
            (0, vec![key(3), key(5)]),
            (2, vec![]),
            (2, vec![key(1)]),
            (3, vec![]),
        ];
        assert_eq!(introduced, expected);
        let introducers = [0, 1, 2].map(|id| table.introducer(KeyId::from_index(id)));
        let expected = [0, 0, 2].map(|task| Some(TaskId::from_index(task)));
        assert_eq!(introducers, expected);
        assert_eq!(table.introducer(KeyId::from_index(3)), None);
        assert_eq!(table.find(&key(1)), Some(KeyId::from_index(2)));
        assert_eq!(table.find(&key(2)), None);
        let third: Vec<_> = (table.accesses(TaskId::from_index(2)).iter())
            .map(|access| access.key.index())
            .collect();
        assert_eq!(third, [2, 0]);
        assert!(table.is_of(&sets));
        assert!(!table.is_of(&sets[..3]));
        assert!(!table.is_of(&[set(&[3, 5]), set(&[]), set(&[1, 3]), set(&[3])]));
        let everything = [set(&[3]), AccessSet::Everything];
        let table = KeyTable::number(&everything);
        assert!(table.has_everything());
        assert!(table.accesses(TaskId::from_index(1)).is_empty());
    }

    #[test]
    fn only_keys_that_somebody_waits_for_are_contended() {
        use AccessMode::{Credit, Read, Write};
        let key = |account: u8| StateKey::account(Address::repeat_byte(account));
        let set = |accesses: &[(u8, AccessMode)]| {
            let fill = |set: &mut crate::AccessSetBuilder| {
                for (account, mode) in accesses {
                    set.insert(key(*account), *mode);
                }
            };
            AccessSet::build(fill).unwrap()
        };
        // 0: read by all. 1: credited by all. 2: one writes. 3, 4: mixed. 5: written by two.
        let sets = [
            set(&[(0, Read), (1, Credit), (3, Read), (5, Write)]),
            set(&[(0, Read), (1, Credit), (2, Write), (3, Credit), (4, Write)]),
            set(&[(0, Read), (1, Credit), (4, Read), (5, Write)]),
        ];
        let table = KeyTable::number(&sets);
        let keys: Vec<_> = (0..3)
            .flat_map(|task| table.introduces(TaskId::from_index(task)).1)
            .copied()
            .collect();
        let named = |task| {
            let contended = table.contended(TaskId::from_index(task)).iter();
            let named = contended.map(|access| (keys[access.key.index()], access.mode));
            named.collect::<Vec<_>>()
        };
        assert_eq!(named(0), [(key(3), Read), (key(5), Write)]);
        assert_eq!(named(1), [(key(3), Credit), (key(4), Write)]);
        assert_eq!(named(2), [(key(4), Read), (key(5), Write)]);
    }

    fn any_set() -> impl Strategy<Value = AccessSet> {
        let entry = (0_u8..6, 0_u8..3, 0_u64..40, 0_u8..3);
        prop::collection::vec(entry, 0..8).prop_map(|entries| {
            let fill = |set: &mut crate::AccessSetBuilder| {
                for (account, kind, slot, mode) in entries {
                    let address = Address::repeat_byte(account);
                    let (key, credit) = match kind {
                        0 => (StateKey::account(address), AccessMode::Credit),
                        1 => (StateKey::code(address), AccessMode::Read),
                        _ => (StateKey::slot(address, U256::from(slot)), AccessMode::Read),
                    };
                    set.insert(
                        key,
                        [AccessMode::Read, AccessMode::Write, credit][usize::from(mode)],
                    );
                }
            };
            AccessSet::build(fill).unwrap()
        })
    }

    proptest! {
        /// A map and a walk through the block say the same.
        #[test]
        fn a_table_is_what_a_walk_through_the_block_finds(
            sets in prop::collection::vec(any_set(), 0..150)
        ) {
            let table = KeyTable::number(&sets);
            let mut known = HashMap::<StateKey, (usize, KeyUse, AccessMode, u32)>::new();
            for set in &sets {
                for entry in set.entries() {
                    let next = known.len();
                    known
                        .entry(entry.key)
                        .and_modify(|(_, used, first, names)| {
                            *used = used.and(*first, entry.mode);
                            *names += 1;
                        })
                        .or_insert((next, KeyUse::Private, entry.mode, 1));
                }
            }
            prop_assert_eq!(table.len(), known.len());
            for (key, (id, used, _, names)) in &known {
                let id = KeyId::from_index(*id);
                prop_assert_eq!(table.find(key), Some(id));
                let popular = *used == KeyUse::Credit && *names >= 16;
                prop_assert_eq!(table.is_popular_credit(id), popular);
            }
            let mut introduced = Vec::new();
            for (task, set) in sets.iter().enumerate() {
                let task = TaskId::from_index(task);
                let ids = set.entries().iter().map(|entry| known[&entry.key].0);
                let accesses: Vec<_> = (ids.zip(set.entries()))
                    .map(|(id, entry)| KeyAccess { key: KeyId::from_index(id), mode: entry.mode })
                    .collect();
                prop_assert_eq!(table.accesses(task), &accesses);
                let is_contended = |key| known[key].1 == KeyUse::Contended;
                let both = set.entries().iter().zip(&accesses);
                let contended = both.filter(|(entry, _)| is_contended(&entry.key));
                let contended: Vec<_> = contended.map(|(_, access)| *access).collect();
                prop_assert_eq!(table.contended(task), &contended);
                let is_first = |key: &StateKey| known[key].0 >= introduced.len();
                let alone = contended.is_empty() && set.entries().iter().all(|entry| {
                    let (_, used, ..) = known[&entry.key];
                    let is_own = used == KeyUse::Private && entry.mode != AccessMode::Credit;
                    is_own || !is_first(&entry.key)
                });
                prop_assert_eq!(table.is_alone(task), alone);
                let (first, keys) = table.introduces(task);
                prop_assert_eq!(first.index(), introduced.len());
                for id in first.index()..first.index() + keys.len() {
                    prop_assert_eq!(table.introducer(KeyId::from_index(id)), Some(task));
                }
                introduced.extend_from_slice(keys);
            }
            for key in &introduced {
                prop_assert_eq!(known[key].0, introduced.iter().position(|other| other == key).unwrap());
            }
            let parts = (0..table.parts()).flat_map(|part| table.tasks_of(part));
            prop_assert!(parts.eq(0..sets.len()));
            let (start, end) = (sets.len() / 3, sets.len() / 3 * 2);
            let some: Vec<_> = table.introduced_by(start..end).flatten().copied().collect();
            let first = |task: usize| if table.sets() == task {
                table.len()
            } else {
                table.introduces(TaskId::from_index(task)).0.index()
            };
            if start < end {
                prop_assert_eq!(&some, &introduced[first(start)..first(end)]);
            }
        }
    }
}
