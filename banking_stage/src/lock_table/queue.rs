//! The queue of one key: granted requests as a count, waiting ones as a linked list.

use lockweave_runtime::{AccessMode, DenseId, TaskId};

/// No waiter; the end of a list.
const NIL: u32 = u32::MAX;

/// The queue of one key: the granted requests as a count, the waiting ones as a list.
///
/// Aligned to its size, so that it never straddles two cache lines.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Queue {
    holders: u32,
    head: u32,
    tail: u32,
    /// The mode of the holders; meaningless while there are none.
    mode: AccessMode,
}

const _: () = assert!(size_of::<Queue>() == 16);

impl Queue {
    pub(super) const EMPTY: Self = Self {
        holders: 0,
        head: NIL,
        tail: NIL,
        mode: AccessMode::Read,
    };

    /// Puts a request at the end. Returns whether it was granted.
    #[inline]
    pub(super) fn enter(&mut self, task: TaskId, mode: AccessMode, waiters: &mut Waiters) -> bool {
        debug_assert!(
            self.holders > 0 || self.head == NIL,
            "a request waits although there is no holder"
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
    fn wait(&mut self, task: TaskId, mode: AccessMode, waiters: &mut Waiters) {
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
    pub(super) fn leave(&mut self, waiters: &mut Waiters, runnable: &mut Vec<TaskId>) {
        assert!(self.holders > 0, "a lock is released that no task holds");
        self.holders -= 1;
        if self.holders == 0 && self.head != NIL {
            self.grant_next_group(waiters, runnable);
        }
    }

    pub(super) const fn mode(&self) -> AccessMode {
        self.mode
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.holders == 0 && self.head == NIL
    }

    fn grant_next_group(&mut self, waiters: &mut Waiters, runnable: &mut Vec<TaskId>) {
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
struct Waiter {
    task: TaskId,
    next: u32,
    mode: AccessMode,
}

/// All waiting requests, linked by index, and how many of them each task has.
pub(super) struct Waiters {
    nodes: Vec<Waiter>,
    /// Head of the list of unused nodes.
    free: u32,
    /// Requests not yet granted, by task. Written only when a task has to wait.
    pending: Vec<u32>,
}

impl Waiters {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NIL,
            pending: Vec::new(),
        }
    }

    #[cfg(debug_assertions)]
    pub(super) fn is_pending(&self, task: TaskId) -> bool {
        self.pending
            .get(task.index())
            .is_some_and(|pending| *pending > 0)
    }

    fn insert(&mut self, task: TaskId, mode: AccessMode) -> u32 {
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

    fn remove(&mut self, node: u32) -> Waiter {
        let slot = &mut self.nodes[node as usize];
        let waiter = *slot;
        slot.next = self.free;
        self.free = node;
        waiter
    }

    #[cold]
    pub(super) fn set_pending(&mut self, task: TaskId, requests: u32) {
        grow_to(&mut self.pending, task.index(), 0);
        self.pending[task.index()] = requests;
    }

    /// Counts a grant. Returns whether it was the task's last.
    fn granted_one(&mut self, task: TaskId) -> bool {
        let pending = &mut self.pending[task.index()];
        debug_assert!(*pending > 0, "{task:?} was granted more than it asked for");
        *pending -= 1;
        *pending == 0
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.free = NIL;
        self.pending.clear();
    }
}

/// Makes `index` valid and doubles the size, so that growing is rare.
#[cold]
pub(super) fn grow_to<V: Copy>(values: &mut Vec<V>, index: usize, value: V) {
    if index >= values.len() {
        values.resize((index + 1).next_power_of_two().max(64), value);
    }
}
