//! The lock table: acquire and release over all queues.

use super::queue::{Queue, Waiters, grow_to};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};

/// A queue of requests per key; the [module](crate::lock_table) gives the rules and reasons.
///
/// The table grows with the largest id seen and never shrinks.
///
/// ```
/// use lockweave_banking_stage::{Access, KeyAccess, LockTable};
/// use lockweave_runtime::{AccessMode, DenseId, KeyId, TaskId};
///
/// let [first, second] = [0, 1].map(TaskId::from_index);
/// let key = KeyId::from_index(7);
/// let write = [KeyAccess { key, mode: AccessMode::Write }];
///
/// let mut locks = LockTable::new();
/// assert!(locks.acquire(first, Access::Keys(&write)));
/// assert!(!locks.acquire(second, Access::Keys(&write)));
///
/// let mut runnable = Vec::new();
/// locks.release(first, Access::Keys(&write), &mut runnable);
/// assert_eq!(runnable, [second]);
/// ```
#[derive(derive_more::Debug)]
#[debug("LockTable {{ tasks: {entered}, keys: {} }}", self.queues.len())]
pub struct LockTable {
    queues: Vec<Queue>,
    whole_state: Queue,
    waiters: Waiters,
    /// Tasks acquired and not released.
    entered: usize,
    /// Which tasks these are, to detect callers that lose count.
    #[cfg(debug_assertions)]
    inside: Vec<bool>,
}

impl LockTable {
    /// A table without requests.
    pub fn new() -> Self {
        Self {
            queues: Vec::new(),
            whole_state: Queue::EMPTY,
            waiters: Waiters::new(),
            entered: 0,
            #[cfg(debug_assertions)]
            inside: Vec::new(),
        }
    }

    /// Puts a task into the queues of all its keys. Returns whether all locks were granted at once; if
    /// not, a later [`release`](Self::release) reports the task as runnable.
    ///
    /// Call it once per task, in block order. A task that names a key twice, once of it in an exclusive
    /// mode, waits for itself.
    #[inline]
    pub fn acquire(&mut self, task: TaskId, access: Access<'_>) -> bool {
        self.note_entry(task, access);
        let waiters = &mut self.waiters;
        let mut waiting = 0;
        match access {
            Access::Everything => {
                let granted = self.whole_state.enter(task, AccessMode::Write, waiters);
                waiting += u32::from(!granted);
            }
            Access::Keys(keys) => {
                let granted = self.whole_state.enter(task, AccessMode::Read, waiters);
                waiting += u32::from(!granted);
                for entry in keys {
                    let index = entry.key.index();
                    if index >= self.queues.len() {
                        grow_to(&mut self.queues, index, Queue::EMPTY);
                    }
                    let granted = self.queues[index].enter(task, entry.mode, waiters);
                    waiting += u32::from(!granted);
                }
            }
        }
        if waiting > 0 {
            waiters.set_pending(task, waiting);
        }
        waiting == 0
    }

    /// Removes a task that holds all its locks from its queues. Pushes every task whose last lock this
    /// grants onto `runnable`.
    ///
    /// `access` is the one that was acquired.
    ///
    /// # Panics
    ///
    /// If a key is not held: the access is not the one that was acquired.
    #[inline]
    pub fn release(&mut self, task: TaskId, access: Access<'_>, runnable: &mut Vec<TaskId>) {
        self.note_exit(task);
        let waiters = &mut self.waiters;
        match access {
            Access::Everything => {
                debug_assert_eq!(self.whole_state.mode(), AccessMode::Write);
                self.whole_state.leave(waiters, runnable);
            }
            Access::Keys(keys) => {
                debug_assert_eq!(self.whole_state.mode(), AccessMode::Read);
                for entry in keys {
                    let queue = &mut self.queues[entry.key.index()];
                    debug_assert_eq!(queue.mode(), entry.mode, "{task:?} on {:?}", entry.key);
                    queue.leave(waiters, runnable);
                }
                self.whole_state.leave(waiters, runnable);
            }
        }
    }

    /// Tasks acquired and not yet released.
    pub const fn tasks(&self) -> usize {
        self.entered
    }

    /// Removes all requests and keeps the memory. Free of cost if all tasks were released.
    pub fn clear(&mut self) {
        if self.entered > 0 {
            self.queues.fill(Queue::EMPTY);
            self.whole_state = Queue::EMPTY;
            self.entered = 0;
            self.waiters.clear();
            #[cfg(debug_assertions)]
            self.inside.clear();
        }
        debug_assert!(self.whole_state.is_empty());
    }

    #[inline]
    fn note_entry(&mut self, task: TaskId, access: Access<'_>) {
        self.entered += 1;
        #[cfg(debug_assertions)]
        {
            grow_to(&mut self.inside, task.index(), false);
            let inside = &mut self.inside[task.index()];
            assert!(!*inside, "{task:?} was acquired twice");
            *inside = true;
            if let Access::Keys(keys) = access {
                let mut ids: Vec<usize> = keys.iter().map(|entry| entry.key.index()).collect();
                ids.sort_unstable();
                assert!(
                    ids.windows(2).all(|pair| pair[0] != pair[1]),
                    "{task:?} names a key twice"
                );
            }
        }
        let _ = (task, access);
    }

    #[inline]
    fn note_exit(&mut self, task: TaskId) {
        assert!(
            self.entered > 0,
            "a task was released that was not acquired"
        );
        self.entered -= 1;
        #[cfg(debug_assertions)]
        {
            let inside = &mut self.inside[task.index()];
            assert!(*inside, "{task:?} was released but not acquired");
            *inside = false;
            assert!(
                !self.waiters.is_pending(task),
                "{task:?} was released before it was granted"
            );
        }
        let _ = task;
    }
}

impl Default for LockTable {
    fn default() -> Self {
        Self::new()
    }
}

/// What a task locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// These keys, each at most once, in any order.
    Keys(&'a [KeyAccess]),
    /// The whole state: the task runs alone.
    Everything,
}

impl Access<'_> {
    /// The mode in which `key` is held, if it is.
    pub fn mode(&self, key: KeyId) -> Option<AccessMode> {
        match self {
            Self::Everything => Some(AccessMode::Write),
            Self::Keys(keys) => keys
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.mode),
        }
    }

    /// Whether it allows `mode` on `key`.
    pub fn allows(&self, key: KeyId, mode: AccessMode) -> bool {
        self.mode(key).is_some_and(|held| held.allows(mode))
    }
}
