//! Which transactions depend on one that touched keys outside its set.

use lockweave_runtime::{AccessMode, DenseId, KeyId, OpenBlock, TaskId};

/// The transactions that have run although one in front of them has not.
pub(crate) struct RunAhead {
    /// In block order.
    tasks: Vec<TaskId>,
    /// The union of their keys: if it is in no conflict, none of them needs to be examined.
    keys: HeldKeys,
}

impl RunAhead {
    pub(crate) fn new<T>(block: &OpenBlock<T>, first: usize) -> Self {
        let tasks: Vec<_> = (first..block.transactions().len())
            .map(TaskId::from_index)
            .filter(|task| block.is_finished(*task))
            .collect();
        let mut keys = HeldKeys::default();
        for task in &tasks {
            keys.add(block, *task);
        }
        Self { tasks, keys }
    }

    /// Removes those behind `task` that conflict with its keys, or with one that does, and so on; in block
    /// order. Called for tasks in block order.
    pub(crate) fn take_dependents<T>(&mut self, block: &OpenBlock<T>, task: TaskId) -> Vec<TaskId> {
        self.take_dependents_unless(block, task, |_| false)
    }

    /// The same, without those whose only conflict with `task` is a credit to an account that it needs.
    /// Also returns these accounts.
    pub(crate) fn take_dependents_beyond_credits<T>(
        &mut self,
        block: &OpenBlock<T>,
        task: TaskId,
    ) -> (Vec<TaskId>, Vec<KeyId>) {
        let mut credited = Vec::new();
        let dependents = self.take_dependents_unless(block, task, |conflicts| {
            let only_credits = conflicts
                .iter()
                .all(|(mode, _)| *mode == AccessMode::Credit);
            if only_credits {
                credited.extend(conflicts.iter().map(|(_, key)| *key));
            }
            only_credits
        });
        credited.sort_unstable();
        credited.dedup();
        (dependents, credited)
    }

    pub(crate) fn tasks(&self) -> &[TaskId] {
        &self.tasks
    }

    /// Removes those that depend on `task`, unless `is_harmless` holds for all their conflicts with it alone
    /// (the mode in which they hold the key, and the key).
    fn take_dependents_unless<T>(
        &mut self,
        block: &OpenBlock<T>,
        task: TaskId,
        mut is_harmless: impl FnMut(&[(AccessMode, KeyId)]) -> bool,
    ) -> Vec<TaskId> {
        let behind = self.tasks.partition_point(|other| *other <= task);
        self.tasks.drain(..behind);
        if self.tasks.is_empty() || !self.keys.conflicts_with(block, task) {
            return Vec::new();
        }
        let mut held = HeldKeys::default();
        held.add(block, task);
        let mut changed = HeldKeys::default();
        let mut conflicts = Vec::new();
        let dependents: Vec<_> = (self.tasks.iter().copied())
            .filter(|other| {
                conflicts.clear();
                let found = held.conflicts(block, *other);
                let with_everything = found.is_none();
                conflicts.extend(found.into_iter().flatten());
                let depends = changed.conflicts_with(block, *other)
                    || with_everything
                    || (!conflicts.is_empty() && !is_harmless(&conflicts));
                if depends {
                    changed.add(block, *other);
                }
                depends
            })
            .collect();
        self.tasks
            .retain(|other| dependents.binary_search(other).is_err());
        dependents
    }
}

/// Keys held by some transactions, each in the weakest mode that allows all their accesses.
#[derive(Default)]
struct HeldKeys {
    /// By key.
    modes: Vec<Option<AccessMode>>,
    everything: bool,
}

impl HeldKeys {
    fn add<T>(&mut self, block: &OpenBlock<T>, task: TaskId) {
        let Some(keys) = block.resolved(task) else {
            self.everything = true;
            return;
        };
        for access in keys {
            let key = access.key.index();
            if key >= self.modes.len() {
                self.modes.resize(key + 1, None);
            }
            let held = &mut self.modes[key];
            *held = Some(held.map_or(access.mode, |held| held.union(access.mode)));
        }
    }

    fn conflicts_with<T>(&self, block: &OpenBlock<T>, task: TaskId) -> bool {
        let conflicts = self.conflicts(block, task);
        conflicts.is_none_or(|mut conflicts| conflicts.next().is_some())
    }

    /// The keys that a task holds in a mode incompatible with that held here, with its mode; `None` if one of
    /// the two holds everything.
    fn conflicts<T>(
        &self,
        block: &OpenBlock<T>,
        task: TaskId,
    ) -> Option<impl Iterator<Item = (AccessMode, KeyId)>> {
        let keys = block.resolved(task).filter(|_| !self.everything)?;
        Some(keys.iter().filter_map(|access| {
            let held = self.modes.get(access.key.index()).copied().flatten()?;
            (!held.is_compatible_with(access.mode)).then_some((access.mode, access.key))
        }))
    }
}
