//! State cells: the one current value of each key inside an open block.
//!
//! A granted lock *is* the right to use the cell. The arena itself takes no lock and keeps no
//! version: a read is a plain reference. So the caller that gives out access must prove that grants are
//! exclusive where they must be; that proof is the lock table's, and the two places that lean on it
//! say so in their `SAFETY` comments. Builds with debug assertions check it: every grant is noted in
//! the cell, and two that do not go together abort the process.

// The cells themselves: references to what several threads use by turns.
#![allow(unsafe_code)]

use crate::{
    memory::prefetch,
    model::{AccessMode, DenseId, KeyId},
};
use std::{
    mem::{self, MaybeUninit},
    sync::{OnceLock, atomic::AtomicBool},
};

#[cfg(loom)]
use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicUsize, Ordering},
};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(not(loom))]
#[derive(Debug)]
struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

/// The part of loom's `UnsafeCell` that this file uses.
#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline]
    fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Cells in the first chunk; every further chunk is twice as large as the one before.
const FIRST_CHUNK_CELLS: usize = 1 << 10;
/// Enough chunks for every 32-bit id.
const CHUNKS: usize = 23;

struct Slot<V, O> {
    value: UnsafeCell<MaybeUninit<V>>,
    /// Written once, before anybody knows the cell's id.
    origin: std::cell::UnsafeCell<MaybeUninit<O>>,
    /// Whether there is something in it.
    filled: AtomicBool,
    #[cfg(debug_assertions)]
    holders: holders::Holders,
}

type Chunk<V, O> = Box<[Slot<V, O>]>;

/// An arena of cells that grows while it is in use and never moves a cell.
///
/// Beside its value a cell has an *origin*: what it was made from. It never changes, so any thread may read
/// it without a grant.
#[derive(derive_more::Debug)]
#[debug("Cells {{ len: {} }}", self.len())]
pub struct Cells<V, O = ()> {
    chunks: [OnceLock<Chunk<V, O>>; CHUNKS],
    len: AtomicUsize,
}

// SAFETY: a cell is reached from several threads only through `read` and `write`, whose contract is
// that of a reader-writer lock: shared references to `V` may be used on several threads (`V: Sync`),
// and an exclusive one on a thread other than the one that made the value (`V: Send`). An origin is
// only shared (`O: Sync`), and dropped where the arena is (`O: Send`).
unsafe impl<V: Send + Sync, O: Send + Sync> Sync for Cells<V, O> {}

/// Chunk number and position in it.
#[inline]
const fn locate(index: usize) -> (usize, usize) {
    let shifted = index + FIRST_CHUNK_CELLS;
    let chunk = (shifted.ilog2() - FIRST_CHUNK_CELLS.ilog2()) as usize;
    (chunk, shifted - (FIRST_CHUNK_CELLS << chunk))
}

impl<V> Cells<V> {
    /// Adds a cell without an origin, as [`push_from`](Self::push_from) does.
    pub fn push(&self, value: V) -> KeyId {
        self.push_from((), value)
    }
}

impl<V, O> Cells<V, O> {
    /// An arena without cells.
    pub fn new() -> Self {
        Self {
            chunks: [const { OnceLock::new() }; CHUNKS],
            len: AtomicUsize::new(0),
        }
    }

    /// Adds a cell and returns its id. May be called from several threads.
    ///
    /// Other threads may use the id once they learnt it in a way that orders memory (a channel, a
    /// lock, the [`Interner`](crate::Interner)).
    ///
    /// # Panics
    ///
    /// With more than 2^32 cells.
    pub fn push_from(&self, origin: O, value: V) -> KeyId {
        let index = self.len.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `fetch_add` gave this index to this call alone, and no other thread knows the id
        // before this function returns it.
        unsafe { self.fill(KeyId::from_index(index), origin, value) };
        KeyId::from_index(index)
    }

    /// Makes room for this many cells, with the ids from zero, in an arena without cells.
    ///
    /// # Panics
    ///
    /// If there are cells.
    pub fn reserve(&mut self, cells: usize) {
        assert!(self.is_empty(), "room is made in an arena without cells");
        self.len = AtomicUsize::new(cells);
    }

    /// Puts a cell into its [reserved](Self::reserve) room. May be called from several threads.
    ///
    /// # Safety
    ///
    /// Room was made for `id`, and this is the only call for it. For the cell's other methods `id`
    /// counts as coming from this call.
    pub unsafe fn fill(&self, id: KeyId, origin: O, value: V) {
        let (chunk, position) = locate(id.index());
        let slots = self.chunks[chunk].get_or_init(|| new_chunk(FIRST_CHUNK_CELLS << chunk));
        let slot = &slots[position];
        slot.value.with_mut(|value_place| {
            // SAFETY: by this function's contract this is the only call for this cell, and no other method uses the cell before
            // this call is over.
            unsafe {
                (*slot.origin.get()).write(origin);
                (*value_place).write(value);
            }
        });
        slot.filled
            .store(true, std::sync::atomic::Ordering::Release);
    }

    /// Whether a cell for which room was made is filled. If so, the call that filled it happened
    /// before, in the memory order's sense.
    #[inline]
    pub fn is_filled(&self, id: KeyId) -> bool {
        let (chunk, position) = locate(id.index());
        let slots = self.chunks.get(chunk).and_then(OnceLock::get);
        slots
            .and_then(|slots| slots.get(position))
            .is_some_and(|slot| slot.filled.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Asks the processor for a cell that will be written soon.
    #[inline]
    pub fn bring_near(&self, id: KeyId) {
        let (chunk, position) = locate(id.index());
        let slots = self.chunks.get(chunk).and_then(OnceLock::get);
        if let Some(slot) = slots.and_then(|slots| slots.get(position)) {
            prefetch::value_for_writing(slot);
        }
    }

    /// What a cell was made from.
    ///
    /// # Panics
    ///
    /// If `id` is not of this arena, or its cell is not filled.
    #[inline]
    pub fn origin(&self, id: KeyId) -> &O {
        let slot = self.slot(id);
        let is_filled = slot.filled.load(std::sync::atomic::Ordering::Acquire);
        assert!(is_filled, "{id:?} is empty");
        // SAFETY: the call that filled the cell happened before, as `filled` was read with acquire. The origin is
        // written at no other time but by `clear`, which takes `&mut self`.
        unsafe { (*slot.origin.get()).assume_init_ref() }
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Looks at a cell.
    ///
    /// # Safety
    ///
    /// `id` came from [`push_from`](Self::push_from) on this arena, in a way that orders memory, and for the
    /// length of the call no [`write`](Self::write) of this cell runs on any thread, nor has this
    /// call been made from inside one.
    #[inline]
    pub unsafe fn read<R>(&self, id: KeyId, look: impl FnOnce(&V) -> R) -> R {
        self.slot(id).value.with(|value| {
            // SAFETY: `push` wrote the value before the id was known; by this function's contract
            // no exclusive reference to it exists.
            look(unsafe { (*value).assume_init_ref() })
        })
    }

    /// Changes a cell.
    ///
    /// # Safety
    ///
    /// `id` came from [`push_from`](Self::push_from) on this arena, in a way that orders memory, and for the
    /// length of the call no other [`read`](Self::read) or `write` of this cell runs on any thread,
    /// nor has this call been made from inside one.
    #[inline]
    pub unsafe fn write<R>(&self, id: KeyId, change: impl FnOnce(&mut V) -> R) -> R {
        self.slot(id).value.with_mut(|value| {
            // SAFETY: `push` wrote the value before the id was known; by this function's contract
            // no other reference to it exists.
            change(unsafe { (*value).assume_init_mut() })
        })
    }

    /// A cell that no other thread can be using.
    pub fn get_mut(&mut self, id: KeyId) -> &mut V {
        self.parts_mut(id).1
    }

    /// A cell that no other thread can be using, and its origin.
    pub fn parts_mut(&mut self, id: KeyId) -> (&O, &mut V) {
        assert!(id.index() < self.len(), "{id:?} is not of this arena");
        let (chunk, position) = locate(id.index());
        let slot = &mut self.chunks[chunk]
            .get_mut()
            .expect("a chunk below the length exists")[position];
        assert!(*slot.filled.get_mut(), "{id:?} is empty");
        let Slot { origin, value, .. } = slot;
        // SAFETY: it was filled, every call that fills has returned, and `&mut self` rules out any other reference.
        value.with_mut(|value| unsafe {
            (
                origin.get_mut().assume_init_ref(),
                (*value).assume_init_mut(),
            )
        })
    }

    /// Notes a grant, in builds with debug assertions.
    ///
    /// # Panics
    ///
    /// If a grant is out that does not go together with it: the lock table is broken.
    #[inline]
    pub fn note_grant(&self, id: KeyId, mode: AccessMode) {
        #[cfg(debug_assertions)]
        self.slot(id).holders.acquire(id, mode);
        #[cfg(not(debug_assertions))]
        let _ = (id, mode);
    }

    /// Notes that a grant ended, in builds with debug assertions.
    #[inline]
    pub fn note_release(&self, id: KeyId, mode: AccessMode) {
        #[cfg(debug_assertions)]
        self.slot(id).holders.release(mode);
        #[cfg(not(debug_assertions))]
        let _ = (id, mode);
    }

    /// Drops all cells and keeps the memory.
    pub fn clear(&mut self) {
        let len = self.len();
        self.len = AtomicUsize::new(0);
        for index in 0..len {
            let (chunk, position) = locate(index);
            let Some(slots) = self.chunks[chunk].get_mut() else {
                // Room that was made and not used.
                continue;
            };
            let slot = &mut slots[position];
            if !mem::take(slot.filled.get_mut()) {
                continue;
            }
            let Slot { origin, value, .. } = slot;
            value.with_mut(|value| {
                // SAFETY: it was filled, and counts as empty from now on, so nothing drops it twice. `&mut self` rules out other
                // users.
                unsafe {
                    (*value).assume_init_drop();
                    origin.get_mut().assume_init_drop();
                }
            });
        }
    }

    #[inline]
    fn slot(&self, id: KeyId) -> &Slot<V, O> {
        let (chunk, position) = locate(id.index());
        let slots = self.chunks[chunk].get().expect("the id is of this arena");
        &slots[position]
    }
}

fn new_chunk<V, O>(cells: usize) -> Chunk<V, O> {
    (0..cells)
        .map(|_| Slot {
            value: UnsafeCell::new(MaybeUninit::uninit()),
            origin: std::cell::UnsafeCell::new(MaybeUninit::uninit()),
            filled: AtomicBool::new(false),
            #[cfg(debug_assertions)]
            holders: holders::Holders::default(),
        })
        .collect()
}

impl<V, O> Drop for Cells<V, O> {
    fn drop(&mut self) {
        self.clear();
    }
}

impl<V, O> Default for Cells<V, O> {
    fn default() -> Self {
        Self::new()
    }
}

/// The holders of a cell, counted to catch a broken lock table.
#[cfg(debug_assertions)]
mod holders {
    use crate::model::{AccessMode, KeyId};
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Readers in the low 24 bits, creditors in the next 24, writers above.
    #[derive(Debug, Default)]
    pub(super) struct Holders(AtomicU64);

    const fn unit(mode: AccessMode) -> u64 {
        match mode {
            AccessMode::Read => 1,
            AccessMode::Credit => 1 << 24,
            AccessMode::Write => 1 << 48,
        }
    }

    impl Holders {
        pub(super) fn acquire(&self, id: KeyId, mode: AccessMode) {
            let before = self.0.fetch_add(unit(mode), Ordering::Relaxed);
            let (readers, creditors, writers) =
                (before & 0xff_ffff, (before >> 24) & 0xff_ffff, before >> 48);
            let compatible = match mode {
                AccessMode::Read => creditors == 0 && writers == 0,
                AccessMode::Credit => readers == 0 && writers == 0,
                AccessMode::Write => before == 0,
            };
            assert!(
                compatible,
                "{mode} granted on {id:?} beside {readers} readers, {creditors} creditors and \
                 {writers} writers"
            );
        }

        pub(super) fn release(&self, mode: AccessMode) {
            let before = self.0.fetch_sub(unit(mode), Ordering::Relaxed);
            assert!(
                before >= unit(mode),
                "released a {mode} that was not granted"
            );
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn chunks_follow_each_other_without_holes() {
        let mut expected = (0, 0);
        for index in 0..10 * FIRST_CHUNK_CELLS {
            assert_eq!(locate(index), expected);
            expected.1 += 1;
            if expected.1 == FIRST_CHUNK_CELLS << expected.0 {
                expected = (expected.0 + 1, 0);
            }
        }
        assert!(locate(u32::MAX as usize).0 < CHUNKS);
    }

    #[test]
    fn cells_keep_their_values_while_others_are_pushed() {
        let cells = Cells::new();
        let ids: Vec<Vec<(KeyId, usize)>> = std::thread::scope(|scope| {
            let pushers: Vec<_> = (0..4_usize)
                .map(|thread| {
                    let cells = &cells;
                    scope.spawn(move || {
                        (0..3_000)
                            .map(|n| (cells.push(thread * 10_000 + n), thread * 10_000 + n))
                            .collect()
                    })
                })
                .collect();
            pushers
                .into_iter()
                .map(|pusher| pusher.join().unwrap())
                .collect()
        });
        let mut cells = cells;
        for (id, value) in ids.into_iter().flatten() {
            assert_eq!(*cells.get_mut(id), value);
        }
    }

    #[test]
    fn every_value_is_dropped_once() {
        let witness = Arc::new(());
        let mut cells = Cells::new();
        for _ in 0..5_000 {
            cells.push(Arc::clone(&witness));
        }
        assert_eq!(Arc::strong_count(&witness), 5_001);
        cells.clear();
        assert_eq!(Arc::strong_count(&witness), 1);
        cells.push(Arc::clone(&witness));
        drop(cells);
        assert_eq!(Arc::strong_count(&witness), 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "write granted on")]
    fn grants_that_do_not_go_together_are_caught() {
        let cells = Cells::new();
        let id = cells.push(());
        cells.note_grant(id, AccessMode::Read);
        cells.note_grant(id, AccessMode::Write);
    }
}
