//! Sealing: the changes of a block whose transactions are done.

use super::{
    open_block::{OpenBlock, PRIVATE, ReplacedSet},
    state_cells::StateCells,
};
use crate::{
    cells::StateCell,
    keys::SHARDS,
    model::{
        AddressKey, Changes, DeltaContext, DeltaPart, DenseId, KeyId, KeyPart, Outcome, Sanitized,
        SealedBlock, StateError, StateKey, TaskId,
    },
    sequential::PART_MIN,
    speculation::SpeculativeTransaction,
};
use ahash::AHashMap;
use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicU64, Ordering},
};

impl<T> OpenBlock<T> {
    /// Seals the block on this thread: outcomes in block order, credits folded in, changes gathered.
    pub fn seal(self) -> Result<SealedBlock, SealError> {
        Ok(self.into_executed()?.seal()?.0)
    }

    /// Ends the block's execution, so that its changes can be gathered on many threads.
    pub fn into_executed(self) -> Result<ExecutedBlock<T>, SealError> {
        let outcomes = self.outcomes.into_vec();
        let outcomes = outcomes.map_err(|transaction| SealError::Unfinished { transaction })?;
        let mut cells = self.cells;
        let mut context = DeltaContext::without_code(cells.keys.rules);
        cells
            .keys
            .for_each_recoded(|address, before, now, generation| {
                if now != before {
                    context.codes.insert(address, now.clone());
                }
                if generation > 0 {
                    context.generations.insert(AddressKey(address), generation);
                }
            });
        cells.sequential.add_to(&mut context);
        let replayed = cells.take_replayed();
        Ok(ExecutedBlock {
            changes: replayed.unwrap_or_else(|| cells.changes_with_room(0)),
            cells,
            context,
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
            outcomes,
            transactions: self.transactions,
            introduced: self.introduced,
            replaced: self.replaced,
            speculative: self.speculative,
        })
    }
}

/// A block whose transactions are done and whose changes are being gathered. Its cells no longer change.
#[derive(derive_more::Debug)]
#[debug("ExecutedBlock {{ cells: {} }}", self.cells())]
pub struct ExecutedBlock<T> {
    cells: StateCells,
    context: DeltaContext,
    changes: Changes,
    /// A bit for each of the [parts](Self::shards): whether a thread gathers its changes, or has gathered
    /// them.
    begun: AtomicU64,
    /// Whether that is over.
    done: AtomicU64,
    outcomes: Vec<Outcome>,
    transactions: Arc<Vec<Sanitized<T>>>,
    introduced: Vec<AtomicU8>,
    replaced: AHashMap<TaskId, ReplacedSet>,
    speculative: Vec<SpeculativeTransaction>,
}

const _: () = assert!(SHARDS == u64::BITS as usize);

impl<T> ExecutedBlock<T> {
    /// How many cells there are, or entries of a sequential state.
    pub fn cells(&self) -> usize {
        let (accounts, slots) = self.cells.sequential.len();
        self.cells.keys.arena.len() + accounts + slots
    }

    /// How many parts the changes are gathered in: one where there are few and no cells.
    pub fn shards(&self) -> usize {
        let is_one = self.cells.keys.arena.is_empty() && self.cells.keys.table().is_none();
        if is_one && self.cells() < PART_MIN {
            1
        } else {
            SHARDS
        }
    }

    /// Gathers the changes in one part, unless another call has. From any thread.
    pub fn collect(&self, shard: usize) {
        let bit = 1 << shard;
        if self.begun.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        let mut part = self.changes.part();
        if let Some(table) = self.cells.keys.table() {
            let pieces = (shard..table.parts()).step_by(SHARDS);
            let tasks = pieces.flat_map(|piece| table.tasks_of(piece));
            for task in tasks.map(TaskId::from_index) {
                if let Some(speculative) = self.private_effects(task) {
                    speculative.collect(&self.context, &mut part);
                    continue;
                }
                let (first, keys) = table.introduces(task);
                for (index, key) in (first.index()..).zip(keys) {
                    let id = KeyId::from_index(index);
                    // One that is not was named and never asked for.
                    if self.cells.keys.arena.is_filled(id) {
                        self.collect_key(&mut part, key, id);
                    }
                }
            }
        }
        let each = |key: &StateKey, id| self.collect_key(&mut part, key, id);
        self.cells.keys.interner.for_each_in_shard(shard, each);
        let sequential = &self.cells.sequential;
        sequential.collect((shard, self.shards()), &self.context, &mut part);
        drop(part);
        self.done.fetch_or(bit, Ordering::Relaxed);
    }

    /// The speculative transaction, if its effects are private: its keys have no cells.
    fn private_effects(&self, task: TaskId) -> Option<&SpeculativeTransaction> {
        let speculative = self.speculative.get(task.index())?;
        let state = self.introduced[task.index()].load(Ordering::Relaxed);
        (state == PRIVATE).then_some(speculative)
    }

    /// What became of one key. Its id came from the interner, whose lock orders memory, or from the
    /// table and is filled.
    #[allow(unsafe_code)]
    fn collect_key(&self, part: &mut DeltaPart<'_>, key: &StateKey, id: KeyId) {
        let (context, arena) = (&self.context, &self.cells.keys.arena);
        let before = arena.origin(id);
        let look = |cell: &StateCell| match (key.part, cell) {
            (KeyPart::Account, StateCell::Account(cell)) => {
                let (now, touched) = (cell.current(context.rules), cell.is_credited());
                let before = before.account().copied();
                part.account(context, key.address, before, now, touched);
            }
            (KeyPart::Slot(slot), StateCell::Slot(cell)) => {
                let after = cell.current(context.generation(key.address));
                part.slot(context, key.address, slot, before.slot(), after);
            }
            _ => {}
        };
        // SAFETY: the cell is filled, as said above. Cells are written through a granted state, which
        // holds its block by reference; this value was made from a block to which no other reference exists,
        // and gives no cell out for writing.
        unsafe { arena.read(id, look) }
    }

    /// Seals the block, and gathers the changes of the remaining parts.
    ///
    /// What the block was made of is given back, to be reset and used again, or dropped elsewhere, as dropping
    /// takes time.
    ///
    /// # Panics
    ///
    /// If [`collect`](Self::collect) panicked.
    pub fn seal(self) -> Result<(SealedBlock, RecycledBlock<T>), SealError> {
        let parts = self.shards();
        (0..parts).for_each(|shard| self.collect(shard));
        let all = u64::MAX >> (SHARDS - parts);
        assert_eq!(self.done.into_inner(), all, "not all changes are gathered");
        let delta = self.context.finish(self.changes, &**self.cells.view())?;
        let spent = RecycledBlock {
            cells: self.cells,
            speculative: self.speculative,
            transactions: self.transactions,
            _replaced: self.replaced,
        };
        let outcomes = self.outcomes;
        Ok((SealedBlock { outcomes, delta }, spent))
    }
}

/// What is left of a block that was sealed.
#[derive(Debug)]
pub struct RecycledBlock<T> {
    cells: StateCells,
    speculative: Vec<SpeculativeTransaction>,
    transactions: Arc<Vec<Sanitized<T>>>,
    _replaced: AHashMap<TaskId, ReplacedSet>,
}

impl<T> RecycledBlock<T> {
    /// The cells, with all memory that another block can use.
    pub fn into_cells(self) -> StateCells {
        let Self {
            mut cells,
            mut speculative,
            transactions,
            ..
        } = self;
        if !speculative.is_empty() {
            let used = speculative.iter_mut().take(transactions.len());
            used.for_each(SpeculativeTransaction::clear);
            cells.spare.speculative = speculative;
        }
        cells
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
