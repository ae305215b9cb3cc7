//! The open block: transactions in order, their cells, and what became of them.

use crate::{
    access::{AccessSet, KeyAccess},
    delta::{DeltaPart, StateDelta},
    id::{DenseId, TaskId},
    interner::{RecentKeys, SHARDS},
    key::StateKey,
    key_table::KeyTable,
    outcome::{GasOverflow, Outcome, Receipt, receipts},
    outcomes::Outcomes,
    simulation::{InferredSet, Simulation},
    state::{StateError, StateView},
    state_cells::{SettledCells, StateCells, StateRules},
    transaction::{Declaration, Sanitized},
    undo::UndoRecord,
};
use parking_lot::Mutex;
use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// A block while its transactions run.
///
/// The order of the transactions is the block order: whatever the threads do, the block ends as if
/// they had run one after another in it.
pub struct OpenBlock<T> {
    cells: StateCells,
    transactions: Vec<Sanitized<T>>,
    sets: Vec<OnceLock<HeldSet>>,
    /// For blocks whose keys were numbered: whose preparation has begun, and whose is over; else
    /// empty.
    introduced: Vec<[AtomicBool; 2]>,
    outcomes: Outcomes,
    /// For blocks whose sets are inferred; else empty.
    drafts: Vec<Draft>,
}

/// What a transaction holds: its access set with the keys' dense ids.
#[derive(Debug)]
pub(crate) struct HeldSet {
    /// Where it is not the one the transaction came with.
    own: Option<AccessSet>,
    /// In the order of the set; `None` for the whole state.
    keys: Option<Box<[KeyAccess]>>,
    /// What the transaction was seen to use, in gas; zero where nobody looked.
    gas: u64,
}

/// What is kept of a transaction that may have to be taken back.
#[derive(Debug, Default)]
struct Draft {
    simulation: Mutex<Option<Box<Simulation>>>,
    undo: OnceLock<UndoRecord>,
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
            sets: transactions.iter().map(|_| OnceLock::new()).collect(),
            introduced: Vec::new(),
            outcomes: Outcomes::with_memory(memory, transactions.len()),
            drafts: Vec::new(),
            transactions,
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
        mut cells: StateCells,
        transactions: Vec<Sanitized<T>>,
        table: Arc<KeyTable>,
    ) -> Self {
        assert_eq!(
            table.sets(),
            transactions.len(),
            "the table is of other sets"
        );
        let mut sets = transactions.iter().map(|transaction| &transaction.access);
        debug_assert!(
            table.is_of(sets.by_ref()),
            "the table is of other sets than the transactions'"
        );
        cells.set_table(table);
        let memory = std::mem::take(&mut cells.spare.outcomes);
        Self {
            cells,
            sets: Vec::new(),
            introduced: transactions.iter().map(|_| Default::default()).collect(),
            outcomes: Outcomes::with_memory(memory, transactions.len()),
            drafts: Vec::new(),
            transactions,
        }
    }

    /// Opens a block whose transactions came with no more than a first idea of their access sets:
    /// what they touch is [inferred](crate::SimulatedState::conclude), and what they did can be taken back.
    pub fn to_infer(cells: StateCells, transactions: Vec<Sanitized<T>>) -> Self {
        let drafts = transactions.iter().map(|_| Draft::default()).collect();
        Self {
            drafts,
            ..Self::with_cells(cells, transactions)
        }
    }

    /// The block's cells.
    pub const fn cells(&self) -> &StateCells {
        &self.cells
    }

    /// The transactions in block order.
    pub fn transactions(&self) -> &[Sanitized<T>] {
        &self.transactions
    }

    /// The access set a transaction holds: the one it came with, unless another was inferred.
    #[inline]
    pub fn access(&self, task: TaskId) -> &AccessSet {
        let own = self.held(task).and_then(|set| set.own.as_ref());
        own.unwrap_or(&self.transactions[task.index()].access)
    }

    #[inline]
    fn held(&self, task: TaskId) -> Option<&HeldSet> {
        // There are none in a block whose keys were numbered.
        self.sets.get(task.index())?.get()
    }

    /// Gives the keys of a transaction's access set their dense ids and their cells. Idempotent, from
    /// any thread, but not from several at a time for one transaction.
    ///
    /// `recent` belongs to the calling thread and to this block.
    ///
    /// # Panics
    ///
    /// If it is called for a transaction while another call for it is under way, or after one that
    /// failed, in a block whose keys were numbered.
    pub fn resolve(
        &self,
        recent: &mut RecentKeys<StateKey>,
        task: TaskId,
    ) -> Result<(), StateError> {
        if let Some(table) = self.cells.table() {
            return self.introduce(table, task);
        }
        let set = &self.sets[task.index()];
        if set.get().is_none() {
            let keys = self.cells.resolve(recent, self.access(task))?;
            // Lost races hold the same ids.
            let _ = set.set(HeldSet {
                own: None,
                keys,
                gas: 0,
            });
        }
        Ok(())
    }

    /// Tells the state before the block which keys the [resolving](Self::resolve) of these
    /// transactions will ask it for, if that is known.
    pub fn prefetch(&self, tasks: Range<usize>) {
        if let (Some(table), false) = (self.cells.table(), tasks.is_empty()) {
            let first = table.introduces(TaskId::from_index(tasks.start)).start;
            let end = table.introduces(TaskId::from_index(tasks.end - 1)).end;
            self.cells.view().prefetch(&table.keys()[first..end]);
        }
    }

    #[allow(unsafe_code)]
    fn introduce(&self, table: &KeyTable, task: TaskId) -> Result<(), StateError> {
        let [begun, over] = &self.introduced[task.index()];
        if over.load(Ordering::Acquire) {
            return Ok(());
        }
        let first = !begun.swap(true, Ordering::Relaxed);
        assert!(
            first,
            "transaction {task} is being resolved, or could not be"
        );
        // SAFETY: the swap lets one call through for each task.
        unsafe { self.cells.introduce(table, task) }?;
        over.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether what a transaction touches is to be inferred; the set it came with is a first idea.
    pub fn is_inferred(&self, task: TaskId) -> bool {
        let declaration = self.transactions[task.index()].declaration;
        !self.drafts.is_empty()
            && matches!(declaration, Declaration::Inferred | Declaration::Listed)
    }

    /// Whether a transaction's set has its dense ids.
    pub fn is_resolved(&self, task: TaskId) -> bool {
        match self.introduced.get(task.index()) {
            Some([_, over]) => over.load(Ordering::Acquire),
            None => self.held(task).is_some(),
        }
    }

    /// The dense ids of a transaction's keys, in the order of its set: `None` before
    /// [`resolve`](Self::resolve), and where it holds the whole state.
    #[inline]
    pub fn resolved(&self, task: TaskId) -> Option<&[KeyAccess]> {
        if let Some(table) = self.cells.table() {
            return self.is_resolved(task).then(|| table.accesses(task));
        }
        self.held(task)?.keys.as_deref()
    }

    /// The dense ids of those of a transaction's keys that others use too, in a way that does not go
    /// together with its own; as [`resolved`](Self::resolved), where that is not known beforehand.
    #[inline]
    pub fn contended(&self, task: TaskId) -> Option<&[KeyAccess]> {
        match self.cells.table() {
            Some(table) => Some(table.contended(task)),
            None => self.resolved(task),
        }
    }

    /// Whether a transaction that was [resolved](Self::resolve) may run at once, whatever else is
    /// running: it is known to conflict with no other of the block, and all its cells are filled.
    #[inline]
    pub fn is_free(&self, task: TaskId) -> bool {
        self.cells.table().is_some_and(|table| {
            table.contended(task).is_empty() && self.cells.are_filled(table.accesses(task))
        })
    }

    /// What a transaction was seen to use when its set was inferred, in gas.
    #[inline]
    pub fn gas_seen(&self, task: TaskId) -> Option<u64> {
        let gas = self.held(task)?.gas;
        (gas > 0).then_some(gas)
    }

    /// Takes what inference found of a transaction on this block's cells. From any thread, once.
    pub(crate) fn set_inferred(&self, task: TaskId, found: InferredSet) {
        let first = self.sets[task.index()].set(HeldSet {
            own: Some(found.access),
            keys: found.keys,
            gas: found.gas,
        });
        debug_assert!(first.is_ok(), "transaction {task} was inferred twice");
        if let Some(draft) = self.drafts.get(task.index()) {
            *draft.simulation.lock() = found.simulation;
        }
    }

    /// Takes the simulation of a transaction, if it has one that was not taken yet.
    pub(crate) fn take_simulation(&self, task: TaskId) -> Option<Box<Simulation>> {
        self.drafts.get(task.index())?.simulation.lock().take()
    }

    /// Keeps what is needed to take a transaction back.
    pub fn keep_undo(&self, task: TaskId, record: UndoRecord) {
        let kept = self.drafts[task.index()].undo.set(record);
        debug_assert!(kept.is_ok(), "transaction {task} has an undo record");
    }

    /// Whether a transaction has its outcome.
    pub fn is_finished(&self, task: TaskId) -> bool {
        self.outcomes.is_set(task)
    }

    /// Gives a transaction another set: everything, as it is about to run alone, or exactly what it
    /// touched when it ran alone. Its simulation is of no use any more.
    pub fn replace_set(&mut self, task: TaskId, access: AccessSet) -> Result<(), StateError> {
        let gas = self.gas_seen(task).unwrap_or(0);
        let keys = match &access {
            AccessSet::Everything => None,
            AccessSet::Keys(entries) => {
                let ids = entries.iter().map(|entry| {
                    let mode = entry.mode;
                    let key = self.cells.intern(&entry.key)?;
                    Ok(KeyAccess { key, mode })
                });
                Some(ids.collect::<Result<_, StateError>>()?)
            }
        };
        self.sets[task.index()] = OnceLock::from(HeldSet {
            own: Some(access),
            keys,
            gas,
        });
        self.drafts[task.index()].simulation.get_mut().take();
        Ok(())
    }

    /// Forgets a transaction's outcome and hands out the record by which its effects are taken back.
    pub fn reopen(&mut self, task: TaskId) -> UndoRecord {
        drop(self.outcomes.take(task));
        let draft = &mut self.drafts[task.index()];
        draft.simulation.get_mut().take();
        draft.undo.take().unwrap_or_default()
    }

    /// Notes what became of a transaction.
    ///
    /// # Panics
    ///
    /// If it was noted before: a transaction runs to its outcome once.
    pub fn finish(&self, task: TaskId, outcome: Outcome) {
        let first = self.outcomes.set(task, outcome);
        assert!(first, "transaction {task} was finished twice");
    }

    /// Seals the block on this thread: outcomes in block order, credits folded in, changes gathered.
    pub fn seal(self) -> Result<SealedBlock, SealError> {
        let settled = self.settle()?;
        let parts: Vec<_> = (0..settled.shards())
            .map(|shard| settled.collect(shard))
            .collect();
        Ok(settled.seal(parts)?.0)
    }

    /// Ends the block's execution, so that its changes can be gathered on many threads.
    pub fn settle(self) -> Result<SettledBlock<T>, SealError> {
        let outcomes = self.outcomes.into_vec();
        let outcomes = outcomes.map_err(|transaction| SealError::Unfinished { transaction })?;
        Ok(SettledBlock {
            cells: self.cells.settle(),
            outcomes,
            spent: Spent {
                transactions: self.transactions,
                sets: self.sets,
                drafts: self.drafts,
            },
        })
    }
}

/// A block whose transactions are done and whose changes are being gathered.
#[derive(Debug)]
pub struct SettledBlock<T> {
    cells: SettledCells,
    outcomes: Vec<Outcome>,
    spent: Spent<T>,
}

/// What a block needs no more when its transactions are done. Dropping it takes time that nobody has
/// before the block is sealed.
#[derive(Debug)]
struct Spent<T> {
    transactions: Vec<Sanitized<T>>,
    sets: Vec<OnceLock<HeldSet>>,
    drafts: Vec<Draft>,
}

impl<T> SettledBlock<T> {
    /// How many cells there are to look at.
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// How many parts the changes are gathered in.
    pub const fn shards(&self) -> usize {
        SHARDS
    }

    /// The changes in one part. From any thread.
    pub fn collect(&self, shard: usize) -> DeltaPart {
        self.cells.collect(shard)
    }

    /// Seals the block; `parts` are those of all shards, in any order.
    ///
    /// What the block was made of is given back, to be reset and used again, or dropped elsewhere.
    pub fn seal(
        self,
        parts: impl IntoIterator<Item = DeltaPart>,
    ) -> Result<(SealedBlock, SpentBlock<T>), SealError> {
        let (delta, cells) = self.cells.finish(parts)?;
        let outcomes = self.outcomes;
        let Spent {
            transactions,
            sets,
            drafts,
        } = self.spent;
        let spent = SpentBlock {
            cells,
            transactions,
            sets,
            _drafts: drafts,
        };
        Ok((SealedBlock { outcomes, delta }, spent))
    }
}

/// What is left of a block that was sealed.
#[derive(Debug)]
pub struct SpentBlock<T> {
    /// Its cells; [reset](StateCells::reset) them to open another block on their memory.
    pub cells: StateCells,
    /// Its transactions.
    pub transactions: Vec<Sanitized<T>>,
    sets: Vec<OnceLock<HeldSet>>,
    /// Kept to be dropped with the rest.
    _drafts: Vec<Draft>,
}

impl<T> SpentBlock<T> {
    /// The access sets that the transactions ended with, in block order.
    pub fn into_sets(self) -> Vec<AccessSet> {
        // There are none of a block whose keys were numbered.
        let mut sets = self.sets.into_iter();
        (self.transactions.into_iter())
            .map(|transaction| {
                let own = (sets.next()).and_then(|set| set.into_inner()?.own);
                own.unwrap_or(transaction.access)
            })
            .collect()
    }
}

impl<T> fmt::Debug for OpenBlock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenBlock")
            .field("transactions", &self.transactions.len())
            .field("cells", &self.cells)
            .finish_non_exhaustive()
    }
}

/// Why a block cannot be sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A transaction has not run.
    #[error("transaction {transaction} has no outcome; run the whole block before sealing it")]
    Unfinished {
        /// Its place in the block.
        transaction: TaskId,
    },
    /// The state before the block failed.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A block that ran: what became of each transaction, and what changed. Not durable yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SealedBlock {
    /// Outcomes in block order, system steps included.
    pub outcomes: Vec<Outcome>,
    /// What the block changed.
    pub delta: StateDelta,
}

impl SealedBlock {
    /// Receipts of the transactions, in block order, with cumulative gas and log indexes.
    pub fn receipts(&self) -> Result<Vec<Receipt>, GasOverflow> {
        receipts(self.outcomes.iter().cloned())
    }
}
