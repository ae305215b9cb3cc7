//! The open block: its transactions in block order, their cells and their outcomes.

use super::{outcomes::Outcomes, state_cells::StateCells};
use crate::{
    cells::KeyCells,
    keys::{KeyTable, Numbering, RecentKeys},
    model::{
        AccessMode, AccessSet, Declaration, DenseId, KeyAccess, KeyId, Outcome, Sanitized,
        StateError, StateKey, StateRules, StateView, TaskId,
    },
    sequential::SequentialState,
    speculation::{Inferred, SpeculativeTransaction, UndoRecord},
};
use ahash::AHashMap;
use parking_lot::Mutex;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

/// A block while its transactions run.
///
/// The order of the transactions is the block order: whatever the threads do, the block ends as if
/// they had run one after another in it.
///
/// Before it runs, its keys are numbered: earlier, by a caller that knew the sets
/// ([`with_table`](Self::with_table)), or now ([`number`](Self::number), or a
/// [`Numbering`] on many threads).
#[derive(derive_more::Debug)]
#[debug("OpenBlock {{ transactions: {}, cells: {cells:?} }}", self.transactions.len())]
pub struct OpenBlock<T> {
    pub(super) cells: StateCells,
    pub(super) transactions: Arc<Vec<Sanitized<T>>>,
    /// By transaction: whether the cells that it introduces are filled. Empty before the keys are numbered.
    pub(super) introduced: Vec<AtomicU8>,
    /// Sets that replace the numbered ones, by transaction.
    pub(super) replaced: AHashMap<TaskId, ReplacedSet>,
    pub(crate) outcomes: Outcomes,
    /// For blocks whose sets are inferred; else empty. There may be more than transactions, left by longer
    /// blocks: moving them would take longer than many blocks do.
    pub(super) speculative: Vec<SpeculativeTransaction>,
    pub(super) keeps_touched: bool,
    pub(super) late_grants: LateGrants,
}

#[derive(Debug)]
pub(super) struct ReplacedSet {
    access: AccessSet,
    /// In the order of the set; `None` for the whole state.
    keys: Option<Box<[KeyAccess]>>,
}

impl<T> OpenBlock<T> {
    /// Opens a block of these transactions, in this order, on the state before it.
    pub fn new(
        view: Arc<dyn StateView>,
        rules: StateRules,
        transactions: Vec<Sanitized<T>>,
    ) -> Self {
        Self::with_cells(StateCells::new(view, rules), transactions)
    }

    /// Opens a block on cells that are new or were [reset](StateCells::reset).
    pub fn with_cells(mut cells: StateCells, transactions: Vec<Sanitized<T>>) -> Self {
        let memory = std::mem::take(&mut cells.spare.outcomes);
        Self {
            cells,
            introduced: Vec::new(),
            replaced: AHashMap::new(),
            outcomes: Outcomes::with_memory(memory, transactions.len()),
            speculative: Vec::new(),
            keeps_touched: false,
            late_grants: LateGrants::default(),
            transactions: Arc::new(transactions),
        }
    }

    /// Opens a block whose keys were numbered before, on cells that are new or were
    /// [reset](StateCells::reset).
    ///
    /// # Panics
    ///
    /// If `table` is not that of the transactions' sets (in builds without debug assertions: if it
    /// has another number of sets).
    pub fn with_table(
        cells: StateCells,
        transactions: Vec<Sanitized<T>>,
        table: Arc<KeyTable>,
    ) -> Self {
        let mut block = Self::with_cells(cells, transactions);
        block.set_table(table);
        block
    }

    /// Opens a block whose transactions came with a first guess of their access sets: what they touch is
    /// [inferred](crate::SimulatedState::conclude), and their effects can be taken back.
    pub fn to_infer(mut cells: StateCells, transactions: Vec<Sanitized<T>>) -> Self {
        let mut speculative = std::mem::take(&mut cells.spare.speculative);
        if speculative.len() < transactions.len() {
            speculative.resize_with(transactions.len(), SpeculativeTransaction::default);
        }
        Self {
            speculative,
            ..Self::with_cells(cells, transactions)
        }
    }

    /// Keeps what every transaction of a block [to be inferred](Self::to_infer) touches, whether its set was
    /// needed or not.
    #[must_use]
    pub const fn keep_touched(mut self) -> Self {
        self.keeps_touched = true;
        self
    }

    /// Whether the block [keeps](Self::keep_touched) what transactions touched.
    pub const fn keeps_touched(&self) -> bool {
        self.keeps_touched
    }

    /// Whether the keys have their numbers.
    pub const fn is_numbered(&self) -> bool {
        self.cells.keys.table().is_some()
    }

    /// Numbers the keys, on this thread; see [`Numbering`] for more of them.
    pub fn number(&mut self) {
        if !self.is_numbered() {
            let memory = self.cells.spare.table.take();
            let tasks = (0..self.transactions.len()).map(TaskId::from_index);
            let table = KeyTable::number_in(memory, tasks.map(|task| self.access(task)));
            self.set_table(Arc::new(table));
        }
    }

    /// Begins to number the keys, in the memory of an earlier block's numbers.
    pub fn begin_numbering(&mut self) -> Numbering {
        Numbering::new(self.transactions.len(), self.cells.spare.table.take())
    }

    /// Takes the numbers of the keys.
    ///
    /// # Panics
    ///
    /// If the block has them already, or `table` is not that of its sets (in builds without debug
    /// assertions: if it has another number of sets).
    pub fn set_table(&mut self, table: Arc<KeyTable>) {
        let tasks = self.transactions.len();
        assert!(!self.is_numbered(), "the keys were numbered before");
        assert_eq!(table.sets(), tasks, "the table is of other sets");
        debug_assert!(
            table.is_of((0..tasks).map(|task| self.access(TaskId::from_index(task)))),
            "the table is of other sets than the transactions'"
        );
        self.introduced.resize_with(tasks, AtomicU8::default);
        self.cells.keys.set_table(table);
    }

    /// The block's cells.
    pub const fn cells(&self) -> &StateCells {
        &self.cells
    }

    #[inline]
    pub(crate) const fn key_cells(&self) -> &KeyCells {
        &self.cells.keys
    }

    pub(crate) const fn cells_mut(&mut self) -> &mut StateCells {
        &mut self.cells
    }

    /// Forgets what transactions have done and what they touched, as if none had run.
    pub fn restart(&mut self) {
        let (view, rules) = (Arc::clone(self.cells.view()), self.cells.keys.rules);
        let table = self.cells.keys.table().cloned();
        self.cells.reset(view, rules);
        self.introduced.clear();
        if let Some(table) = table {
            self.set_table(table);
        }
        self.replaced.clear();
        self.outcomes.clear();
        let used = self.speculative.iter_mut().take(self.transactions.len());
        used.for_each(SpeculativeTransaction::clear);
    }

    /// The transactions in block order.
    pub fn transactions(&self) -> &[Sanitized<T>] {
        &self.transactions
    }

    /// The same, shared, for use while another thread owns the block.
    pub fn shared_transactions(&self) -> Arc<Vec<Sanitized<T>>> {
        Arc::clone(&self.transactions)
    }

    /// The access set a transaction holds: the one it came with, unless another was inferred.
    #[inline]
    pub fn access(&self, task: TaskId) -> &AccessSet {
        if let Some(replaced) = self.replaced(task) {
            return &replaced.access;
        }
        match self.inferred(task) {
            Some(inferred) => &inferred.access,
            None => &self.transactions[task.index()].access,
        }
    }

    #[inline]
    fn replaced(&self, task: TaskId) -> Option<&ReplacedSet> {
        if self.replaced.is_empty() {
            return None;
        }
        self.replaced.get(&task)
    }

    /// The transactions whose sets were replaced, in no order.
    pub(crate) fn replaced_tasks(&self) -> impl Iterator<Item = TaskId> {
        self.replaced.keys().copied()
    }

    /// The keys that a transaction's set names, whether their cells are filled or not; `None` for
    /// everything.
    #[inline]
    pub(crate) fn keys_of(&self, task: TaskId) -> Option<&[KeyAccess]> {
        if let Some(replaced) = self.replaced(task) {
            return replaced.keys.as_deref();
        }
        let table = self.cells.keys.table()?;
        (*self.access(task) != AccessSet::Everything).then(|| table.accesses(task))
    }

    #[inline]
    pub(crate) fn inferred(&self, task: TaskId) -> Option<&Inferred> {
        self.speculative(task)?.inferred()
    }

    /// Tells the state before the block which keys the [resolving](Self::resolve) of these
    /// transactions will ask it for, except those that [may keep their effects
    /// private](Self::may_keep_private).
    pub fn prefetch(&self, mut tasks: Range<usize>) {
        let speculative = self.speculative.get(tasks.clone()).unwrap_or_default();
        speculative
            .iter()
            .for_each(SpeculativeTransaction::bring_near);
        let Some(table) = self.cells.keys.table() else {
            return;
        };
        let end = tasks.end;
        let may_keep_private = |task: &usize| self.may_keep_private(TaskId::from_index(*task));
        while let Some(first) = tasks.find(|task| !may_keep_private(task)) {
            let last = tasks.find(may_keep_private).unwrap_or(end);
            for keys in table.introduced_by(first..last) {
                self.cells.view().prefetch(keys);
            }
        }
    }

    /// Whether what a transaction touches is to be inferred; the set it came with is a first guess.
    pub fn is_inferred(&self, task: TaskId) -> bool {
        let declaration = self.transactions[task.index()].declaration;
        !self.speculative.is_empty()
            && matches!(declaration, Declaration::Inferred | Declaration::Listed)
    }

    /// Whether a transaction's keys have their dense ids, and the cells it introduces are filled or not needed.
    pub fn is_resolved(&self, task: TaskId) -> bool {
        let state = self.introduced.get(task.index());
        state.is_some_and(|state| matches!(state.load(Ordering::Acquire), FILLED | PRIVATE))
    }

    /// The dense ids of a transaction's keys, in the order of its set: `None` before
    /// [`resolve`](Self::resolve), and where it holds the whole state.
    #[inline]
    pub fn resolved(&self, task: TaskId) -> Option<&[KeyAccess]> {
        if self.is_resolved(task) {
            self.keys_of(task)
        } else {
            None
        }
    }

    /// The dense ids of the transaction's keys that others use in incompatible modes. The same as
    /// [`resolved`](Self::resolved) if not all uses are known.
    #[inline]
    pub fn contended(&self, task: TaskId) -> Option<&[KeyAccess]> {
        match self.cells.keys.complete_table() {
            Some(table) => Some(table.contended(task)),
            None => self.resolved(task),
        }
    }

    /// Whether a transaction may run at once, whatever else is running. It was [resolved](Self::resolve), or
    /// [may keep its effects private](Self::may_keep_private). It conflicts with no other transaction of the
    /// block, and all its cells are filled; for private effects, those that others introduce.
    #[inline]
    pub fn is_free(&self, task: TaskId) -> bool {
        let Some(table) = self.cells.keys.complete_table() else {
            return false;
        };
        let mut keys = table.accesses(task).iter().map(|access| access.key);
        if self.may_keep_private(task) {
            let (first, _) = table.introduces(task);
            return keys.all(|key| key >= first || self.cells.keys.arena.is_filled(key));
        }
        table.contended(task).is_empty() && keys.all(|key| self.cells.keys.arena.is_filled(key))
    }

    /// Whether a transaction is known to conflict with no other of the block.
    #[inline]
    pub(crate) fn has_no_conflict(&self, task: TaskId) -> bool {
        let table = self.cells.keys.complete_table();
        table.is_some_and(|table| table.contended(task).is_empty())
    }

    /// What is known of a transaction whose set is inferred.
    #[inline]
    pub(crate) fn speculative(&self, task: TaskId) -> Option<&SpeculativeTransaction> {
        self.speculative.get(task.index())
    }

    #[inline]
    pub(crate) fn speculative_mut(&mut self, task: TaskId) -> Option<&mut SpeculativeTransaction> {
        self.speculative.get_mut(task.index())
    }

    /// Whether a transaction has its outcome.
    pub fn is_finished(&self, task: TaskId) -> bool {
        self.outcomes.is_set(task)
    }

    /// Gives a transaction another set: everything, as it is about to run alone, or exactly what it touched
    /// when it ran alone. Its simulation is discarded, and the block no longer knows which keys are without
    /// conflict.
    pub fn replace_set(&mut self, task: TaskId, access: AccessSet) -> Result<(), StateError> {
        self.put_set(task, access)?;
        self.speculative[task.index()].restart();
        Ok(())
    }

    /// Makes the inferred set of a transaction its set, after the keys were numbered without it. Its
    /// simulation may still be taken.
    pub fn number_deferred(&mut self, task: TaskId) -> Result<(), StateError> {
        match self.inferred(task) {
            Some(inferred) => self.put_set(task, inferred.access.clone()),
            None => Ok(()),
        }
    }

    fn put_set(&mut self, task: TaskId, access: AccessSet) -> Result<(), StateError> {
        if let Some(table) = self.cells.keys.table() {
            // Other transactions rely on it for the keys that they share.
            self.introduce(table, task)?;
        }
        let mut recent = RecentKeys::default();
        let keys = match &access {
            AccessSet::Everything => None,
            AccessSet::Keys(entries) => {
                let ids = entries.iter().map(|entry| {
                    let mode = entry.mode;
                    let key = self.intern(&mut recent, &entry.key)?;
                    Ok(KeyAccess { key, mode })
                });
                Some(ids.collect::<Result<_, StateError>>()?)
            }
        };
        self.cells.keys.widen();
        self.replaced.insert(task, ReplacedSet { access, keys });
        Ok(())
    }

    /// Forgets a transaction's outcome and hands out the record by which its effects are taken back.
    pub fn reopen(&mut self, task: TaskId) -> UndoRecord {
        drop(self.outcomes.take(task));
        self.leave_private(task);
        self.speculative[task.index()].reopen()
    }

    /// Notes the outcome of a transaction.
    ///
    /// # Panics
    ///
    /// If it was noted before: a transaction runs to its outcome once.
    pub fn finish(&self, task: TaskId, outcome: Outcome) {
        let first = self.outcomes.set(task, outcome);
        assert!(first, "transaction {task} was finished twice");
    }

    /// Hands out the state on which all transactions run sequentially, through one grant view
    /// ([`GrantedState::sequential`](crate::GrantedState::sequential)). Nothing has changed on it yet. `None`
    /// if there are cells or transactions have run, as the state would not be complete.
    pub fn begin_sequential(&mut self) -> Option<Box<SequentialState>> {
        let mut tasks = (0..self.transactions.len()).map(TaskId::from_index);
        let is_new = self.cells.keys.arena.is_empty() && !tasks.any(|task| self.is_finished(task));
        is_new.then(|| std::mem::take(&mut self.cells.sequential))
    }

    /// Takes the state back after the transactions have run sequentially.
    pub fn end_sequential(&mut self, state: Box<SequentialState>) {
        self.cells.sequential = state;
    }
}

/// The cells that a transaction introduces are not filled.
pub(super) const EMPTY: u8 = 0;
/// A thread is filling them.
pub(super) const FILLING: u8 = 1;
/// They are filled.
pub(super) const FILLED: u8 = 2;
/// They are not filled, and the transaction has run with private effects.
pub(super) const PRIVATE: u8 = 3;

/// The right to fill a transaction's cells. A fill that fails or panics may be tried again.
pub(super) struct Introducing<'a> {
    pub(super) state: &'a AtomicU8,
    pub(super) after: u8,
}

impl Drop for Introducing<'_> {
    fn drop(&mut self) {
        self.state.store(self.after, Ordering::Release);
    }
}

#[derive(Debug, Default)]
pub(crate) struct LateGrants {
    pub(super) listed: Mutex<Listed>,
    /// How many are listed. Most blocks have none, and then no transaction takes the lock.
    pub(super) count: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) holders: AHashMap<KeyId, Vec<Holder>>,
    pub(super) looks: usize,
}

/// A transaction that got a key.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) task: TaskId,
    pub(super) key: StateKey,
    pub(super) mode: AccessMode,
    pub(super) is_running: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Inference, MemoryState, SimulatedState,
        test_support::{FailingState, RULES, sanitized, undeclared},
    };
    use alloy_primitives::{Address, U256};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A block has the speculative transactions of longer ones in front of it, and leaves them as clean as its own.
    #[test]
    fn drafts_of_a_longer_block_are_kept_and_clean() {
        let view: Arc<dyn StateView> = Arc::new(MemoryState::new());
        let mut cells = StateCells::new(Arc::clone(&view), RULES);
        for length in [5, 2, 1, 4, 7, 3] {
            let mut block = OpenBlock::to_infer(cells, undeclared(length));
            let mut simulated = SimulatedState::new(Arc::clone(&view));
            for task in (0..length).map(TaskId::from_index) {
                assert!(block.inferred(task).is_none(), "nobody has looked yet");
                let key = StateKey::account(Address::repeat_byte(1));
                simulated.expect(key, AccessMode::Credit);
                simulated.conclude(&block, task, Inference::Known, 1);
                assert!(block.speculative(task).unwrap().begin().is_none());
            }
            block.number();
            for task in (0..length).map(TaskId::from_index) {
                assert_eq!(block.access(task).entries().len(), 1);
                block.resolve(task).unwrap();
                block.finish(task, Outcome::system());
            }
            let (_, spent) = block.into_executed().unwrap().seal().unwrap();
            cells = spent.into_cells();
            cells.reset(Arc::clone(&view), RULES);
            let begun = cells
                .spare
                .speculative
                .iter()
                .filter(|speculative| speculative.has_begun());
            assert_eq!(begun.count(), 0);
        }
        assert_eq!(cells.spare.speculative.len(), 7);
    }

    #[test]
    fn cells_that_could_not_be_filled_are_filled_when_asked_for_again() {
        let access = AccessSet::build(|set| {
            set.read_slot(Address::ZERO, U256::from(5));
        });
        let transactions = vec![sanitized(access.unwrap(), Declaration::Recorded)];
        let reads = AtomicUsize::new(0);
        // The first read panics, the second fails, and all others are well.
        let view = FailingState {
            account: |_| Ok(()),
            slot: move |slot| match reads.fetch_add(1, Ordering::Relaxed) {
                0 => panic!("as a test"),
                1 => Err(StateError::MissingBlockHash { number: 0 }),
                _ => Ok(slot),
            },
        };
        let mut block = OpenBlock::new(Arc::new(view), RULES, transactions);
        block.number();
        let resolve = || block.resolve(TaskId::FIRST);
        assert!(catch_unwind(AssertUnwindSafe(resolve)).is_err());
        assert!(resolve().is_err());
        assert!(!block.is_resolved(TaskId::FIRST));
        assert!(resolve().is_ok());
        assert!(block.is_free(TaskId::FIRST));
    }
}
