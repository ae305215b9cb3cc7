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
    access::{AccessEntry, AccessMode, AccessSet, KeyAccess},
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
        if listed.looks > LOOKS_MAX {
            return Ok(None);
        }
        let is_done = |other: TaskId| other == task || (other < task && self.is_finished(other));
        let holders = listed.holders.get(key).into_iter().flatten();
        let mut others = holders.filter(|(_, held)| !held.is_compatible_with(mode));
        if !others.all(|(other, _)| is_done(*other)) {
            return Ok(None);
        }
        for other in self.who_may_name(id) {
            // `None` is everything.
            let keys = self.keys_of(other);
            listed.looks += keys.map_or(0, <[KeyAccess]>::len) + 1;
            let mut named = keys.into_iter().flatten();
            let conflicts = keys.is_none()
                || named.any(|held| held.key == id && !held.mode.is_compatible_with(mode));
            if conflicts && !is_done(other) {
                return Ok(None);
            }
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
            let more = of_task
                .iter()
                .map(|&(_, key, mode)| AccessEntry { key, mode });
            let set = AccessSet::of_touches(own.chain(more));
            self.replace_set(task, set)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory_state::MemoryState,
        outcome::Outcome,
        state_cells::{StateCells, StateRules},
        transaction::{Declaration, Sanitized},
    };
    use AccessMode::{Read, Write};
    use alloy_primitives::{Address, U256};
    use std::sync::Arc;

    fn key(slot: u64) -> StateKey {
        StateKey::slot(Address::ZERO, U256::from(slot))
    }

    /// A numbered block of transactions with these slots, each in its mode.
    fn block(sets: &[&[(u64, AccessMode)]]) -> OpenBlock<()> {
        let sanitized = |slots: &&[(u64, AccessMode)]| Sanitized {
            transaction: (),
            access: AccessSet::build(|set| {
                for (slot, mode) in *slots {
                    set.insert(key(*slot), *mode);
                }
            })
            .unwrap(),
            declaration: Declaration::Inferred,
        };
        let rules = StateRules {
            clear_empty_accounts: true,
        };
        let cells = StateCells::new(Arc::new(MemoryState::new()), rules);
        let mut block = OpenBlock::to_infer(cells, sets.iter().map(sanitized).collect());
        block.number();
        block
    }

    fn gets(block: &OpenBlock<()>, task: usize, slot: u64, mode: AccessMode) -> bool {
        let task = TaskId::from_index(task);
        let recent = &mut RecentKeys::default();
        let id = block.extend(recent, task, &key(slot), mode).unwrap();
        id.is_some()
    }

    fn finish(block: &OpenBlock<()>, task: usize) {
        block.finish(TaskId::from_index(task), Outcome::system());
    }

    #[test]
    fn only_those_in_front_may_name_it_and_they_must_be_finished() {
        let sets: [&[_]; 4] = [
            &[(1, Write)],
            &[(2, Read)],
            &[(3, Read)],
            &[(1, Read), (4, Write)],
        ];
        let block = block(&sets);
        assert!(gets(&block, 1, 9, Write), "nobody names it");
        assert!(!gets(&block, 1, 3, Write), "one behind reads it");
        assert!(gets(&block, 1, 3, Read), "one behind reads it too");
        assert!(!gets(&block, 2, 1, Read), "one in front writes it");
        finish(&block, 0);
        assert!(gets(&block, 2, 1, Read), "it has, and another one reads");
        assert!(!gets(&block, 2, 1, Write), "one behind reads");
        assert!(gets(&block, 3, 2, Read), "one in front reads it too");
        assert!(!gets(&block, 3, 2, Write), "that one is not finished");
        finish(&block, 1);
        assert!(gets(&block, 3, 2, Write), "now it is");
    }

    #[test]
    fn who_got_it_first_is_asked_too() {
        let block = block(&[&[], &[], &[]]);
        assert!(gets(&block, 1, 5, Read));
        assert!(gets(&block, 2, 5, Read));
        assert!(gets(&block, 1, 5, Read), "it has it");
        assert!(!gets(&block, 0, 5, Write), "those behind have it");
        assert!(!gets(&block, 2, 5, Write), "one in front is not finished");
        finish(&block, 1);
        assert!(gets(&block, 2, 5, Write));
    }

    #[test]
    fn finished_ones_keep_what_they_got() {
        let mut block = block(&[&[(1, Read)], &[(2, Read)], &[]]);
        assert!(gets(&block, 0, 1, Write) && gets(&block, 0, 7, Read) && gets(&block, 1, 8, Read));
        finish(&block, 0);
        assert_eq!(block.keep_extensions().unwrap(), [TaskId::FIRST]);
        let set = |task| block.access(TaskId::from_index(task)).clone();
        assert_eq!(set(0).mode(&key(1)), Some(Write));
        assert_eq!(set(0).mode(&key(7)), Some(Read));
        assert_eq!(set(1).mode(&key(8)), None, "it has to ask again");
        // A key that no set named when they were numbered.
        assert!(
            gets(&block, 1, 7, Write),
            "the one in front that names it is finished"
        );
        assert!(gets(&block, 2, 8, Write), "nobody has it any more");
        assert!(block.keep_extensions().unwrap().is_empty());
    }
}
