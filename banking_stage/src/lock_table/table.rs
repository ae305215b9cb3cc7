//! The lock table: per key a first-in-first-out queue of requests.
//!
//! A request is granted when everything in front of it in its queue is compatible with it. The
//! table is data only: no threads, no clocks, no channels. Whoever owns it decides who may call it
//! when.
//!
//! # Why nothing deadlocks
//!
//! A task enters all of its queues in one call of [`LockTable::acquire`], so any two tasks stand in
//! the same order in every queue that both are in: the order of the calls, which is the block order.
//! Therefore the oldest task that has not been released is at the front of each of its queues, and
//! a request at the front is granted. So as long as a task is unfinished, one is runnable.
//!
//! # Why nobody starves
//!
//! A request only ever waits for requests in front of it, and later ones never overtake it on a key:
//! a read behind a waiting write waits too, although the present holders are readers. So a task
//! waits for finitely many others, all older than itself, whatever is fed afterwards.
//!
//! # Why one group of holders is enough
//!
//! Holders of one key are either one writer, or readers, or creditors; modes do not mix. If somebody
//! waits, the first in line is incompatible with the holders, and no mode is compatible with two
//! different ones. So a newcomer behind a waiting request always waits, a release changes
//! nothing until the last holder is gone, and then the longest run of one shared mode at the head of
//! the line is granted at once. A key without conflict costs one 16-byte record.
//!
//! # The whole state
//!
//! One built-in key stands for the whole state. Every ordinary task holds it in `Read` mode, a task
//! with [`Access::Everything`] in `Write` mode, so it runs alone, by the same mechanism.

use lockweave_runtime::KeyAccess;
use lockweave_runtime::{AccessMode, DenseId, KeyId, TaskId};
use std::fmt;

/// What a task locks.
#[derive(Debug, PartialEq, Eq)]
pub enum Access<'a, K = KeyId> {
    /// These keys, each at most once, in any order.
    Keys(&'a [KeyAccess<K>]),
    /// The whole state: the task runs alone.
    Everything,
}

// By hand, because a derive would ask `K: Copy` of a mere reference.
impl<K> Clone for Access<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Access<'_, K> {}

impl<K: DenseId> Access<'_, K> {
    /// The mode in which `key` is held, if it is.
    pub fn mode(&self, key: K) -> Option<AccessMode> {
        match self {
            Self::Everything => Some(AccessMode::Write),
            Self::Keys(keys) => keys
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.mode),
        }
    }

    /// Whether it allows `mode` on `key`.
    pub fn allows(&self, key: K, mode: AccessMode) -> bool {
        self.mode(key).is_some_and(|held| held.allows(mode))
    }
}

/// No waiter; the end of a list.
const NIL: u32 = u32::MAX;

/// The queue of one key: the granted requests as a count, the waiting ones as a list.
///
/// Aligned to its size, so that it never straddles two cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Queue {
    holders: u32,
    head: u32,
    tail: u32,
    /// What the holders do; means nothing while there are none.
    mode: AccessMode,
}

const _: () = assert!(size_of::<Queue>() == 16);

impl Queue {
    const EMPTY: Self = Self {
        holders: 0,
        head: NIL,
        tail: NIL,
        mode: AccessMode::Read,
    };

    /// Puts a request at the end. Returns whether it was granted.
    #[inline]
    fn enter<T: DenseId>(&mut self, task: T, mode: AccessMode, waiters: &mut Waiters<T>) -> bool {
        debug_assert!(
            self.holders > 0 || self.head == NIL,
            "somebody waits for nobody"
        );
        if self.holders == 0 || (self.head == NIL && self.mode.is_compatible_with(mode)) {
            self.mode = mode;
            self.holders += 1;
            return true;
        }
        self.wait(task, mode, waiters);
        false
    }

    #[cold]
    fn wait<T: DenseId>(&mut self, task: T, mode: AccessMode, waiters: &mut Waiters<T>) {
        let node = waiters.insert(task, mode);
        if self.head == NIL {
            self.head = node;
        } else {
            waiters.nodes[self.tail as usize].next = node;
        }
        self.tail = node;
    }

    /// Takes a granted request out. If it was the last, the next group is granted.
    #[inline]
    fn leave<T: DenseId>(&mut self, waiters: &mut Waiters<T>, runnable: &mut Vec<T>) {
        assert!(self.holders > 0, "a lock was released that nobody holds");
        self.holders -= 1;
        if self.holders == 0 && self.head != NIL {
            self.grant_next_group(waiters, runnable);
        }
    }

    fn grant_next_group<T: DenseId>(&mut self, waiters: &mut Waiters<T>, runnable: &mut Vec<T>) {
        loop {
            let Waiter { task, next, mode } = waiters.remove(self.head);
            self.mode = mode;
            self.holders += 1;
            self.head = next;
            if waiters.granted_one(task) {
                runnable.push(task);
            }
            if next == NIL {
                self.tail = NIL;
                return;
            }
            if !mode.is_compatible_with(waiters.nodes[next as usize].mode) {
                return;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Waiter<T> {
    task: T,
    next: u32,
    mode: AccessMode,
}

/// All waiting requests, linked by index, and how many of them each task has.
struct Waiters<T> {
    nodes: Vec<Waiter<T>>,
    /// Head of the list of unused nodes.
    free: u32,
    /// Requests not yet granted, by task. Written only when a task has to wait.
    pending: Vec<u32>,
}

impl<T: DenseId> Waiters<T> {
    fn insert(&mut self, task: T, mode: AccessMode) -> u32 {
        let waiter = Waiter {
            task,
            next: NIL,
            mode,
        };
        if self.free == NIL {
            let node = u32::try_from(self.nodes.len()).expect("fewer than 2^32 requests wait");
            self.nodes.push(waiter);
            node
        } else {
            let node = self.free;
            let slot = &mut self.nodes[node as usize];
            self.free = slot.next;
            *slot = waiter;
            node
        }
    }

    fn remove(&mut self, node: u32) -> Waiter<T> {
        let slot = &mut self.nodes[node as usize];
        let waiter = *slot;
        slot.next = self.free;
        self.free = node;
        waiter
    }

    #[cold]
    fn set_pending(&mut self, task: T, requests: u32) {
        grow_to(&mut self.pending, task.index(), 0);
        self.pending[task.index()] = requests;
    }

    /// Counts a grant. Returns whether it was the task's last.
    fn granted_one(&mut self, task: T) -> bool {
        let pending = &mut self.pending[task.index()];
        debug_assert!(*pending > 0, "{task:?} was granted more than it asked for");
        *pending -= 1;
        *pending == 0
    }

    fn clear(&mut self) {
        self.nodes.clear();
        self.free = NIL;
        self.pending.clear();
    }
}

/// Makes `index` valid, and room for as much again, so that growing is rare.
#[cold]
fn grow_to<V: Copy>(values: &mut Vec<V>, index: usize, value: V) {
    if index >= values.len() {
        values.resize((index + 1).next_power_of_two().max(64), value);
    }
}

/// Per key a queue of requests; see the [module](crate::lock_table::table) for rules and reasons.
///
/// Keys and tasks may be any dense ids. Tables grow with the largest id seen and never shrink.
///
/// ```
/// use lockweave_banking_stage::{Access, KeyAccess, LockTable};
/// use lockweave_runtime::{AccessMode, DenseId, KeyId, TaskId};
///
/// let [first, second] = [0, 1].map(TaskId::from_index);
/// let key = KeyId::from_index(7);
/// let write = [KeyAccess { key, mode: AccessMode::Write }];
///
/// let mut locks = LockTable::<KeyId, TaskId>::new();
/// assert!(locks.acquire(first, Access::Keys(&write)));
/// assert!(!locks.acquire(second, Access::Keys(&write)));
///
/// let mut runnable = Vec::new();
/// locks.release(first, Access::Keys(&write), &mut runnable);
/// assert_eq!(runnable, [second]);
/// ```
pub struct LockTable<K: DenseId = KeyId, T: DenseId = TaskId> {
    queues: Vec<Queue>,
    whole_state: Queue,
    waiters: Waiters<T>,
    /// Tasks that were acquired and not released.
    entered: usize,
    /// Which tasks these are, to catch callers that lose count.
    #[cfg(debug_assertions)]
    inside: Vec<bool>,
    key: std::marker::PhantomData<fn(K)>,
}

impl<K: DenseId, T: DenseId> LockTable<K, T> {
    /// A table without requests.
    pub fn new() -> Self {
        Self {
            queues: Vec::new(),
            whole_state: Queue::EMPTY,
            waiters: Waiters {
                nodes: Vec::new(),
                free: NIL,
                pending: Vec::new(),
            },
            entered: 0,
            #[cfg(debug_assertions)]
            inside: Vec::new(),
            key: std::marker::PhantomData,
        }
    }

    /// Puts a task into the queues of all its keys. Returns whether all was granted at once; if
    /// not, a later [`release`](Self::release) reports the task as runnable.
    ///
    /// Call it in block order, once a task. A key that occurs twice in one access, once exclusively,
    /// makes the task wait for itself.
    #[inline]
    pub fn acquire(&mut self, task: T, access: Access<'_, K>) -> bool {
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

    /// Takes a task that was granted all its locks out of its queues, and pushes every task onto
    /// `runnable` whose last lock this granted.
    ///
    /// `access` is what the task was acquired with.
    ///
    /// # Panics
    ///
    /// If a key is not held at all: the access is not the one that was acquired.
    #[inline]
    pub fn release(&mut self, task: T, access: Access<'_, K>, runnable: &mut Vec<T>) {
        self.note_exit(task);
        let waiters = &mut self.waiters;
        match access {
            Access::Everything => {
                debug_assert_eq!(self.whole_state.mode, AccessMode::Write);
                self.whole_state.leave(waiters, runnable);
            }
            Access::Keys(keys) => {
                debug_assert_eq!(self.whole_state.mode, AccessMode::Read);
                for entry in keys {
                    let queue = &mut self.queues[entry.key.index()];
                    debug_assert_eq!(queue.mode, entry.mode, "{task:?} on {:?}", entry.key);
                    queue.leave(waiters, runnable);
                }
                self.whole_state.leave(waiters, runnable);
            }
        }
    }

    /// Tasks that were acquired and not yet released.
    pub const fn tasks(&self) -> usize {
        self.entered
    }

    /// Forgets all requests and keeps the memory. Costs nothing if all tasks were released.
    pub fn clear(&mut self) {
        if self.entered > 0 {
            self.queues.fill(Queue::EMPTY);
            self.whole_state = Queue::EMPTY;
            self.entered = 0;
            self.waiters.clear();
            #[cfg(debug_assertions)]
            self.inside.clear();
        }
        debug_assert!(self.whole_state.holders == 0 && self.whole_state.head == NIL);
    }

    #[inline]
    fn note_entry(&mut self, task: T, access: Access<'_, K>) {
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
    fn note_exit(&mut self, task: T) {
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
            let pending = self.waiters.pending.get(task.index());
            assert!(
                pending.is_none_or(|pending| *pending == 0),
                "{task:?} was released before it was granted"
            );
        }
        let _ = task;
    }
}

impl<K: DenseId, T: DenseId> Default for LockTable<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: DenseId, T: DenseId> fmt::Debug for LockTable<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockTable")
            .field("tasks", &self.entered)
            .field("keys", &self.queues.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
#[path = "tests.rs"]
mod tests;
