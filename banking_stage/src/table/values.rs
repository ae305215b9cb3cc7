//! A table of an embedder's own keys and values, and tasks that change it.
//!
//! All an embedder needs who has no EVM: name the keys a task touches, write what it does, and
//! [`BankingStage::run_table`](crate::BankingStage::run_table) does the rest.

use crate::table::run::TableCells;
use lockweave_runtime::{AccessMode, Cells, DenseId, Interner, KeyAccess, KeyId};
use std::{convert::Infallible, fmt, hash::Hash};
use thiserror::Error;

/// What a key of a table is: anything that can be hashed and sent.
///
/// Implemented for all types that qualify.
pub trait TableKey: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static> TableKey for K {}

/// What a value of a table is: anything that has a first value and can be shared.
///
/// Implemented for all types that qualify.
pub trait TableValue: Default + Send + Sync + 'static {}
impl<V: Default + Send + Sync + 'static> TableValue for V {}

/// Keys and their values. A key that a task declares and that is not in the table gets the default
/// value.
pub struct Table<K, V> {
    interner: Interner<K>,
    cells: Cells<V>,
}

impl<K: TableKey, V: TableValue> Table<K, V> {
    /// A table without keys.
    pub fn new() -> Self {
        Self {
            interner: Interner::new(),
            cells: Cells::new(),
        }
    }

    /// Sets a value and returns the one before.
    #[expect(clippy::needless_pass_by_value, reason = "a map's signature")]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(id) = self.interner.get(&key) {
            return Some(std::mem::replace(self.cells.get_mut(id), value));
        }
        intern(&self.interner, &key, || self.cells.push(value));
        None
    }

    /// The value of a key.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let id = self.interner.get(key)?;
        Some(self.cells.get_mut(id))
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let id = self.interner.get(key)?;
        Some(self.cells.get_mut(id))
    }

    /// Keys in the table.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Calls `look` with every key and its value, in no order.
    pub fn for_each(&mut self, mut look: impl FnMut(&K, &mut V)) {
        for (key, id) in self.interner.iter_mut() {
            look(key, self.cells.get_mut(id));
        }
    }

    /// The id of a key, which gets the default value if it is new.
    pub(crate) fn id(&self, key: &K) -> KeyId {
        intern(&self.interner, key, || self.cells.push(V::default()))
    }

    /// The id of a key, if it has one.
    pub(crate) fn find(&self, key: &K) -> Option<KeyId> {
        self.interner.get(key)
    }

    pub(crate) const fn cells(&self) -> &Cells<V> {
        &self.cells
    }
}

fn intern<K: TableKey>(interner: &Interner<K>, key: &K, assign: impl FnOnce() -> KeyId) -> KeyId {
    match interner.intern(key, || Ok::<_, Infallible>(assign())) {
        Ok(id) => id,
        Err(never) => match never {},
    }
}

impl<K: TableKey, V: TableValue> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: TableKey, V: TableValue> FromIterator<(K, V)> for Table<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut table = Self::new();
        for (key, value) in entries {
            table.insert(key, value);
        }
        table
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("keys", &self.cells.len())
            .finish_non_exhaustive()
    }
}

/// A task over a table.
pub trait TableTask<K: TableKey, V: TableValue>: Send + Sync + 'static {
    /// Why a task fails. To use `?` on [`TableCells`], it is made from [`Undeclared`].
    type Error: std::error::Error + Send + Sync + 'static;

    /// Names all keys that the task will touch.
    fn access(&self, declare: &mut Declare<'_, K>);

    /// Runs the task. An error stops the whole run; effects on the table are not undone.
    fn run(&self, cells: &mut TableCells<'_, K, V>) -> Result<(), Self::Error>;

    /// Roughly what the task costs, in units of which 300,000 are worth a hand-over between
    /// threads several times over (some 100 µs).
    fn cost(&self) -> u64 {
        crate::stage::workload::TASK_COST_DEFAULT
    }
}

/// Collects what a task declares. A key may be named several times; it is held in the weakest mode
/// that allows all that was asked.
pub struct Declare<'a, K> {
    id: &'a dyn Fn(&K) -> KeyId,
    keys: Vec<KeyAccess>,
    everything: bool,
}

impl<'a, K> Declare<'a, K> {
    pub(crate) fn new(id: &'a dyn Fn(&K) -> KeyId) -> Self {
        Self {
            id,
            keys: Vec::new(),
            everything: false,
        }
    }

    /// Names a key.
    pub fn key(&mut self, key: &K, mode: AccessMode) -> &mut Self {
        let key = (self.id)(key);
        self.keys.push(KeyAccess { key, mode });
        self
    }

    /// The task will look at the value of `key`.
    pub fn read(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Read)
    }

    /// The task will change the value of `key`.
    pub fn write(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Write)
    }

    /// The task will add to the value of `key` without looking, beside others who do.
    pub fn credit(&mut self, key: &K) -> &mut Self {
        self.key(key, AccessMode::Credit)
    }

    /// The task cannot tell, or touches very much: it runs alone, with every key.
    pub fn everything(&mut self) -> &mut Self {
        self.everything = true;
        self
    }

    /// Each key once, or `None` for everything.
    pub(crate) fn finish(mut self) -> Option<Box<[KeyAccess]>> {
        if self.everything {
            return None;
        }
        self.keys.sort_unstable_by_key(|entry| entry.key);
        self.keys.dedup_by(|next, kept| {
            let same = next.key == kept.key;
            if same {
                kept.mode = kept.mode.union(next.mode);
            }
            same
        });
        debug_assert!(
            self.keys
                .windows(2)
                .all(|pair| pair[0].key.index() < pair[1].key.index())
        );
        Some(self.keys.into_boxed_slice())
    }
}

impl<K> fmt::Debug for Declare<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declare")
            .field("keys", &self.keys)
            .field("everything", &self.everything)
            .finish_non_exhaustive()
    }
}

/// A task touched a key that it did not declare, or not in this mode.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no {mode} access to key {key:?} was declared; name it in the task's `access`")]
pub struct Undeclared<K: fmt::Debug> {
    /// The key.
    pub key: K,
    /// What was to be done with it.
    pub mode: AccessMode,
}
