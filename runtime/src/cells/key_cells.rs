//! The cells of a block's keys, over the state before the block.

use super::{
    arena::Cells,
    cell::{LastAccount, Origin, StateCell},
};
use crate::{
    keys::{Interner, KeyTable, RecentKeys},
    model::{CodeRef, DenseId, KeyId, StateError, StateKey, StateRules, StateView, TaskId},
};
use alloy_primitives::Address;
use parking_lot::Mutex;
use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

pub(crate) struct KeyCells {
    view: Arc<dyn StateView>,
    pub(crate) rules: StateRules,
    pub(crate) interner: Interner<StateKey>,
    /// The keys that sets name, once they are numbered; the interner has the others.
    table: Option<Arc<KeyTable>>,
    /// Whether transactions may use keys in ways that are not in the table.
    widened: bool,
    pub(crate) arena: Cells<StateCell, Origin>,
    /// Accounts whose code changed or whose storage was cleared, with the cells of their codes.
    recoded: Mutex<Vec<(Address, KeyId)>>,
    /// Whether there are such.
    is_recoded: AtomicBool,
}

impl KeyCells {
    pub(crate) fn new(view: Arc<dyn StateView>, rules: StateRules) -> Self {
        Self {
            view,
            rules,
            interner: Interner::new(),
            table: None,
            widened: false,
            arena: Cells::new(),
            recoded: Mutex::default(),
            is_recoded: AtomicBool::new(false),
        }
    }

    /// Replaces the state before the block and keeps the cells.
    pub(crate) fn set_view(&mut self, view: Arc<dyn StateView>) {
        self.view = view;
    }

    /// Drops the cells, for another block, and keeps the memory. Returns the table that the keys were numbered with.
    pub(crate) fn reset(
        &mut self,
        view: Arc<dyn StateView>,
        rules: StateRules,
    ) -> Option<Arc<KeyTable>> {
        self.view = view;
        self.rules = rules;
        self.interner.clear();
        self.widened = false;
        self.arena.clear();
        self.recoded.get_mut().clear();
        *self.is_recoded.get_mut() = false;
        self.table.take()
    }

    pub(crate) const fn view(&self) -> &Arc<dyn StateView> {
        &self.view
    }

    /// Takes the numbers of a block's keys from now on. There are no cells yet.
    pub(crate) fn set_table(&mut self, table: Arc<KeyTable>) {
        self.arena.reserve(table.len());
        self.widened = table.has_everything();
        self.table = Some(table);
    }

    pub(crate) const fn table(&self) -> Option<&Arc<KeyTable>> {
        self.table.as_ref()
    }

    /// The same, if it has all keys that transactions touch.
    #[inline]
    pub(crate) fn complete_table(&self) -> Option<&KeyTable> {
        let table = self.table.as_deref();
        table.filter(|_| !self.widened)
    }

    /// From now on the table may lack keys that transactions touch.
    pub(crate) const fn widen(&mut self) {
        self.widened = true;
    }

    /// Fills the cells of the keys that a task introduces, as far as they are not filled.
    ///
    /// # Safety
    ///
    /// Called for a task of the [table](Self::set_table), by one thread at a time, which has seen what
    /// earlier calls for the task did.
    #[allow(unsafe_code)]
    pub(crate) unsafe fn introduce(
        &self,
        table: &KeyTable,
        task: TaskId,
    ) -> Result<(), StateError> {
        let mut accounts = LastAccount::default();
        let (first, keys) = table.introduces(task);
        for (index, key) in (first.index()..).zip(keys) {
            let id = KeyId::from_index(index);
            // It is if an earlier call failed half-way.
            if self.arena.is_filled(id) {
                continue;
            }
            let origin = Origin::load(&*self.view, key, &mut accounts)?;
            let cell = origin.cell();
            // SAFETY: room was made for all keys of the table; one task introduces a key, this is the
            // one call for it just now, and none before has filled the cell.
            unsafe { self.arena.fill(id, origin, cell) };
        }
        Ok(())
    }

    /// Whether many transactions credit a key, and it is known that none does anything else with it.
    #[inline]
    pub(crate) fn is_popular_credit(&self, key: KeyId) -> bool {
        let table = self.complete_table();
        table.is_some_and(|table| table.is_popular_credit(key))
    }

    /// The dense id of a key. If the key is new, its cell is made, with the value that `changed` gives or else the value before
    /// the block.
    pub(crate) fn intern(
        &self,
        recent: &mut RecentKeys<StateKey>,
        key: &StateKey,
        changed: impl FnOnce() -> Option<StateCell>,
    ) -> Result<KeyId, StateError> {
        (self.interner).intern_cached(recent, key, || self.push(key, changed))
    }

    /// Makes the cell of a key that is new to the interner.
    fn push(
        &self,
        key: &StateKey,
        changed: impl FnOnce() -> Option<StateCell>,
    ) -> Result<KeyId, StateError> {
        let origin = Origin::load(&*self.view, key, &mut LastAccount::default())?;
        let cell = changed().unwrap_or_else(|| origin.cell());
        Ok(self.arena.push_from(origin, cell))
    }

    /// Notes that an account's code changed or its storage was cleared.
    ///
    /// Such accounts are few; sealing looks at them before everything else.
    pub(crate) fn note_recoded(&self, address: Address, code: KeyId) {
        self.recoded.lock().push((address, code));
        self.is_recoded.store(true, Ordering::Relaxed);
    }

    /// Whether an account's code may have changed or its storage may have been cleared, by a transaction that
    /// held something that the caller holds now.
    #[inline]
    pub(crate) fn is_recoded(&self) -> bool {
        self.is_recoded.load(Ordering::Relaxed)
    }

    /// Calls `each` for the accounts whose code changed or whose storage was cleared, some of them twice: with the code before
    /// the block, the code now, and how often the storage was cleared.
    pub(crate) fn for_each_recoded(
        &mut self,
        mut each: impl FnMut(Address, &CodeRef, &CodeRef, u32),
    ) {
        for (address, id) in mem::take(self.recoded.get_mut()) {
            let (before, cell) = self.arena.parts_mut(id);
            let cell = cell.code_mut();
            each(address, before.code(), &cell.code, cell.generation);
        }
    }
}
