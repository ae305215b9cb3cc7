//! Keys that transactions get beyond their sets, while others run.
//!
//! A transaction whose set was inferred may need one more key while it runs. Usually the later transactions
//! that need the key have not begun, and the earlier ones have finished with it. Then nothing needs repair,
//! and the transaction gets the key at once. [`OpenBlock::grant_late`] decides.
//!
//! **Why no other thread uses the cell.** Another transaction that holds the key by its set, in an
//! incompatible mode, is either earlier or later. If it is earlier, it has its outcome, so its changes
//! happened before: the outcome is read with acquire. If it is later, it has not begun. When it
//! [begins](OpenBlock::begin) it sees the list of late grants, and waits until they have ended. Late grants
//! do not wait for it, because transactions wait only for earlier ones. Sets do not change while transactions
//! run. Another late grant of the key is in the same list, under one lock; its transaction must be earlier
//! and have its outcome.
//!
//! **Why the result is still serial.** An earlier transaction without an outcome may come to need the key
//! too. It does not get it, because the later one is in the list, so it reports an access violation. By then
//! the [new set](OpenBlock::keep_late_grants) of the later one shows the conflict.

use super::open_block::{Holder, Listed, OpenBlock};
use crate::{
    keys::RecentKeys,
    model::{
        AccessEntry, AccessMode, AccessSet, DenseId, KeyAccess, KeyId, StateError, StateKey, TaskId,
    },
    speculation::{Simulation, SpeculativeTransaction},
};
use std::{sync::atomic::Ordering, thread};

/// The most set entries that are compared in one block to find other holders of a key. Beyond it, a key that
/// other sets name is not granted late. One comparison takes a nanosecond.
const LOOKS_MAX: usize = 1 << 20;

/// What a transaction finds when it begins.
pub(crate) struct Begun {
    /// Its simulation, if it has one that was not taken yet.
    pub(crate) simulation: Option<Box<Simulation>>,
    /// Whether an earlier transaction got one of its keys.
    pub(crate) is_disturbed: bool,
}

impl<T> OpenBlock<T> {
    /// Grants a running transaction a key beyond its set. Later transactions that name the key in an
    /// incompatible mode must not have begun, and earlier ones must have finished. Returns the id of the
    /// key's cell. `recent` belongs to the calling thread and to this block.
    pub(crate) fn grant_late(
        &self,
        recent: &mut RecentKeys<StateKey>,
        task: TaskId,
        key: &StateKey,
        mode: AccessMode,
    ) -> Result<Option<KeyId>, StateError> {
        let id = self.intern(recent, key)?;
        // Its credits may not be on the account yet.
        if self.key_cells().is_popular_credit(id) {
            return Ok(None);
        }
        let mut listed = self.late_grants.listed.lock();
        let Listed { holders, looks } = &mut *listed;
        let holders = holders.entry(id).or_default();
        let mut others = holders
            .iter()
            .filter(|holder| !holder.mode.is_compatible_with(mode));
        let is_done = |other: TaskId| other < task && self.is_finished(other);
        if !others.all(|other| other.task == task || is_done(other.task)) {
            return Ok(None);
        }
        // A transaction that begins from now on sees the list.
        holders.push(Holder {
            task,
            key: *key,
            mode,
            is_running: true,
        });
        self.late_grants.count.fetch_add(1, Ordering::Relaxed);
        let others_wait = self
            .who_may_name(id)
            .filter(|other| *other != task)
            .all(|other| {
                // `None` is everything.
                let keys = self.keys_of(other);
                *looks += keys.map_or(0, <[KeyAccess]>::len) + 1;
                let mut named = keys.into_iter().flatten();
                let conflicts = keys.is_none()
                    || named.any(|held| held.key == id && !held.mode.is_compatible_with(mode));
                *looks <= LOOKS_MAX && (!conflicts || is_done(other) || self.waits(task, other))
            });
        if others_wait {
            return Ok(Some(id));
        }
        holders.pop();
        self.late_grants.count.fetch_sub(1, Ordering::Relaxed);
        Ok(None)
    }

    /// Whether `other` is later than `task` and has not begun, so that it sees the late grants of `task` when
    /// it begins.
    fn waits(&self, task: TaskId, other: TaskId) -> bool {
        let has_begun = || {
            self.speculative(other)
                .is_none_or(SpeculativeTransaction::has_begun)
        };
        other > task && !self.is_finished(other) && !has_begun()
    }

    /// Notes that a transaction begins. Waits for running earlier transactions that got one of its keys in an
    /// incompatible mode.
    pub(crate) fn begin(&self, task: TaskId) -> Begun {
        // A late grant that counts on this transaction not having begun was counted before it checked that.
        let simulation = self
            .speculative(task)
            .and_then(SpeculativeTransaction::begin);
        let is_disturbed =
            self.late_grants.count.load(Ordering::Relaxed) > 0 && self.give_way(task);
        Begun {
            simulation,
            is_disturbed,
        }
    }

    /// Waits for earlier transactions that got a key of this one. Returns whether there are or were any.
    #[cold]
    fn give_way(&self, task: TaskId) -> bool {
        let keys = self.keys_of(task);
        loop {
            let listed = self.late_grants.listed.lock();
            let of_keys = keys.into_iter().flatten().flat_map(|own| {
                let holders = listed.holders.get(&own.key).into_iter().flatten();
                holders.filter(|holder| !holder.mode.is_compatible_with(own.mode))
            });
            // A transaction that holds everything runs alone.
            let in_front = of_keys.filter(|holder| holder.task < task);
            let (mut is_disturbed, mut must_wait) = (keys.is_none(), false);
            for holder in in_front {
                is_disturbed = true;
                must_wait |= holder.is_running;
            }
            if !must_wait {
                return is_disturbed;
            }
            drop(listed);
            thread::yield_now();
        }
    }

    /// Notes that a transaction uses a key no more that it got beyond its set.
    pub(crate) fn end_late_grant(&self, task: TaskId, key: KeyId) {
        let mut listed = self.late_grants.listed.lock();
        let holders = listed.holders.get_mut(&key).into_iter().flatten();
        for holder in holders.filter(|holder| holder.task == task) {
            holder.is_running = false;
        }
    }

    /// Makes what finished transactions got beyond their sets part of these, when no run is on; those
    /// transactions, in block order.
    pub fn keep_late_grants(&mut self) -> Result<Vec<TaskId>, StateError> {
        let listed = std::mem::take(&mut self.late_grants).listed.into_inner();
        let holders = listed.holders.into_values().flatten();
        let mut holders: Vec<_> = holders
            .filter(|holder| self.is_finished(holder.task))
            .collect();
        holders.sort_unstable_by_key(|holder| holder.task);
        let mut extended = Vec::new();
        for of_task in holders.chunk_by(|left, right| left.task == right.task) {
            let task = of_task[0].task;
            let own = self.access(task).entries().iter().copied();
            let more = of_task
                .iter()
                .map(|&Holder { key, mode, .. }| AccessEntry { key, mode });
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
            .key_cells()
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
        Declaration, GrantedState, MemoryState, Outcome, StateAccess, StateCells, WriteSet,
        test_support::{RULES, sanitized},
    };
    use AccessMode::{Read, Write};
    use alloy_primitives::{Address, U256};
    use parking_lot::Mutex;
    use std::{sync::Arc, time::Duration};

    fn key(slot: u64) -> StateKey {
        StateKey::slot(Address::ZERO, U256::from(slot))
    }

    /// A numbered block of transactions with these slots, each in its mode.
    fn block(sets: &[&[(u64, AccessMode)]]) -> OpenBlock<()> {
        let of_slots = |slots: &&[(u64, AccessMode)]| {
            let set = AccessSet::build(|set| {
                for (slot, mode) in *slots {
                    set.insert(key(*slot), *mode);
                }
            });
            sanitized(set.unwrap(), Declaration::Inferred)
        };
        let cells = StateCells::new(Arc::new(MemoryState::new()), RULES);
        let mut block = OpenBlock::to_infer(cells, sets.iter().map(of_slots).collect());
        block.number();
        block
    }

    fn gets(block: &OpenBlock<()>, task: usize, slot: u64, mode: AccessMode) -> bool {
        let task = TaskId::from_index(task);
        let recent = &mut RecentKeys::default();
        let id = block.grant_late(recent, task, &key(slot), mode).unwrap();
        id.is_some()
    }

    fn finish(block: &OpenBlock<()>, task: usize) {
        block.finish(TaskId::from_index(task), Outcome::system());
    }

    fn begin(block: &OpenBlock<()>, task: usize) -> Begun {
        block.begin(TaskId::from_index(task))
    }

    fn end(block: &OpenBlock<()>, task: usize, slot: u64) {
        let id = block.intern(&mut RecentKeys::default(), &key(slot));
        block.end_late_grant(TaskId::from_index(task), id.unwrap());
    }

    #[test]
    fn those_in_front_are_finished_and_those_behind_have_not_begun() {
        let sets: [&[_]; 4] = [
            &[(1, Write)],
            &[(2, Read)],
            &[(3, Read)],
            &[(1, Read), (4, Write)],
        ];
        let block = block(&sets);
        begin(&block, 2);
        assert!(gets(&block, 1, 9, Write), "nobody names it");
        assert!(!gets(&block, 1, 3, Write), "one behind has read it");
        assert!(gets(&block, 1, 3, Read), "it may read beside that one");
        assert!(gets(&block, 1, 4, Write), "one behind has not begun");
        assert!(!gets(&block, 2, 1, Read), "one in front writes it");
        finish(&block, 0);
        assert!(gets(&block, 2, 1, Read), "it has, and another one reads");
        end(&block, 1, 4);
        begin(&block, 3);
        assert!(!gets(&block, 2, 1, Write), "one behind has begun to read");
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
    fn who_begins_waits_for_those_in_front_who_got_its_keys() {
        let block = block(&[&[(1, Read)], &[(2, Write)], &[(2, Write), (3, Read)]]);
        assert!(!begin(&block, 1).is_disturbed, "nobody got anything");
        assert!(gets(&block, 1, 3, Read) && gets(&block, 0, 9, Write));
        assert!(!begin(&block, 2).is_disturbed, "it only reads too");
        let block = block_of_two_who_need_one_key();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let is_disturbed = begin(&block, 1).is_disturbed;
                order.lock().push(("begun", is_disturbed));
            });
            // So that it would come first if it did not wait.
            thread::sleep(Duration::from_millis(20));
            order.lock().push(("over", false));
            end(&block, 0, 3);
            second.join().unwrap();
        });
        assert_eq!(order.into_inner(), [("over", false), ("begun", true)]);
    }

    /// A block in which the first got a key that the second names.
    fn block_of_two_who_need_one_key() -> OpenBlock<()> {
        let block = block(&[&[], &[(3, Read)]]);
        begin(&block, 0);
        assert!(gets(&block, 0, 3, Write), "the second has not begun");
        block
    }

    /// Else transactions that wait for it would wait forever.
    #[test]
    fn a_granted_state_that_is_dropped_has_nothing_any_more() {
        let block = Arc::new(block_of_two_who_need_one_key());
        block.resolve(TaskId::FIRST).unwrap();
        let mut granted = GrantedState::new(Arc::clone(&block));
        granted.allow_late_grants();
        granted.test_enter(TaskId::FIRST);
        let slot = granted.slot(Address::ZERO, U256::from(7));
        assert_eq!(slot.unwrap(), U256::ZERO, "no other transaction names it");
        let is_running = |slot: u64| {
            let id = block.intern(&mut RecentKeys::default(), &key(slot));
            let listed = block.late_grants.listed.lock();
            listed.holders[&id.unwrap()][0].is_running
        };
        assert!(is_running(7));
        drop(granted);
        assert!(!is_running(7));
    }

    /// A key that is read and then written is got twice. In builds with debug assertions every grant is checked in its cell.
    #[test]
    fn who_waits_begins_when_all_that_was_got_is_given_back() {
        let second = TaskId::from_index(1);
        for _ in 0..2_000 {
            let block = Arc::new(block(&[&[], &[(3, Write)]]));
            block.resolve(TaskId::FIRST).unwrap();
            block.resolve(second).unwrap();
            let enter = |task| {
                let mut granted = GrantedState::new(Arc::clone(&block));
                granted.allow_late_grants();
                granted.test_enter(task);
                granted
            };
            let mut granted = enter(TaskId::FIRST);
            assert_eq!(
                granted.slot(Address::ZERO, U256::from(3)).unwrap(),
                U256::ZERO
            );
            let writes = WriteSet {
                slots: vec![(Address::ZERO, U256::from(3), U256::ONE)],
                ..WriteSet::default()
            };
            granted.apply(&writes).unwrap();
            thread::scope(|scope| {
                let waits = scope.spawn(|| {
                    let mut granted = enter(second);
                    let slot = granted.slot(Address::ZERO, U256::from(3)).unwrap();
                    granted.leave();
                    slot
                });
                while !block.speculative(second).unwrap().has_begun() {
                    thread::yield_now();
                }
                granted.leave();
                assert_eq!(waits.join().unwrap(), U256::ONE);
            });
        }
    }

    #[test]
    fn finished_ones_keep_what_they_got() {
        let mut block = block(&[&[(1, Read)], &[(2, Read)], &[]]);
        assert!(gets(&block, 0, 1, Write) && gets(&block, 0, 7, Read) && gets(&block, 1, 8, Read));
        finish(&block, 0);
        assert_eq!(block.keep_late_grants().unwrap(), [TaskId::FIRST]);
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
        assert!(block.keep_late_grants().unwrap().is_empty());
    }
}
