//! The state as the holder of a grant sees it: its cells, and nothing else.

// Cells are reached by plain reference here; the grant is what makes that sound.
#![allow(unsafe_code)]

use super::granted_keys::Grant;
use crate::{
    block::{Begun, OpenBlock},
    cells::{CreditBuffer, KeyCells, StateCell},
    executor::{AccessError, StateAccess, Transfer, UndeclaredAccess},
    keys::RecentKeys,
    model::{
        AccessEntry, AccessMode, AccountValue, CodeRef, KeyAccess, KeyId, Outcome, StateError,
        StateKey, TaskId, WriteSet, note_touch, position_in, range_of, was_in_use,
    },
    sequential::SequentialState,
    speculation::{Undo, UndoRecord},
};
use alloy_primitives::{Address, B256, U256};
use std::{fmt, mem, ops::Range, sync::Arc};

/// Cells that are asked for when a grant begins: as many as a processor fetches at a time.
const CELLS_NEAR: usize = 8;

/// A worker's window onto an open block: the cells of the transaction whose grant it is in.
///
/// Between [`enter`](Self::enter) and [`leave`](Self::leave) it reads and writes the cells of one
/// task's access set and refuses everything else. Outside it refuses everything.
pub struct GrantedState<T> {
    pub(crate) block: Option<Arc<OpenBlock<T>>>,
    task: Option<TaskId>,
    held: Grant,
    /// The account asked for last, and where its keys stand in the set.
    recent: (Address, Range<usize>),
    pub(crate) undo: Option<UndoRecord>,
    /// Credits not yet handed in.
    pub(crate) credits: CreditBuffer,
    /// Cells of the write set being applied; kept for its memory.
    found: Vec<KeyId>,
    /// What was touched under a grant of everything.
    touched: Vec<AccessEntry>,
    /// Whether nobody wants to know.
    is_incurious: bool,
    /// Whether inferred sets may be extended while they are held.
    may_extend: bool,
    /// What the task got beyond its set.
    beyond: Vec<Beyond>,
    /// What was found when the task began, in windows that extend sets.
    begun: Option<Begun>,
    /// For interning under a grant of everything; made when it is first needed.
    popular: Option<RecentKeys<StateKey>>,
    /// In a window that runs a block in order, what has changed.
    ordered: Option<Box<SequentialState>>,
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
    /// A window onto `block`, with no grant yet.
    pub fn new(block: Arc<OpenBlock<T>>) -> Self {
        let mut state = Self::default();
        state.block = Some(block);
        state
    }

    /// A window onto a block whose transactions run in order, all through it: no cell is used, and nobody else is in their way.
    /// `state` is the block's ([`OpenBlock::begin_sequential`]).
    pub fn sequential(block: Arc<OpenBlock<T>>, state: Box<SequentialState>) -> Self {
        let mut window = Self::new(block);
        window.ordered = Some(state);
        window
    }

    /// Ends a window that ran a block [in order](Self::sequential); what has changed.
    pub fn into_sequential(mut self) -> Option<Box<SequentialState>> {
        self.ordered.take()
    }

    /// Enters the grant of `task`. A window that [extends sets](Self::allow_late_grants) waits until those in front
    /// who got a key of this task beyond their sets are through.
    ///
    /// # Safety
    ///
    /// From now until [`leave`](Self::leave), `task` holds every key of its resolved access set in
    /// this block in the mode it declares: no other task that has entered holds one of them, by its own
    /// set, in an incompatible mode. Changes by earlier holders happened before, in the memory order's sense;
    /// so did the [resolving](OpenBlock::resolve) of this task and, in a block whose keys were
    /// numbered, of every one in front of it, or at least the filling of all cells of its set
    /// ([`OpenBlock::is_free`]). The sets of the block's tasks do not change while tasks have entered. A key
    /// that no two tasks of the block use in incompatible modes counts as held without a lock
    /// ([`OpenBlock::contended`]).
    pub unsafe fn enter(&mut self, task: TaskId) {
        self.task = Some(task);
        self.touched.clear();
        self.beyond.clear();
        let block = self.block.as_ref();
        self.held = block.map_or(Grant::Nothing, |block| Grant::of(block, task));
        self.recent = (Address::ZERO, 0..0);
        self.bring_cells_near();
        let block = self.block.as_ref().filter(|_| self.may_extend);
        self.begun = block.map(|block| block.begin(task));
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.key_cells().arena.note_grant(id, mode));
    }

    /// Asks for the cells that will be written, which other cores had last: all at once, where the transaction would
    /// wait for one after the other.
    fn bring_cells_near(&self) {
        if let (Some(block), Some((_, keys))) = (&self.block, self.held()) {
            let written = keys.iter().filter(|key| key.mode == AccessMode::Write);
            for access in written.take(CELLS_NEAR) {
                block.key_cells().arena.bring_near(access.key);
            }
        }
    }

    /// Enters a grant of everything for `task`, whatever its set is. A window that runs its block [in order](Self::sequential) enters
    /// no other.
    ///
    /// # Safety
    ///
    /// As of [`enter`](Self::enter): until [`leave`](Self::leave) nobody else uses a cell of the block, or looks
    /// for one.
    pub unsafe fn enter_everything(&mut self, task: TaskId) {
        self.task = Some(task);
        self.touched.clear();
        self.held = if self.ordered.is_some() {
            Grant::InOrder
        } else {
            Grant::Everything
        };
        self.recent = (Address::ZERO, 0..0);
    }

    /// Whether this window is in the grant of `task` of `block`, and not one that took its place.
    pub fn is_entered(&self, block: &Arc<OpenBlock<T>>, task: TaskId) -> bool {
        let same_block = self
            .block
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, block));
        same_block && self.task == Some(task)
    }

    /// Leaves the grant.
    pub fn leave(&mut self) {
        self.end_extensions();
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.key_cells().arena.note_release(id, mode));
        self.begun = None;
        self.task = None;
        self.held = Grant::Nothing;
        self.recent = (Address::ZERO, 0..0);
    }

    /// Others may have what was got beyond the set.
    fn end_extensions(&mut self) {
        // Whoever waits goes on after the first word of it, and a key may have been got twice.
        #[cfg(debug_assertions)]
        for beyond in self.beyond.iter().rev() {
            self.note_mode(beyond.id, Some(beyond.mode), beyond.before);
        }
        while let Some(beyond) = self.beyond.pop() {
            if let (Some(block), Some(task)) = (&self.block, self.task) {
                block.end_extension(task, beyond.id);
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
        // Under a grant of everything there is nobody to meet.
        if let (Some(block), Some(task)) = (&self.block, self.task)
            && !self.holds_everything()
            && let Some(keys) = block.resolved(task)
        {
            for access in keys {
                each(block, access.key, access.mode);
            }
        }
    }

    /// Whether the grant is of everything.
    pub(crate) const fn holds_everything(&self) -> bool {
        matches!(self.held, Grant::Everything | Grant::InOrder)
    }

    /// What was touched under the last grant of everything, in no order and with duplicates. Under any
    /// other grant it is the access set that says so.
    pub const fn touched(&mut self) -> &mut Vec<AccessEntry> {
        &mut self.touched
    }

    /// Takes the simulation of `task` as its execution without entering its grant, if it has one, is in
    /// no conflict, and nobody else names the keys whose values it read or wrote: what it did stays
    /// in its draft, [apart](OpenBlock::may_keep_private), and its cells need not be filled. Its outcome then; else
    /// nothing has happened. For windows that [extend sets](Self::allow_late_grants).
    ///
    /// # Safety
    ///
    /// As of [`enter`](Self::enter), but for the resolving of the task itself, and until this function
    /// returns.
    pub unsafe fn run_private(&mut self, task: TaskId) -> Option<Outcome> {
        let block = self.block.as_ref().filter(|_| self.may_extend)?;
        // SAFETY: as of this function.
        unsafe { block.run_private(task, &mut self.credits, &mut self.found) }
    }

    /// Applies the simulation of the task in whose grant this is, if it has one and nothing that it
    /// looked at has changed since the state before the block; its outcome is the transaction's then. For windows
    /// that [extend sets](Self::allow_late_grants).
    pub fn apply_simulation(&mut self) -> Option<Outcome> {
        let (Some(block), Some(task)) = (&self.block, self.task) else {
            return None;
        };
        let begun = self.begun.as_mut()?;
        let mut simulation = begun.simulation.take()?;
        let keys = block.resolved(task)?;
        let holds = (block.has_no_conflict(task) && !begun.is_disturbed) || {
            let looked_at = keys.iter().filter(|key| key.mode != AccessMode::Credit);
            looked_at.map(|key| key.key).all(|id| {
                let cells = &block.key_cells().arena;
                // SAFETY: a key of the set that was entered, held in a mode that allows reads.
                unsafe { cells.read(id, |cell| cells.origin(id).is_current(cell)) }
            })
        };
        if !holds {
            block.discard_simulation(task, simulation);
            return None;
        }
        simulation.list_cells(keys, &mut self.found);
        let cells = block.key_cells();
        let credits = &mut self.credits;
        // SAFETY: keys of the set that was entered, held for credit or writing.
        let is_safe = |(id, amount)| unsafe { credits.is_safe(cells, id, amount) };
        if !simulation.credits(&self.found).all(is_safe) {
            return None;
        }
        let outcome = simulation.outcome.take()?;
        // What the cells were is what they were before the block, so that need not be noted.
        let undo = self.undo.take();
        self.apply_checked(&simulation.writes);
        self.undo = undo.map(|mut record| {
            simulation.cells.extend_from_slice(&self.found);
            record.taken = Some(simulation);
            record
        });
        Some(outcome)
    }

    /// The same in a block that runs in order. What the transaction touched stands in its set.
    pub fn apply_simulation_sequentially(&mut self) -> Option<Outcome> {
        let task = self.task?;
        let block = self.block.clone()?;
        let (state, before) = self.ordered()?;
        let mut simulation = block.draft(task)?.begin()?;
        let (view, rules) = (&**before.view(), before.rules);
        let entries = block.access(task).entries();
        let mut looked_at = entries
            .iter()
            .filter(|entry| entry.mode != AccessMode::Credit);
        let mut credits = simulation.writes.credits.iter();
        let holds = looked_at.all(|entry| state.is_untouched(&entry.key))
            && credits.all(|credit| state.may_credit(view, credit.address, credit.amount))
            && state.apply(view, rules, &simulation.writes).is_ok();
        let outcome = if holds {
            simulation.outcome.take()
        } else {
            None
        };
        block.discard_simulation(task, simulation);
        outcome
    }

    /// From now on does not note what is [touched](Self::touched).
    pub const fn forgo_touched(&mut self) {
        self.is_incurious = true;
    }

    /// From now on a transaction whose set was inferred gets a key beyond it at once, where there is nothing
    /// to wait for. All windows do so that are used in the same run, and then
    /// [`OpenBlock::keep_late_grants`] is called.
    pub const fn allow_late_grants(&mut self) {
        self.may_extend = true;
    }

    /// From now on keeps an undo record of what is applied.
    pub fn keep_undo(&mut self) {
        self.undo.get_or_insert_default();
    }

    /// Keeps the next undo record in the memory of this one.
    pub fn reuse_undo(&mut self, empty: UndoRecord) {
        debug_assert!(empty.is_empty(), "somebody needs what is in it");
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
    /// task that nobody else can see. The record was made through this window, or through one that was
    /// dropped.
    pub unsafe fn revert(&mut self, record: UndoRecord) {
        if let Some(block) = &self.block {
            // What is taken back has to be there. Other windows handed theirs in when they were dropped.
            // SAFETY: all keys were named with this block's cells.
            unsafe { self.credits.flush(block.key_cells()) };
            // SAFETY: this function's contract is that of `apply`.
            unsafe { record.apply(block.key_cells()) };
        }
    }

    /// The set entered with its dense ids, unless it is everything.
    #[inline]
    pub(crate) fn held(&self) -> Option<(&[AccessEntry], &[KeyAccess])> {
        let Grant::Keys(held) = self.held else {
            return None;
        };
        // SAFETY: this window holds the block. What a transaction holds changes only through `&mut OpenBlock`, which
        // nobody has meanwhile.
        Some(unsafe { held.lists() })
    }

    /// Finds a key in the set entered and checks the mode; the cell's id and the mode it is held in.
    #[inline]
    fn find(
        &mut self,
        key: &StateKey,
        needed: AccessMode,
    ) -> Result<(KeyId, AccessMode), AccessError> {
        let (Some(_), Some(task)) = (&self.block, self.task) else {
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
            Grant::InOrder => unreachable!("a block that runs in order has no cells"),
        };
        // SAFETY: as in `held`.
        let (entries, resolved) = unsafe { held.lists() };
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
        let recent = self.popular.get_or_insert_default();
        Ok((block.intern(recent, key)?, AccessMode::Write))
    }

    /// Notes a touch under a grant of everything.
    #[inline]
    pub(crate) fn note(&mut self, key: &StateKey, mode: AccessMode) {
        if !self.is_incurious {
            note_touch(&mut self.touched, *key, mode);
        }
    }

    /// What has changed, and what was before the block, in the grant of a window that runs the block in order.
    #[inline]
    pub(crate) fn ordered(&mut self) -> Option<(&mut SequentialState, &KeyCells)> {
        let Grant::InOrder = self.held else {
            return None;
        };
        let block = self.block.as_ref()?;
        Some((self.ordered.as_mut()?, block.key_cells()))
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
            self.may_extend && block.is_inferred(task) && self.beyond.len() < BEYOND_MAX
        });
        let block = block.ok_or_else(refused)?;
        let recent = self.popular.get_or_insert_default();
        // Whatever it was held for, it is needed for that still.
        let mode = before.map_or(needed, |before| before.union(needed));
        let id = block.extend(recent, task, key, mode)?.ok_or_else(refused)?;
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
    fn read<R>(
        &mut self,
        key: &StateKey,
        look: impl FnOnce(&StateCell) -> R,
    ) -> Result<R, AccessError> {
        let (id, _) = self.find(key, AccessMode::Read)?;
        let block = self.block.as_ref().expect("find succeeds in a block only");
        // SAFETY: `find` found the key in the set that was entered, in a mode that allows reads;
        // by the contract of `enter` nobody writes it until `leave`. The id came from this block.
        Ok(unsafe { block.key_cells().arena.read(id, look) })
    }

    /// The incarnation of an account's storage.
    #[inline]
    fn incarnation(&mut self, address: Address) -> Result<u32, AccessError> {
        if let Some((state, _)) = self.ordered() {
            let incarnation = state.incarnation(address);
            self.note(&StateKey::code(address), AccessMode::Read);
            return Ok(incarnation);
        }
        let is_recoded = |block: &Arc<OpenBlock<T>>| block.key_cells().is_recoded();
        if self.holds_everything() && !self.block.as_ref().is_some_and(is_recoded) {
            // Nothing was wiped. No cell is needed to know that.
            self.note(&StateKey::code(address), AccessMode::Read);
            return Ok(0);
        }
        self.read(&StateKey::code(address), |cell| cell.code().incarnation)
    }

    /// Checks that every effect is granted, so that applying them cannot stop half-way, and notes
    /// their cells in the order in which they are changed.
    fn check(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        self.found.clear();
        let credits = writes.credits.iter().map(|credit| credit.amount);
        let mut credits = credits;
        for (key, needed) in writes.effects() {
            let (id, held) = self.find(&key, needed)?;
            if needed == AccessMode::Credit {
                let amount = credits.next().expect("one for each credit");
                if held != AccessMode::Write && !self.is_credit_safe_on(id, amount) {
                    return Err(undeclared(self.task, &key, AccessMode::Write, Some(held)));
                }
            }
            self.found.push(id);
        }
        Ok(())
    }

    /// Applies effects whose cells stand in `found` and are held as they have to be.
    fn apply_checked(&mut self, writes: &WriteSet) {
        let Some(block) = &self.block else {
            return;
        };
        let undo = &mut self.undo;
        let mut cells = CheckedCells {
            block: block.key_cells(),
            ids: self.found.iter(),
        };
        for (_, value) in &writes.accounts {
            let (id, before) = cells.change(|cell| cell.account_mut().replace(*value));
            if let Some(record) = undo {
                record.note_account(id, before);
            }
        }
        let mut note = |entry: Undo| {
            if let Some(record) = undo {
                record.entries.push(entry);
            }
        };
        for (address, code) in &writes.codes {
            let code = code.clone();
            let (id, before) = cells.change(|cell| mem::replace(&mut cell.code_mut().code, code));
            block.key_cells().note_recoded(*address, id);
            note(Undo::Code(id, before));
        }
        for address in &writes.wipes {
            let (id, ()) = cells.change(|cell| cell.code_mut().incarnation += 1);
            block.key_cells().note_recoded(*address, id);
            note(Undo::Wipe(id));
        }
        for (_, _, value) in &writes.slots {
            let (_, now) = cells.read(|cell| cell.code().incarnation);
            let (id, (value, incarnation)) = cells.change(|cell| {
                let cell = cell.slot_mut();
                (
                    mem::replace(&mut cell.value, *value),
                    mem::replace(&mut cell.incarnation, now),
                )
            });
            note(Undo::Slot(id, value, incarnation));
        }
        for credit in &writes.credits {
            let id = cells.next();
            note(Undo::Credit(id, credit.amount));
            // SAFETY: `check` found the key in the set that was entered, held for credit or writing.
            unsafe { self.credits.add(block.key_cells(), id, credit.amount) };
        }
    }

    /// Whether a cell held for credit or writing can take this one.
    fn is_credit_safe_on(&mut self, id: KeyId, amount: U256) -> bool {
        let block = self.block.as_ref().expect("a cell is of a block");
        // SAFETY: as said, and the key was found in the set that was entered.
        unsafe { self.credits.is_safe(block.key_cells(), id, amount) }
    }
}

/// The cells that a checked write set changes, in its order.
struct CheckedCells<'a> {
    block: &'a KeyCells,
    ids: std::slice::Iter<'a, KeyId>,
}

impl CheckedCells<'_> {
    fn next(&mut self) -> KeyId {
        *self.ids.next().expect("every effect was checked")
    }

    /// Changes the next cell.
    fn change<R>(&mut self, change: impl FnOnce(&mut StateCell) -> R) -> (KeyId, R) {
        let id = self.next();
        // SAFETY: `check` found this key of the set that was entered held for writing; by the
        // contract of `enter` nobody else uses the cell until `leave`. The id came from this block.
        (id, unsafe { self.block.arena.write(id, change) })
    }

    /// Looks at the next cell.
    fn read<R>(&mut self, look: impl FnOnce(&StateCell) -> R) -> (KeyId, R) {
        let id = self.next();
        (id, self.read_at(id, look))
    }

    /// Looks at the cell that [`next`](Self::next) gave last.
    fn read_at<R>(&self, id: KeyId, look: impl FnOnce(&StateCell) -> R) -> R {
        // SAFETY: as above, but held in a mode in which nobody writes beside us.
        unsafe { self.block.arena.read(id, look) }
    }
}

/// Whoever needs so many keys beyond its set had better be given another.
const BEYOND_MAX: usize = 64;

#[cold]
fn undeclared(
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

impl<T> StateAccess for GrantedState<T> {
    #[inline]
    fn account(&mut self, address: Address) -> Result<AccountValue, AccessError> {
        if let Some((state, before)) = self.ordered() {
            let value = state.account(&**before.view(), address)?;
            self.note(&StateKey::account(address), AccessMode::Read);
            return Ok(value);
        }
        let rules = self.block.as_ref().map(|block| block.key_cells().rules);
        self.read(&StateKey::account(address), |cell| {
            cell.account().current(rules.expect("a cell is of a block"))
        })
    }

    #[inline]
    fn code(&mut self, address: Address) -> Result<&CodeRef, AccessError> {
        let key = StateKey::code(address);
        if matches!(self.held, Grant::InOrder) {
            self.note(&key, AccessMode::Read);
            let (state, before) = self.ordered().expect("it is in that grant");
            return Ok(state.code(&**before.view(), address)?);
        }
        let (id, _) = self.find(&key, AccessMode::Read)?;
        let block = self.block.as_ref().expect("find succeeds in a block only");
        // SAFETY: held for reading, as in `read`, until `leave`, which takes `&mut self` and so
        // cannot be called while the reference lives. Nor can `apply`, by which this holder writes.
        // The arena never moves a cell.
        Ok(unsafe {
            &*block
                .key_cells()
                .arena
                .read(id, |cell| std::ptr::from_ref(&cell.code().code))
        })
    }

    #[inline]
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        if let Some((state, before)) = self.ordered() {
            let value = state.slot(&**before.view(), address, slot)?;
            self.note(&StateKey::code(address), AccessMode::Read);
            self.note(&StateKey::slot(address, slot), AccessMode::Read);
            return Ok(value);
        }
        let incarnation = self.incarnation(address)?;
        self.read(&StateKey::slot(address, slot), |cell| {
            cell.slot().current(incarnation)
        })
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        let wiped = self.incarnation(address)? > 0;
        let block = self.block.as_ref().expect("a key was found in a block");
        Ok(!wiped && block.key_cells().view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        let known = match &self.block {
            Some(block) => block.key_cells().view().block_hash(number)?,
            None => None,
        };
        Ok(known.ok_or(StateError::MissingBlockHash { number })?)
    }

    fn was_in_use(&mut self, address: Address) -> bool {
        let block = self.block.as_ref();
        block.is_some_and(|block| was_in_use(block.key_cells().view(), address))
    }

    fn is_lookup_free(&self) -> bool {
        matches!(self.held, Grant::InOrder) && self.is_incurious
    }

    fn known_hash(&mut self, place: &[u8; 64]) -> Option<U256> {
        let inferred = self.block.as_ref()?.draft(self.task?)?.inferred()?;
        let known = inferred.hashes.iter().find(|known| known.place == *place)?;
        Some(known.hash)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        let key = StateKey::account(address);
        if let Some((state, before)) = self.ordered() {
            let may = state.may_credit(&**before.view(), address, amount);
            if may {
                self.note(&key, AccessMode::Credit);
            }
            return may;
        }
        let found = if self.holds_everything() {
            self.find_anywhere(&key)
        } else {
            self.find(&key, AccessMode::Credit)
        };
        let may = found.is_ok_and(|(id, _)| self.is_credit_safe_on(id, amount));
        if may && self.holds_everything() {
            self.note(&key, AccessMode::Credit);
        }
        may
    }

    fn transfer(&mut self, transfer: &Transfer) -> bool {
        self.carry_out(transfer).is_some()
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        if let Some((state, before)) = self.ordered() {
            state.apply(&**before.view(), before.rules, writes)?;
            if !self.is_incurious {
                (writes.effects()).for_each(|(key, mode)| self.note(&key, mode));
            }
            return Ok(());
        }
        self.check(writes)?;
        self.apply_checked(writes);
        Ok(())
    }
}

impl<T> Drop for GrantedState<T> {
    fn drop(&mut self) {
        // If whoever is in the grant panicked, others must not wait for ever.
        self.end_extensions();
        if let Some(block) = &self.block {
            // SAFETY: all keys were named with this block's cells.
            unsafe { self.credits.flush(block.key_cells()) };
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
            is_incurious: false,
            may_extend: false,
            beyond: Vec::new(),
            begun: None,
            popular: None,
            ordered: None,
        }
    }
}

impl<T> fmt::Debug for GrantedState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantedState")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AccessSet, Declaration, DenseId, Inference, MemoryState, Sanitized, SimulatedState,
        StateCells, StateRules,
    };

    /// Hashes that were kept with a transaction's set are there when it runs, for it alone, and each for its place.
    #[test]
    fn hashes_of_an_inferred_set_are_known_to_its_transaction() {
        let rules = StateRules {
            clear_empty_accounts: true,
        };
        let transaction = Sanitized {
            transaction: (),
            access: AccessSet::empty(),
            declaration: Declaration::Inferred,
        };
        let cells = StateCells::new(Arc::new(MemoryState::new()), rules);
        let block = OpenBlock::to_infer(cells, vec![transaction.clone(), transaction]);
        let place = |byte: u8| [byte; 64];
        let mut looker = SimulatedState::new(Arc::clone(block.cells().view()));
        for byte in 1..=100 {
            looker.keep_hash(&place(byte), U256::from(byte));
        }
        looker.conclude(&block, TaskId::FIRST, Inference::Known, 1);
        looker.keep_hash(&place(101), U256::from(101));
        let second = TaskId::from_index(1);
        looker.conclude(&block, second, Inference::Known, 1);
        let mut window = GrantedState::new(Arc::new(block));
        assert_eq!(window.known_hash(&place(1)), None, "outside of any grant");
        let mut known_to = |task| {
            // SAFETY: there is one window.
            unsafe { window.enter_everything(task) };
            let known = [1, 2, 100, 101].map(|byte| window.known_hash(&place(byte)));
            window.leave();
            known
        };
        let [one, two, many] = [1, 2, 101].map(U256::from).map(Some);
        assert_eq!(
            known_to(TaskId::FIRST),
            [one, two, None, None],
            "a hundred are too many"
        );
        assert_eq!(known_to(second), [None, None, None, many]);
    }

    /// Storage is looked at without a cell for it as long as none was wiped, and not any longer.
    #[test]
    fn storage_wiped_in_the_block_is_empty_until_that_is_taken_back() {
        let contract = Address::repeat_byte(1);
        let (slot, value) = (U256::from(2), U256::from(3));
        let mut before = MemoryState::new();
        before.insert_slot(contract, slot, value);
        let rules = StateRules {
            clear_empty_accounts: true,
        };
        let transaction = Sanitized {
            transaction: (),
            access: AccessSet::Everything,
            declaration: Declaration::Recorded,
        };
        let block = Arc::new(OpenBlock::new(Arc::new(before), rules, vec![transaction]));
        let mut window = GrantedState::new(Arc::clone(&block));
        window.keep_undo();
        // SAFETY: there is one window, which is in one grant.
        unsafe { window.enter_everything(TaskId::FIRST) };
        let look = |window: &mut GrantedState<()>| {
            let has_storage = window.has_storage(contract).unwrap();
            (window.slot(contract, slot).unwrap(), has_storage)
        };
        assert_eq!(look(&mut window), (value, true));
        assert!(
            block.key_cells().arena.len() <= 1,
            "a look at code made a cell"
        );
        let wipes = WriteSet {
            wipes: vec![contract],
            ..WriteSet::default()
        };
        window.apply(&wipes).unwrap();
        assert_eq!(look(&mut window), (U256::ZERO, false));
        let record = window.take_undo();
        // SAFETY: as above; the record is of this grant.
        unsafe { window.revert(record) };
        assert_eq!(look(&mut window), (value, true));
        let touched = AccessSet::of_touches(window.touched().drain(..));
        assert_eq!(
            touched.mode(&StateKey::code(contract)),
            Some(AccessMode::Write)
        );
        let slot = StateKey::slot(contract, slot);
        assert_eq!(touched.mode(&slot), Some(AccessMode::Read));
        window.leave();
    }
}
