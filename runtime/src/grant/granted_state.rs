//! The state as a transaction sees it under its grant: the granted cells and nothing else.

// The grant is what makes it sound that cells are reached by plain reference.
#![allow(unsafe_code)]

use crate::{
    block::{Begun, OpenBlock},
    cells::{CreditBuffer, HeldCells, KeyCells, StateCell},
    executor::{AccessError, UndeclaredAccess},
    keys::RecentKeys,
    model::{
        AccessEntry, AccessMode, AccessSet, KeyAccess, KeyId, StateKey, TaskId, note_touch,
        position_in, range_of,
    },
    sequential::SequentialState,
    speculation::UndoRecord,
};
use alloy_primitives::Address;
use std::{mem, ops::Range, ptr::NonNull, sync::Arc};

/// Cells that are asked for when a grant begins: as many as a processor fetches at a time.
const CELLS_NEAR: usize = 8;

/// A worker's view of an open block: the cells of the transaction whose grant the worker has entered.
///
/// Between [`enter`](Self::enter) and [`leave`](Self::leave) it reads and writes the cells of one
/// task's access set and refuses everything else. Outside it refuses everything.
#[derive(derive_more::Debug)]
#[debug("GrantedState {{ task: {task:?} }}")]
pub struct GrantedState<T> {
    pub(super) block: Option<Arc<OpenBlock<T>>>,
    pub(super) task: Option<TaskId>,
    pub(super) held: Grant,
    /// The account of the last access, and the range of its keys in the set.
    recent: (Address, Range<usize>),
    pub(super) undo: Option<UndoRecord>,
    /// Credits not yet handed in.
    pub(super) credits: CreditBuffer,
    /// Cells of the write set being applied; kept for its memory.
    pub(super) found: Vec<KeyId>,
    /// What was touched under a grant of everything.
    touched: Vec<AccessEntry>,
    /// Whether touches are not noted.
    pub(super) forgoes_touched: bool,
    /// Whether inferred sets may be extended while they are held.
    pub(super) allows_late_grants: bool,
    /// What the task got beyond its set.
    beyond: Vec<Beyond>,
    /// What was found when the task began, in views that allow late grants.
    pub(super) begun: Option<Begun>,
    /// For interning under a grant of everything; made when it is first needed.
    recent_keys: Option<RecentKeys<StateKey>>,
    /// In a view that runs a block sequentially: what has changed.
    sequential: Option<Box<SequentialState>>,
}

/// A key beyond the set that was entered.
#[derive(Clone, Copy)]
struct Beyond {
    key: StateKey,
    id: KeyId,
    mode: AccessMode,
    /// The mode in which it was held before.
    #[cfg(debug_assertions)]
    before: Option<AccessMode>,
}

impl<T> GrantedState<T> {
    /// A view of `block`, with no grant yet.
    pub fn new(block: Arc<OpenBlock<T>>) -> Self {
        let mut state = Self::default();
        state.block = Some(block);
        state
    }

    /// A view of a block whose transactions all run through this view, one after another. It uses no cells.
    /// `state` comes from [`OpenBlock::begin_sequential`].
    pub fn sequential(block: Arc<OpenBlock<T>>, state: Box<SequentialState>) -> Self {
        let mut granted = Self::new(block);
        granted.sequential = Some(state);
        granted
    }

    /// Ends a [sequential](Self::sequential) view and returns what has changed.
    pub fn into_sequential(mut self) -> Option<Box<SequentialState>> {
        self.sequential.take()
    }

    /// Enters the grant of `task`. A view that [allows late grants](Self::allow_late_grants) first waits
    /// until earlier transactions that got a key of this task beyond their sets have ended.
    ///
    /// # Safety
    ///
    /// From now until [`leave`](Self::leave), `task` holds every key of its resolved access set in this block
    /// in the mode it declares: no other task that has entered holds one of them, by its own set, in an
    /// incompatible mode. Changes by earlier holders happened before, in the sense of the memory model. So
    /// did the [resolving](OpenBlock::resolve) of this task and, in a block whose keys were numbered, of
    /// every earlier task, or at least the filling of all cells of its set ([`OpenBlock::is_free`]). The sets
    /// of the block's tasks do not change while tasks have entered. A key that no two tasks of the block use
    /// in incompatible modes counts as held without a lock ([`OpenBlock::contended`]).
    pub unsafe fn enter(&mut self, task: TaskId) {
        self.task = Some(task);
        self.touched.clear();
        self.beyond.clear();
        let block = self.block.as_ref();
        self.held = block.map_or(Grant::Nothing, |block| Grant::of(block, task));
        self.recent = (Address::ZERO, 0..0);
        self.bring_cells_near();
        let block = self.block.as_ref().filter(|_| self.allows_late_grants);
        self.begun = block.map(|block| block.begin(task));
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.key_cells().arena.note_grant(id, mode));
    }

    /// Asks for the cells that will be written, which other cores had last: all at once, where the transaction would
    /// wait for one after the other.
    fn bring_cells_near(&self) {
        if let (Some(block), Some((_, keys))) = (&self.block, self.granted_keys()) {
            let written = keys.iter().filter(|key| key.mode == AccessMode::Write);
            for access in written.take(CELLS_NEAR) {
                block.key_cells().arena.bring_near(access.key);
            }
        }
    }

    /// Enters a grant of everything for `task`, whatever its set is. A [sequential](Self::sequential) view
    /// enters no other grant.
    ///
    /// # Safety
    ///
    /// As of [`enter`](Self::enter): until [`leave`](Self::leave) no other thread uses a cell of the block,
    /// or looks one up.
    pub unsafe fn enter_everything(&mut self, task: TaskId) {
        self.task = Some(task);
        self.touched.clear();
        self.held = if self.sequential.is_some() {
            Grant::Sequential
        } else {
            Grant::Everything
        };
        self.recent = (Address::ZERO, 0..0);
    }

    /// The task whose grant was entered last.
    pub const fn task(&self) -> Option<TaskId> {
        self.task
    }

    /// Whether this view has entered the grant of `task` of `block`, and is not a replacement of the view
    /// that did.
    pub fn is_entered(&self, block: &Arc<OpenBlock<T>>, task: TaskId) -> bool {
        let same_block = self
            .block
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, block));
        same_block && self.task == Some(task)
    }

    /// Leaves the grant.
    pub fn leave(&mut self) {
        self.end_late_grants();
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.key_cells().arena.note_release(id, mode));
        self.begun = None;
        self.task = None;
        self.held = Grant::Nothing;
        self.recent = (Address::ZERO, 0..0);
    }

    fn end_late_grants(&mut self) {
        // A waiting transaction goes on after its first key is released, and one key may have been granted
        // twice.
        #[cfg(debug_assertions)]
        for beyond in self.beyond.iter().rev() {
            self.note_mode(beyond.id, Some(beyond.mode), beyond.before);
        }
        while let Some(beyond) = self.beyond.pop() {
            if let (Some(block), Some(task)) = (&self.block, self.task) {
                block.end_late_grant(task, beyond.id);
            }
        }
    }

    #[cfg(debug_assertions)]
    fn note_mode(&self, id: KeyId, from: Option<AccessMode>, to: Option<AccessMode>) {
        if let Some(block) = &self.block {
            let cells = &block.key_cells().arena;
            from.inspect(|mode| cells.note_release(id, *mode));
            to.inspect(|mode| cells.note_grant(id, *mode));
        }
    }

    #[cfg(debug_assertions)]
    fn for_each_held(&self, mut each: impl FnMut(&OpenBlock<T>, KeyId, AccessMode)) {
        // Under a grant of everything no other grant is out.
        if let (Some(block), Some(task)) = (&self.block, self.task)
            && !self.holds_everything()
            && let Some(keys) = block.resolved(task)
        {
            for access in keys {
                each(block, access.key, access.mode);
            }
        }
    }

    pub(crate) const fn holds_everything(&self) -> bool {
        matches!(self.held, Grant::Everything | Grant::Sequential)
    }

    /// What was touched under the last grant of everything, in no order and with duplicates. Under any
    /// other grant it is the access set that says so.
    pub const fn touched(&mut self) -> &mut Vec<AccessEntry> {
        &mut self.touched
    }

    /// From now on does not note what is [touched](Self::touched).
    pub const fn forgo_touched(&mut self) {
        self.forgoes_touched = true;
    }

    /// From now on a transaction whose set was inferred gets a key beyond it at once, if no other transaction
    /// has to be waited for. All views of one run do so, and [`OpenBlock::keep_late_grants`] is called after
    /// the run.
    pub const fn allow_late_grants(&mut self) {
        self.allows_late_grants = true;
    }

    /// From now on keeps an undo record of what is applied.
    pub fn keep_undo(&mut self) {
        self.undo.get_or_insert_default();
    }

    /// Keeps the next undo record in the memory of this one.
    pub fn reuse_undo(&mut self, empty: UndoRecord) {
        debug_assert!(empty.is_empty(), "the record must be empty");
        if let Some(record) = &mut self.undo
            && record.is_empty()
        {
            *record = empty;
        }
    }

    /// The undo record of what was applied since [`keep_undo`](Self::keep_undo) or the last call.
    pub fn take_undo(&mut self) -> UndoRecord {
        self.undo.as_mut().map(mem::take).unwrap_or_default()
    }

    /// Takes back effects that the task in whose grant this is had, or that another task had whose
    /// keys this one holds.
    ///
    /// # Safety
    ///
    /// Every cell of the record is held for writing, by the grant entered, or by the caller for a
    /// task that no other thread can see. The record was made through this view, or through one that was
    /// dropped.
    pub unsafe fn revert(&mut self, record: UndoRecord) {
        if let Some(block) = &self.block {
            // The credits must be on the accounts before they are taken back. Other views flushed theirs when
            // they were dropped.
            let mut cells = held_cells(block, &mut self.credits);
            cells.flush();
            record.apply(block.key_cells(), &mut cells);
        }
    }

    /// The set entered with its dense ids, unless it is everything.
    #[inline]
    pub(crate) fn granted_keys(&self) -> Option<(&[AccessEntry], &[KeyAccess])> {
        let Grant::Keys(held) = self.held else {
            return None;
        };
        Some(held.lists(self.block.as_ref()?))
    }

    /// Finds a key in the set entered and checks the mode; the cell's id and the mode it is held in.
    #[inline]
    pub(super) fn find(
        &mut self,
        key: &StateKey,
        needed: AccessMode,
    ) -> Result<(KeyId, AccessMode), AccessError> {
        let (Some(block), Some(task)) = (&self.block, self.task) else {
            return Err(undeclared(None, key, needed, None));
        };
        let held = match self.held {
            Grant::Keys(held) => held,
            Grant::Nothing => return Err(undeclared(Some(task), key, needed, None)),
            Grant::Everything => {
                let found = self.find_anywhere(key)?;
                self.note(key, needed);
                return Ok(found);
            }
            Grant::Sequential => unreachable!("a block that runs sequentially has no cells"),
        };
        let (entries, resolved) = held.lists(block);
        if self.recent.0 != key.address || self.recent.1.is_empty() {
            self.recent = (key.address, range_of(entries, key.address));
        }
        let range = self.recent.1.clone();
        let Some(position) = position_in(&entries[range.clone()], &key.part) else {
            return self.find_beyond(task, key, needed, None);
        };
        let access = resolved[range.start + position];
        if access.mode.allows(needed) {
            Ok((access.key, access.mode))
        } else {
            self.find_beyond(task, key, needed, Some(access.mode))
        }
    }

    /// The same under a grant of everything, noting nothing.
    #[inline]
    pub(crate) fn find_anywhere(
        &mut self,
        key: &StateKey,
    ) -> Result<(KeyId, AccessMode), AccessError> {
        let block = self.block.as_ref().expect("a grant is of a block");
        let recent = self.recent_keys.get_or_insert_default();
        Ok((block.intern(recent, key)?, AccessMode::Write))
    }

    #[inline]
    pub(crate) fn note(&mut self, key: &StateKey, mode: AccessMode) {
        if !self.forgoes_touched {
            note_touch(&mut self.touched, *key, mode);
        }
    }

    /// Under a sequential grant: what has changed, and the state before the block.
    #[inline]
    pub(crate) fn sequential_state(&mut self) -> Option<(&mut SequentialState, &KeyCells)> {
        let Grant::Sequential = self.held else {
            return None;
        };
        let block = self.block.as_ref()?;
        Some((self.sequential.as_mut()?, block.key_cells()))
    }

    /// The same for a key that is not in the set entered, or not in this mode.
    #[cold]
    fn find_beyond(
        &mut self,
        task: TaskId,
        key: &StateKey,
        needed: AccessMode,
        held: Option<AccessMode>,
    ) -> Result<(KeyId, AccessMode), AccessError> {
        let known = self.beyond.iter().rev().find(|beyond| beyond.key == *key);
        let before = known.map(|beyond| beyond.mode).or(held);
        if let Some(known) = known
            && known.mode.allows(needed)
        {
            return Ok((known.id, known.mode));
        }
        let refused = || undeclared(Some(task), key, needed, before);
        let block = self.block.as_ref().filter(|block| {
            self.allows_late_grants && block.is_inferred(task) && self.beyond.len() < BEYOND_MAX
        });
        let block = block.ok_or_else(refused)?;
        let recent = self.recent_keys.get_or_insert_default();
        // Whatever it was held for, it is needed for that still.
        let mode = before.map_or(needed, |before| before.union(needed));
        let id = block
            .grant_late(recent, task, key, mode)?
            .ok_or_else(refused)?;
        #[cfg(debug_assertions)]
        self.note_mode(id, before, Some(mode));
        self.beyond.push(Beyond {
            key: *key,
            id,
            mode,
            #[cfg(debug_assertions)]
            before,
        });
        Ok((id, mode))
    }

    #[inline]
    pub(super) fn read<R>(
        &mut self,
        key: &StateKey,
        look: impl FnOnce(&StateCell) -> R,
    ) -> Result<R, AccessError> {
        let (id, _) = self.find(key, AccessMode::Read)?;
        let block = self.block.as_ref().expect("find succeeds in a block only");
        Ok(held_cells(block, &mut self.credits).read(id, look))
    }

    /// The generation of an account's storage.
    #[inline]
    pub(super) fn generation(&mut self, address: Address) -> Result<u32, AccessError> {
        if let Some((state, _)) = self.sequential_state() {
            let generation = state.generation(address);
            self.note(&StateKey::code(address), AccessMode::Read);
            return Ok(generation);
        }
        let is_recoded = |block: &Arc<OpenBlock<T>>| block.key_cells().is_recoded();
        if self.holds_everything() && !self.block.as_ref().is_some_and(is_recoded) {
            // No storage was cleared, and no cell is needed to know that.
            self.note(&StateKey::code(address), AccessMode::Read);
            return Ok(0);
        }
        self.read(&StateKey::code(address), |cell| cell.code().generation)
    }
}

/// The cells that a view of `block` holds; for keys that it found in the grant entered.
#[inline]
pub(super) const fn held_cells<'a, T>(
    block: &'a OpenBlock<T>,
    credits: &'a mut CreditBuffer,
) -> HeldCells<'a> {
    // SAFETY: only the files of this folder call this. They pass keys that they found in the grant entered, in
    // a mode that allows the use, and no reference outlives `leave`; the contract of `enter` does the rest.
    // `revert` has its own contract for the cells of its record. Sums are of keys that all transactions of
    // this block only credit, so no thread writes their cells before the block is over.
    unsafe { HeldCells::new(block.key_cells(), credits) }
}

/// A transaction that needs more keys beyond its set than this gets another set instead.
const BEYOND_MAX: usize = 64;

#[cold]
pub(super) fn undeclared(
    transaction: Option<TaskId>,
    key: &StateKey,
    needed: AccessMode,
    held: Option<AccessMode>,
) -> AccessError {
    AccessError::Undeclared(UndeclaredAccess {
        transaction,
        key: *key,
        needed,
        held,
    })
}

impl<T> Drop for GrantedState<T> {
    fn drop(&mut self) {
        // If the transaction panicked, other transactions must not wait forever.
        self.end_late_grants();
        if let Some(block) = &self.block {
            held_cells(block, &mut self.credits).flush();
        }
    }
}

impl<T> Default for GrantedState<T> {
    fn default() -> Self {
        Self {
            block: None,
            task: None,
            held: Grant::Nothing,
            recent: (Address::ZERO, 0..0),
            undo: None,
            credits: CreditBuffer::default(),
            found: Vec::new(),
            touched: Vec::new(),
            forgoes_touched: false,
            allows_late_grants: false,
            beyond: Vec::new(),
            begun: None,
            recent_keys: None,
            sequential: None,
        }
    }
}

/// What is granted to a view.
#[derive(Clone, Copy, Default)]
pub(super) enum Grant {
    #[default]
    Nothing,
    Keys(GrantedKeys),
    /// Of everything.
    Everything,
    /// Of everything, in a block that runs sequentially, without cells.
    Sequential,
}

impl Grant {
    /// That of a task's set.
    pub(super) fn of<T>(block: &OpenBlock<T>, task: TaskId) -> Self {
        let AccessSet::Keys(entries) = block.access(task) else {
            return Self::Everything;
        };
        block.resolved(task).map_or(Self::Nothing, |keys| {
            Self::Keys(GrantedKeys {
                entries: NonNull::from_ref(entries.as_slice()),
                keys: NonNull::from_ref(keys),
            })
        })
    }
}

/// A set with its dense ids, inside the block that the grant view holds.
///
/// Asked for at every access, so it is looked up once.
#[derive(Clone, Copy)]
pub(super) struct GrantedKeys {
    entries: NonNull<[AccessEntry]>,
    /// As long as `entries`.
    keys: NonNull<[KeyAccess]>,
}

impl GrantedKeys {
    /// The two lists. `block` is the one that they are of.
    #[inline]
    pub(super) const fn lists<T>(self, _block: &OpenBlock<T>) -> (&[AccessEntry], &[KeyAccess]) {
        // SAFETY: `Grant::of` made the pointers from this block, which a view holds as long as it has its
        // grants. Sets change only through `&mut OpenBlock`, which no thread has while the block is borrowed.
        unsafe { (self.entries.as_ref(), self.keys.as_ref()) }
    }
}

#[cfg(test)]
mod tests;
