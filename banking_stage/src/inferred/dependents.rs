//! Who depends on a transaction that touched more than it was thought to.

use lockweave_runtime::{AccessMode, DenseId, KeyId, OpenBlock, TaskId};

/// The transactions that have run although one in front of them has not.
pub(crate) struct Ahead {
    /// In block order.
    tasks: Vec<TaskId>,
    /// The union of what they hold: if nothing conflicts with it, none of them needs a look.
    keys: HeldKeys,
}

impl Ahead {
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

    /// Takes out those behind `task` that conflict with what it holds, or with one that does, and so
    /// on; in block order. Asked about tasks in their order.
    pub(crate) fn depending_on<T>(&mut self, block: &OpenBlock<T>, task: TaskId) -> Vec<TaskId> {
        self.take_dependents(block, task, |_| false)
    }

    /// The same, but for those that have no more to do with `task` than to credit an account that it
    /// needs; and these accounts.
    pub(crate) fn depending_beyond_credits<T>(
        &mut self,
        block: &OpenBlock<T>,
        task: TaskId,
    ) -> (Vec<TaskId>, Vec<KeyId>) {
        let mut credited = Vec::new();
        let stale = self.take_dependents(block, task, |conflicts| {
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
        (stale, credited)
    }

    /// Those that are still ahead.
    pub(crate) fn tasks(&self) -> &[TaskId] {
        &self.tasks
    }

    /// Takes out those that depend on `task`, unless `spares` says that these conflicts with it alone (in
    /// what mode they hold which key) do no harm.
    fn take_dependents<T>(
        &mut self,
        block: &OpenBlock<T>,
        task: TaskId,
        mut spares: impl FnMut(&[(AccessMode, KeyId)]) -> bool,
    ) -> Vec<TaskId> {
        let behind = self.tasks.partition_point(|ahead| *ahead <= task);
        self.tasks.drain(..behind);
        if self.tasks.is_empty() || !self.keys.conflicts_with(block, task) {
            return Vec::new();
        }
        let mut held = HeldKeys::default();
        held.add(block, task);
        let mut changed = HeldKeys::default();
        let mut conflicts = Vec::new();
        let stale: Vec<_> = (self.tasks.iter().copied())
            .filter(|ahead| {
                conflicts.clear();
                let found = held.conflicts(block, *ahead);
                let with_everything = found.is_none();
                conflicts.extend(found.into_iter().flatten());
                let depends = changed.conflicts_with(block, *ahead)
                    || with_everything
                    || (!conflicts.is_empty() && !spares(&conflicts));
                if depends {
                    changed.add(block, *ahead);
                }
                depends
            })
            .collect();
        self.tasks
            .retain(|ahead| stale.binary_search(ahead).is_err());
        stale
    }
}

/// Keys held by some transactions, each in the weakest mode that allows all that they do.
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

    /// The keys that a task holds in a mode that does not go together with this one's, in its modes; `None`
    /// if one of the two holds everything.
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
