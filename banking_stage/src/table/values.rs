//! A table of keys and values.

use lockweave_runtime::{Cells, Interner, KeyId};
use std::{convert::Infallible, fmt, hash::Hash};

/// A key of a table: anything that can be hashed and sent.
///
/// Implemented for all types that qualify.
pub trait TableKey: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static> TableKey for K {}

/// A value of a table: anything that has a default and can be shared.
///
/// Implemented for all types that qualify.
pub trait TableValue: Default + Send + Sync + 'static {}
impl<V: Default + Send + Sync + 'static> TableValue for V {}

/// Keys and their values. A key that a task declares and that is not in the table gets the default
/// value.
#[derive(derive_more::Debug)]
#[debug("Table {{ keys: {} }}", self.cells.len())]
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

    /// Sets a value and returns the old one.
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

    /// The value of a key, for changing it.
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

    /// Calls `visit` with every key and its value, in no order.
    pub fn for_each(&mut self, mut visit: impl FnMut(&K, &mut V)) {
        for (key, id) in self.interner.iter_mut() {
            visit(key, self.cells.get_mut(id));
        }
    }

    /// The id of a key, which gets the default value if it is new.
    pub(crate) fn id(&self, key: &K) -> KeyId {
        intern(&self.interner, key, || self.cells.push(V::default()))
    }

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
