//! Who depends on a transaction that touched more than it was thought to.

use lockweave_runtime::{AccessMode, DenseId, OpenBlock, TaskId};

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
        let behind = self.tasks.partition_point(|ahead| *ahead <= task);
        self.tasks.drain(..behind);
        if self.tasks.is_empty() || !self.keys.conflicts_with(block, task) {
            return Vec::new();
        }
        let mut changed = HeldKeys::default();
        changed.add(block, task);
        let stale: Vec<_> = (self.tasks.iter().copied())
            .filter(|ahead| {
                let depends = changed.conflicts_with(block, *ahead);
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
        let Some(keys) = block.resolved(task) else {
            return true;
        };
        self.everything
            || keys.iter().any(|access| {
                let held = self.modes.get(access.key.index()).copied().flatten();
                held.is_some_and(|held| !held.is_compatible_with(access.mode))
            })
    }
}
