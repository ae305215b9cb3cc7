//! A map whose entries are kept in insertion order.

use ahash::RandomState;
use hashbrown::HashTable;
use std::{
    hash::Hash,
    ops::{Index, IndexMut},
};

/// Entries by key and by place. None is ever taken out.
#[derive(Debug)]
pub(crate) struct PlaceMap<K, V> {
    places: HashTable<u32>,
    entries: Vec<(K, V)>,
    hasher: RandomState,
}

impl<K, V> Default for PlaceMap<K, V> {
    fn default() -> Self {
        Self {
            places: HashTable::new(),
            entries: Vec::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq, V> PlaceMap<K, V> {
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.entries.clear();
    }

    /// Gives back memory for more than so many entries.
    pub(crate) fn shrink_to(&mut self, capacity: usize) {
        let Self {
            places,
            entries,
            hasher,
        } = self;
        places.shrink_to(capacity, |place| hasher.hash_one(&entries[at(*place)].0));
        entries.shrink_to(capacity);
    }

    pub(crate) fn capacity(&self) -> usize {
        self.places.capacity().max(self.entries.capacity())
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn entries(&self) -> &[(K, V)] {
        &self.entries
    }

    #[inline]
    pub(crate) fn find(&self, key: &K) -> Option<usize> {
        let is_it = |place: &u32| self.entries[at(*place)].0 == *key;
        let place = self.places.find(self.hasher.hash_one(key), is_it)?;
        Some(at(*place))
    }

    /// The place of a key, which gets one, with what `make` says, if it has none.
    #[inline]
    pub(crate) fn find_or_try_insert<E>(
        &mut self,
        key: K,
        make: impl FnOnce() -> Result<V, E>,
    ) -> Result<usize, E> {
        let Self {
            places,
            entries,
            hasher,
        } = self;
        let hash = hasher.hash_one(&key);
        let known = places.find(hash, |place| entries[at(*place)].0 == key);
        if let Some(place) = known {
            return Ok(at(*place));
        }
        let place = entries.len();
        let small = u32::try_from(place).expect("a block has less than 2^32 changes");
        entries.push((key, make()?));
        places.insert_unique(hash, small, |place| hasher.hash_one(&entries[at(*place)].0));
        Ok(place)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.find(key).map(|place| &self[place])
    }

    #[inline]
    pub(crate) fn key_at(&self, place: usize) -> Option<&K> {
        self.entries.get(place).map(|(key, _)| key)
    }
}

const fn at(place: u32) -> usize {
    place as usize
}

impl<K, V> Index<usize> for PlaceMap<K, V> {
    type Output = V;

    fn index(&self, place: usize) -> &V {
        &self.entries[place].1
    }
}

impl<K, V> IndexMut<usize> for PlaceMap<K, V> {
    fn index_mut(&mut self, place: usize) -> &mut V {
        &mut self.entries[place].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::HashMap;

    proptest! {
        /// Keys have the places in which they came, whatever is asked for in between, also in memory of before.
        #[test]
        fn keys_keep_their_places(rounds in vec((vec((any::<bool>(), 0..200_u16), 0..300), 0..50_usize), 1..4)) {
            let mut map = PlaceMap::default();
            for (steps, room) in rounds {
                let mut model: HashMap<u16, usize> = HashMap::new();
                for (inserts, key) in steps {
                    prop_assert_eq!(map.find(&key), model.get(&key).copied());
                    if inserts {
                        let len = model.len();
                        let place = *model.entry(key).or_insert(len);
                        let found = map.find_or_try_insert(key, || Ok::<_, ()>(place));
                        prop_assert_eq!(found, Ok(place));
                    } else if !model.contains_key(&key) {
                        prop_assert_eq!(map.find_or_try_insert(key, || Err(())), Err(()));
                    }
                    prop_assert_eq!(map.len(), model.len());
                }
                for (key, place) in &model {
                    prop_assert_eq!(map.key_at(*place), Some(key));
                    prop_assert_eq!(map[*place], *place);
                    prop_assert_eq!(map.get(key), Some(place));
                }
                prop_assert_eq!(map.key_at(model.len()), None);
                map.clear();
                prop_assert_eq!(map.len(), 0);
                map.shrink_to(room);
            }
        }
    }
}
