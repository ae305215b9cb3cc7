//! The keys of a whole block, numbered before it runs.

use crate::{
    access::{AccessSet, KeyAccess},
    id::{DenseId, KeyId, TaskId},
    key::StateKey,
};
use ahash::AHashMap;
use std::{collections::hash_map::Entry, fmt, ops::Range};

/// The access sets of a block over one table of its keys.
///
/// Where a block comes with its sets (they were recorded, or are part of it), its keys can get
/// their [dense ids](KeyId) beforehand, in the order in which the transactions first name them. Then
/// nobody looks a key up while the block runs: a transaction [introduces](Self::introduces) the keys
/// that nobody named before it, and whoever prepares it fills their cells.
pub struct KeyTable {
    /// By id.
    keys: Box<[StateKey]>,
    /// All sets, one after another, each in its own order.
    accesses: Box<[KeyAccess]>,
    /// By task.
    ends: Box<[Ends]>,
}

/// Where a task's part ends; it begins where that of the task before it ends.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    accesses: usize,
    keys: usize,
}

impl KeyTable {
    /// Numbers the keys of these sets, in block order; `None` if one of them is the whole state,
    /// whose keys nobody knows beforehand.
    pub fn number<'a>(sets: impl IntoIterator<Item = &'a AccessSet>) -> Option<Self> {
        let (mut keys, mut accesses, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids = AHashMap::new();
        for set in sets {
            let AccessSet::Keys(entries) = set else {
                return None;
            };
            for entry in entries {
                let key = match ids.entry(entry.key) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(new) => {
                        keys.push(entry.key);
                        *new.insert(KeyId::from_index(keys.len() - 1))
                    }
                };
                let mode = entry.mode;
                accesses.push(KeyAccess { key, mode });
            }
            ends.push(Ends {
                accesses: accesses.len(),
                keys: keys.len(),
            });
        }
        Some(Self {
            keys: keys.into(),
            accesses: accesses.into(),
            ends: ends.into(),
        })
    }

    /// The keys by their ids.
    pub fn keys(&self) -> &[StateKey] {
        &self.keys
    }

    /// How many sets there are.
    pub fn sets(&self) -> usize {
        self.ends.len()
    }

    /// A task's set, in its order.
    #[inline]
    pub fn accesses(&self, task: TaskId) -> &[KeyAccess] {
        let start = self.before(task).accesses;
        &self.accesses[start..self.ends[task.index()].accesses]
    }

    /// The ids of the keys that no task before this one names.
    #[inline]
    pub fn introduces(&self, task: TaskId) -> Range<usize> {
        self.before(task).keys..self.ends[task.index()].keys
    }

    #[inline]
    fn before(&self, task: TaskId) -> Ends {
        match task.index().checked_sub(1) {
            Some(before) => self.ends[before],
            None => Ends::default(),
        }
    }

    /// Whether these are the sets that were numbered.
    pub fn is_of<'a>(&self, sets: impl IntoIterator<Item = &'a AccessSet>) -> bool {
        let mut tasks = 0;
        let same = sets.into_iter().enumerate().all(|(index, set)| {
            tasks += 1;
            let AccessSet::Keys(entries) = set else {
                return false;
            };
            let accesses = self.accesses(TaskId::from_index(index));
            let mut pairs = entries.iter().zip(accesses);
            entries.len() == accesses.len()
                && pairs.all(|(entry, access)| {
                    entry.key == self.keys[access.key.index()] && entry.mode == access.mode
                })
        });
        same && tasks == self.sets()
    }
}

impl fmt::Debug for KeyTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyTable")
            .field("keys", &self.keys.len())
            .field("sets", &self.ends.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessMode;
    use alloy_primitives::{Address, U256};

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
        let table = KeyTable::number(&sets).unwrap();
        assert_eq!(table.keys(), [key(3), key(5), key(1)]);
        let introduced: Vec<_> = (0..4)
            .map(|task| table.introduces(TaskId::from_index(task)))
            .collect();
        assert_eq!(introduced, [0..2, 2..2, 2..3, 3..3]);
        let third: Vec<_> = (table.accesses(TaskId::from_index(2)).iter())
            .map(|access| access.key.index())
            .collect();
        assert_eq!(third, [2, 0]);
        assert!(table.is_of(&sets));
        assert!(!table.is_of(&sets[..3]));
        assert!(!table.is_of(&[set(&[3, 5]), set(&[]), set(&[1, 3]), set(&[3])]));
        assert!(KeyTable::number([&AccessSet::Everything]).is_none());
    }
}
