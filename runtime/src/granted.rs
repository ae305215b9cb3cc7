//! The state as the holder of a grant sees it: its cells, and nothing else.

// Cells are reached by plain reference here; the grant is what makes that sound.
#![allow(unsafe_code)]

use crate::{
    access::{AccessEntry, AccessMode, AccessSet},
    executor::{AccessError, StateAccess, UndeclaredAccess},
    id::{KeyId, TaskId},
    key::{KeyPart, StateKey},
    open_block::OpenBlock,
    state::{CodeRef, StateError},
    state_cells::StateCell,
    undo::{Undo, UndoRecord},
    write_set::{AccountValue, WriteSet, is_credit_safe},
};
use alloy_primitives::{Address, B256, U256};
use std::{fmt, ops::Range, sync::Arc};

/// A worker's window onto an open block: the cells of the transaction whose grant it is in.
///
/// Between [`enter`](Self::enter) and [`leave`](Self::leave) it reads and writes the cells of one
/// task's access set and refuses everything else. Outside it refuses everything.
pub struct GrantedState<T> {
    block: Option<Arc<OpenBlock<T>>>,
    task: Option<TaskId>,
    /// The account asked for last, and where its keys stand in the set.
    recent: (Address, Range<usize>),
    undo: Option<UndoRecord>,
}

impl<T> GrantedState<T> {
    /// A window onto `block`, with no grant yet.
    pub const fn new(block: Arc<OpenBlock<T>>) -> Self {
        Self {
            block: Some(block),
            task: None,
            recent: (Address::ZERO, 0..0),
            undo: None,
        }
    }

    /// Enters the grant of `task`.
    ///
    /// # Safety
    ///
    /// From now until [`leave`](Self::leave), `task` holds every key of its resolved access set in
    /// this block in the mode it declares: no other task that has entered holds one of them in an
    /// incompatible mode. Changes by earlier holders happened before, in the memory order's sense.
    pub unsafe fn enter(&mut self, task: TaskId) {
        self.task = Some(task);
        self.recent = (Address::ZERO, 0..0);
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.cells().cells.note_grant(id, mode));
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
        #[cfg(debug_assertions)]
        self.for_each_held(|block, id, mode| block.cells().cells.note_release(id, mode));
        self.task = None;
        self.recent = (Address::ZERO, 0..0);
    }

    #[cfg(debug_assertions)]
    fn for_each_held(&self, mut each: impl FnMut(&OpenBlock<T>, KeyId, AccessMode)) {
        if let (Some(block), Some(task)) = (&self.block, self.task)
            && let Some(keys) = block.resolved(task)
        {
            for access in keys {
                each(block, access.key, access.mode);
            }
        }
    }

    /// From now on keeps an undo record of what is applied.
    pub fn keep_undo(&mut self) {
        self.undo.get_or_insert_default();
    }

    /// The undo record of what was applied since [`keep_undo`](Self::keep_undo) or the last call.
    pub fn take_undo(&mut self) -> UndoRecord {
        self.undo.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Takes back effects that the task in whose grant this is had, or that another task had whose
    /// keys this one holds.
    ///
    /// # Safety
    ///
    /// Every cell of the record is held for writing, by the grant entered, or by the caller for a
    /// task that nobody else can see.
    pub unsafe fn revert(&mut self, record: UndoRecord) {
        if let Some(block) = &self.block {
            // SAFETY: this function's contract is that of `apply`.
            unsafe { record.apply(block.cells()) };
        }
    }

    /// Finds a key in the set entered and checks the mode; the cell's id and the mode it is held in.
    #[inline]
    fn find(
        &mut self,
        key: &StateKey,
        needed: AccessMode,
    ) -> Result<(KeyId, AccessMode), AccessError> {
        let (Some(block), Some(task)) = (&self.block, self.task) else {
            return Err(undeclared(None, key, needed, None));
        };
        let (entries, resolved) = match (block.access(task), block.resolved(task)) {
            (AccessSet::Keys(entries), Some(resolved)) => (entries, resolved),
            (AccessSet::Everything, _) => {
                return Ok((block.cells().intern(key)?, AccessMode::Write));
            }
            _ => return Err(undeclared(Some(task), key, needed, None)),
        };
        if self.recent.0 != key.address || self.recent.1.is_empty() {
            self.recent = (key.address, range_of(entries, key.address));
        }
        let range = self.recent.1.clone();
        let Some(position) = position_in(&entries[range.clone()], &key.part) else {
            return Err(undeclared(Some(task), key, needed, None));
        };
        let access = resolved[range.start + position];
        if access.mode.allows(needed) {
            Ok((access.key, access.mode))
        } else {
            Err(undeclared(Some(task), key, needed, Some(access.mode)))
        }
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
        Ok(unsafe { block.cells().cells.read(id, look) })
    }

    /// The incarnation of an account's storage.
    #[inline]
    fn incarnation(&mut self, address: Address) -> Result<u32, AccessError> {
        self.read(&StateKey::code(address), |cell| cell.code().incarnation)
    }

    /// Checks that every effect is granted, so that applying them cannot stop half-way.
    fn check(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        for (address, _) in &writes.accounts {
            self.find(&StateKey::account(*address), AccessMode::Write)?;
        }
        for address in writes
            .codes
            .iter()
            .map(|(address, _)| address)
            .chain(&writes.wipes)
        {
            self.find(&StateKey::code(*address), AccessMode::Write)?;
        }
        for (address, slot, _) in &writes.slots {
            self.find(&StateKey::slot(*address, *slot), AccessMode::Write)?;
            self.find(&StateKey::code(*address), AccessMode::Read)?;
        }
        for credit in &writes.credits {
            let key = StateKey::account(credit.address);
            let (id, held) = self.find(&key, AccessMode::Credit)?;
            if held == AccessMode::Write {
                continue;
            }
            if !self.is_credit_safe_on(id, credit.amount) {
                return Err(undeclared(self.task, &key, AccessMode::Write, Some(held)));
            }
        }
        Ok(())
    }

    /// Whether a cell held for credit can take this one. The same for every interleaving: the value
    /// as last written does not change while credits are granted.
    fn is_credit_safe_on(&self, id: KeyId, amount: U256) -> bool {
        let block = self.block.as_ref().expect("a cell is of a block");
        // SAFETY: held for credit: others may add to the atomics, nobody writes the rest.
        unsafe {
            let safe = |cell: &StateCell| is_credit_safe(cell.account().value.balance, amount);
            block.cells().cells.read(id, safe)
        }
    }

    fn note_recoded(&self, address: Address) {
        if let Some(block) = &self.block {
            block.cells().note_recoded(address);
        }
    }

    fn note(&mut self, entry: impl FnOnce() -> Undo) {
        if let Some(record) = &mut self.undo {
            record.entries.push(entry());
        }
    }

    /// Changes a cell that `check` found granted for writing.
    #[inline]
    fn change<R>(
        &mut self,
        key: &StateKey,
        change: impl FnOnce(&mut StateCell) -> R,
    ) -> Result<(KeyId, R), AccessError> {
        let (id, _) = self.find(key, AccessMode::Write)?;
        let block = self.block.as_ref().expect("find succeeds in a block only");
        // SAFETY: held for writing; by the contract of `enter` nobody else uses the cell. The id
        // came from this block.
        Ok((id, unsafe { block.cells().cells.write(id, change) }))
    }
}

/// Where the keys of one account stand in a sorted set.
#[inline]
fn range_of(entries: &[AccessEntry], address: Address) -> Range<usize> {
    let start = entries.partition_point(|entry| entry.key.address < address);
    let keys = entries[start..]
        .iter()
        .position(|entry| entry.key.address != address)
        .unwrap_or(entries.len() - start);
    start..start + keys
}

/// Where a part stands among the keys of one account.
#[inline]
fn position_in(entries: &[AccessEntry], part: &KeyPart) -> Option<usize> {
    match part {
        KeyPart::Slot(_) => entries
            .binary_search_by(|entry| entry.key.part.cmp(part))
            .ok(),
        // At most two keys stand before the slots.
        _ => entries
            .iter()
            .take(2)
            .position(|entry| entry.key.part == *part),
    }
}

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
        let rules = self.block.as_ref().map(|block| block.cells().rules);
        self.read(&StateKey::account(address), |cell| {
            cell.account().current(rules.expect("a cell is of a block"))
        })
    }

    #[inline]
    fn code(&mut self, address: Address) -> Result<CodeRef, AccessError> {
        self.read(&StateKey::code(address), |cell| cell.code().code.clone())
    }

    #[inline]
    fn slot(&mut self, address: Address, slot: U256) -> Result<U256, AccessError> {
        let incarnation = self.incarnation(address)?;
        self.read(&StateKey::slot(address, slot), |cell| {
            cell.slot().current(incarnation)
        })
    }

    fn has_storage(&mut self, address: Address) -> Result<bool, AccessError> {
        let wiped = self.incarnation(address)? > 0;
        let block = self.block.as_ref().expect("a key was found in a block");
        Ok(!wiped && block.cells().view().has_storage(address)?)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, AccessError> {
        let known = match &self.block {
            Some(block) => block.cells().view().block_hash(number)?,
            None => None,
        };
        Ok(known.ok_or(StateError::MissingBlockHash { number })?)
    }

    fn may_credit(&mut self, address: Address, amount: U256) -> bool {
        match self.find(&StateKey::account(address), AccessMode::Credit) {
            Ok((id, AccessMode::Credit)) => self.is_credit_safe_on(id, amount),
            _ => false,
        }
    }

    fn apply(&mut self, writes: &WriteSet) -> Result<(), AccessError> {
        self.check(writes)?;
        for (address, value) in &writes.accounts {
            let key = StateKey::account(*address);
            let (id, (value, credits)) =
                self.change(&key, |cell| cell.account_mut().replace(*value))?;
            self.note(|| Undo::Account(id, value, credits));
        }
        for (address, code) in &writes.codes {
            let key = StateKey::code(*address);
            let (id, before) = self.change(&key, |cell| {
                std::mem::replace(&mut cell.code_mut().code, code.clone())
            })?;
            self.note_recoded(*address);
            self.note(|| Undo::Code(id, before));
        }
        for address in &writes.wipes {
            let key = StateKey::code(*address);
            let (id, ()) = self.change(&key, |cell| cell.code_mut().incarnation += 1)?;
            self.note_recoded(*address);
            self.note(|| Undo::Wipe(id));
        }
        for (address, slot, value) in &writes.slots {
            let now = self.incarnation(*address)?;
            let key = StateKey::slot(*address, *slot);
            let (id, (value, incarnation)) = self.change(&key, |cell| {
                let cell = cell.slot_mut();
                (
                    std::mem::replace(&mut cell.value, *value),
                    std::mem::replace(&mut cell.incarnation, now),
                )
            })?;
            self.note(|| Undo::Slot(id, value, incarnation));
        }
        for credit in &writes.credits {
            let (id, _) = self.find(&StateKey::account(credit.address), AccessMode::Credit)?;
            let block = self.block.as_ref().expect("find succeeds in a block only");
            // SAFETY: held for credit or for writing: others may add to the atomics, nobody writes.
            unsafe {
                let add = |cell: &StateCell| cell.account().credits.add(credit.amount);
                block.cells().cells.read(id, add);
            }
            self.note(|| Undo::Credit(id, credit.amount));
        }
        Ok(())
    }
}

impl<T> Default for GrantedState<T> {
    fn default() -> Self {
        Self {
            block: None,
            task: None,
            recent: (Address::ZERO, 0..0),
            undo: None,
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
