//! Keys that transactions get beyond their sets, while others run.
//!
//! A transaction whose set was inferred may turn out to need one key more. Mostly that is one which nobody
//! behind it needs and with which everybody in front of it is done; then there is nothing to wait for
//! and nothing to mend, and it gets the key at once. [`OpenBlock::extend`] decides.
//!
//! **Why nobody else uses the cell.** Whoever holds the key by its set, in a mode that does not go together
//! with the one asked for, stands in front and has its outcome: its changes happened before, as the outcome
//! is read with acquire. Sets do not change while transactions run. Whoever got the key in the same way
//! is noted in one list under one lock, and the same is asked of it.
//!
//! **Why the result is still serial.** Some transaction in front, which has no outcome yet, may come to need
//! the key too. It does not get it, because the one behind stands in the list; so it leaves its set, and by
//! then the [new set](OpenBlock::keep_extensions) of the one behind says that the two conflict.

use crate::{
    access::{AccessEntry, AccessMode, AccessSet},
    id::{DenseId, KeyId, TaskId},
    interner::RecentKeys,
    key::StateKey,
    open_block::OpenBlock,
    state::StateError,
};
use ahash::AHashMap;
use parking_lot::Mutex;

/// So many keys of sets are looked at in a block to find out who else holds one; then nobody gets any more that
/// others name. A look takes a nanosecond.
const LOOKS_MAX: usize = 1 << 20;

/// Who got which keys beyond its set.
#[derive(Debug, Default)]
pub(crate) struct Extensions(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    holders: AHashMap<StateKey, Vec<(TaskId, AccessMode)>>,
    looks: usize,
}

impl<T> OpenBlock<T> {
    /// Gives a running transaction a key beyond its set, if nobody behind it names the key and everybody in
    /// front who does is finished, in modes that do not go together with this one; the cell's id. `recent`
    /// belongs to the calling thread and to this block.
    pub(crate) fn extend(
        &self,
        recent: &mut RecentKeys<StateKey>,
        task: TaskId,
        key: &StateKey,
        mode: AccessMode,
    ) -> Result<Option<KeyId>, StateError> {
        let id = self.intern(recent, key)?;
        // Its credits may not be on the account yet.
        if self.cells().is_popular_credit(id) {
            return Ok(None);
        }
        let mut listed = self.extensions.0.lock();
        let is_done = |other: TaskId| other == task || (other < task && self.is_finished(other));
        let holders = listed.holders.get(key).into_iter().flatten();
        let mut others = holders.filter(|(_, held)| !held.is_compatible_with(mode));
        if !others.all(|(other, _)| is_done(*other)) {
            return Ok(None);
        }
        let mut named_done = true;
        for other in self.who_may_name(id) {
            let (holds_everything, keys) = match self.keys_of(other) {
                Some(keys) => (false, keys),
                None => (true, &[][..]),
            };
            listed.looks += keys.len() + 1;
            let conflicts = |key: &crate::access::KeyAccess| {
                key.key == id && !key.mode.is_compatible_with(mode)
            };
            if (holds_everything || keys.iter().any(conflicts)) && !is_done(other) {
                named_done = false;
                break;
            }
        }
        if !named_done || listed.looks > LOOKS_MAX {
            return Ok(None);
        }
        listed.holders.entry(*key).or_default().push((task, mode));
        Ok(Some(id))
    }

    /// Makes what finished transactions got beyond their sets part of these, when no run is on; those
    /// transactions, in block order.
    pub fn keep_extensions(&mut self) -> Result<Vec<TaskId>, StateError> {
        let listed = self.extensions.0.get_mut();
        listed.looks = 0;
        let holders = std::mem::take(&mut listed.holders);
        let mut entries: Vec<_> = holders
            .into_iter()
            .flat_map(|(key, tasks)| tasks.into_iter().map(move |(task, mode)| (task, key, mode)))
            .filter(|(task, ..)| self.is_finished(*task))
            .collect();
        entries.sort_unstable_by_key(|(task, ..)| *task);
        let mut extended = Vec::new();
        for of_task in entries.chunk_by(|(left, ..), (right, ..)| left == right) {
            let task = of_task[0].0;
            let own = self.access(task).entries().iter().copied();
            let more = of_task.iter();
            let more = more.map(|(_, key, mode)| AccessEntry {
                key: *key,
                mode: *mode,
            });
            let entries: Vec<_> = own.chain(more).collect();
            let set = AccessSet::build(|set| {
                for entry in entries {
                    set.insert(entry.key, entry.mode);
                }
            });
            // More than a set can name is everything.
            self.replace_set(task, set.unwrap_or(AccessSet::Everything))?;
            extended.push(task);
        }
        Ok(extended)
    }

    /// The transactions whose sets may name a key: all, if the block's sets named it when its keys were
    /// numbered; else those that got other sets since.
    fn who_may_name(&self, key: KeyId) -> impl Iterator<Item = TaskId> {
        let is_numbered = self
            .cells()
            .table()
            .is_some_and(|table| key.index() < table.len());
        let all = is_numbered.then_some(0..self.transactions().len());
        let all = all.into_iter().flatten().map(TaskId::from_index);
        let replaced = (!is_numbered).then(|| self.replaced_tasks());
        all.chain(replaced.into_iter().flatten())
    }
}
