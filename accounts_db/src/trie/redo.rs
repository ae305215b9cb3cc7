//! Brings the state trie of a checkpoint to the newest record.

use super::changes::Touched;
use crate::{
    error::{Damage, OpenError, ReadError},
    log::{
        Key,
        entry::{Body, Entry, Value},
    },
    shared::Core,
};
use ahash::AHashMap;

/// Keys looked up together.
const CHUNK: usize = 1024;

/// The keys that records change, each with its value before the first of them.
#[derive(Debug, Default)]
pub(crate) struct RedoneKeys(AHashMap<Key, Option<Value>>);

impl RedoneKeys {
    /// The key that an entry changes, and the value before. An entry that compaction moved changes none.
    pub(crate) fn of(entry: &Entry) -> Option<(Key, Option<Value>)> {
        match entry.body {
            Body::Value { key, before, .. } if before.is_some() || entry.previous.is_none() => {
                Some((key, before))
            }
            _ => None,
        }
    }

    /// Adds the keys of a record.
    pub(crate) fn add(&mut self, keys: Vec<(Key, Option<Value>)>) {
        for (key, before) in keys {
            self.0.entry(key).or_insert(before);
        }
    }
}

impl Core {
    /// The changes of some keys from given values to the newest.
    pub(super) fn touched(&self, keys: &[(Key, Option<Value>)]) -> Result<Vec<Touched>, ReadError> {
        let table = self.segments();
        self.workers.map_chunks(keys, CHUNK, |keys| {
            let mut part = Touched::default();
            let hashes: Vec<u64> = keys.iter().map(|(key, _)| self.hasher.hash(key)).collect();
            self.prefetch_lookups(&table, &hashes);
            for ((key, before), id) in keys.iter().zip(hashes) {
                let after = self.find_value(&table, id, key)?.map(|(_, value)| value);
                part.push(key, id, *before, after);
            }
            Ok(part)
        })
    }
}

/// Applies what the records after the checkpoint changed, and compares the root with the newest block's.
pub(crate) fn update_trie(core: &Core, keys: RedoneKeys, end: u64) -> Result<(), OpenError> {
    core.trie.set_stamp(Core::stamp(end));
    if core.trie_rebuilt.lock().is_some() {
        // It is rebuilt from the accounts.
        return Ok(());
    }
    let expected = core.chain.read().latest().map(|block| block.state_root);
    let keys: Vec<(Key, Option<Value>)> = keys.0.into_iter().collect();
    let update = || {
        if !keys.is_empty() {
            let prepared = core.prepare_touched(core.touched(&keys)?)?;
            (core.workers).install(|| core.trie.install(prepared, Core::stamp(end)))?;
        }
        Ok::<_, ReadError>(core.trie.root())
    };
    let found = update().map_err(|error| match error {
        ReadError::Trie(damage) => OpenError::Trie(damage),
        ReadError::Damaged(damage) => OpenError::Damaged(damage),
        ReadError::File(error) => OpenError::File(error),
        error => OpenError::Trie(Damage::new("the state trie", 0, error.to_string())),
    })?;
    match expected {
        Some(expected) if expected != found => {
            let what = format!("its root is {found}, but the newest block has {expected}");
            Err(OpenError::Trie(Damage::new("the state trie", 0, what)))
        }
        _ => Ok(()),
    }
}
