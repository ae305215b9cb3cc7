//! The keys of a whole block, numbered before it runs.

use crate::{
    access::{AccessMode, AccessSet, KeyAccess},
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
///
/// And who knows all sets knows which keys need no lock: those that one transaction alone names, that
/// all only read, or that all only credit. Only the rest is [contended](Self::contended).
pub struct KeyTable {
    /// By id.
    keys: Box<[StateKey]>,
    /// By id.
    uses: Box<[KeyUse]>,
    /// All sets, one after another, each in its own order.
    accesses: Box<[KeyAccess]>,
    /// The contended accesses of all sets, in the same order.
    contended: Box<[KeyAccess]>,
    /// By task.
    ends: Box<[Ends]>,
}

/// What the transactions of a block do with a key, taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
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
    const fn and(self, first: AccessMode, mode: AccessMode) -> Self {
        match (self, first, mode) {
            (Self::Private | Self::Read, AccessMode::Read, AccessMode::Read) => Self::Read,
            (Self::Private | Self::Credit, AccessMode::Credit, AccessMode::Credit) => Self::Credit,
            _ => Self::Contended,
        }
    }
}

/// Where a task's part ends; it begins where that of the task before it ends.
#[derive(Clone, Copy, Debug, Default)]
struct Ends {
    accesses: usize,
    keys: usize,
    contended: usize,
}

impl KeyTable {
    /// Numbers the keys of these sets, in block order; `None` if one of them is the whole state,
    /// whose keys nobody knows beforehand.
    pub fn number<'a>(sets: impl IntoIterator<Item = &'a AccessSet>) -> Option<Self> {
        let (mut keys, mut accesses, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        // With the mode of the first who names the key.
        let mut uses: Vec<(KeyUse, AccessMode)> = Vec::new();
        let mut ids = AHashMap::new();
        for set in sets {
            let AccessSet::Keys(entries) = set else {
                return None;
            };
            for entry in entries {
                let mode = entry.mode;
                let key = match ids.entry(entry.key) {
                    Entry::Occupied(known) => {
                        let key: KeyId = *known.get();
                        let (known, first) = &mut uses[key.index()];
                        *known = known.and(*first, mode);
                        key
                    }
                    Entry::Vacant(new) => {
                        keys.push(entry.key);
                        uses.push((KeyUse::Private, mode));
                        *new.insert(KeyId::from_index(keys.len() - 1))
                    }
                };
                accesses.push(KeyAccess { key, mode });
            }
            ends.push(Ends {
                accesses: accesses.len(),
                keys: keys.len(),
                contended: 0,
            });
        }
        let uses: Box<[_]> = uses.into_iter().map(|(known, _)| known).collect();
        let contended = find_contended(&uses, &accesses, &mut ends);
        Some(Self {
            keys: keys.into(),
            uses,
            accesses: accesses.into(),
            contended,
            ends: ends.into(),
        })
    }

    /// What the block's transactions do with a key.
    #[inline]
    pub fn key_use(&self, key: KeyId) -> KeyUse {
        self.uses[key.index()]
    }

    /// The part of a task's set that needs locks.
    #[inline]
    pub fn contended(&self, task: TaskId) -> &[KeyAccess] {
        let start = self.before(task).contended;
        &self.contended[start..self.ends[task.index()].contended]
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

/// The contended ones of these accesses, and by task where they end.
fn find_contended(uses: &[KeyUse], accesses: &[KeyAccess], ends: &mut [Ends]) -> Box<[KeyAccess]> {
    let mut contended = Vec::new();
    let mut start = 0;
    for ends in ends {
        let set = &accesses[start..ends.accesses];
        let is_contended = |access: &&KeyAccess| uses[access.key.index()] == KeyUse::Contended;
        contended.extend(set.iter().filter(is_contended));
        ends.contended = contended.len();
        start = ends.accesses;
    }
    contended.into()
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
        let table = KeyTable::number(&sets).unwrap();
        let named = |task| {
            let contended = table.contended(TaskId::from_index(task)).iter();
            let named = contended.map(|access| (table.keys()[access.key.index()], access.mode));
            named.collect::<Vec<_>>()
        };
        assert_eq!(named(0), [(key(3), Read), (key(5), Write)]);
        assert_eq!(named(1), [(key(3), Credit), (key(4), Write)]);
        assert_eq!(named(2), [(key(4), Read), (key(5), Write)]);
        let uses = [0, 1, 2].map(|account| {
            let id = table.keys().iter().position(|known| *known == key(account));
            table.key_use(KeyId::from_index(id.unwrap()))
        });
        assert_eq!(uses, [KeyUse::Read, KeyUse::Credit, KeyUse::Private]);
    }
}
