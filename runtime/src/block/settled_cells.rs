//! The cells of an executed block, whose changes are gathered.

use super::state_cells::StateCells;
use crate::{
    cells::StateCell,
    keys::SHARDS,
    model::{
        AddressKey, Changes, DeltaContext, DeltaPart, DenseId, KeyId, KeyPart, StateDelta,
        StateError, StateKey, TaskId,
    },
    sequential::PART_MIN,
    speculation::SpeculativeTransaction,
};
use std::sync::atomic::{AtomicU64, Ordering};

impl StateCells {
    /// Ends the time in which cells change. For a block whose transactions are all done.
    pub(crate) fn settle(mut self) -> SettledCells {
        let mut context = DeltaContext::without_code(self.keys.rules);
        self.keys
            .for_each_recoded(|address, before, now, generation| {
                if now != before {
                    context.codes.insert(address, now.clone());
                }
                if generation > 0 {
                    context.generations.insert(AddressKey(address), generation);
                }
            });
        self.sequential.add_to(&mut context);
        let replayed = self.take_replayed();
        let changes = replayed.unwrap_or_else(|| self.changes_with_room(0));
        SettledCells {
            cells: self,
            context,
            changes,
            begun: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }
}

/// Cells that no longer change: the block's transactions are done.
pub(crate) struct SettledCells {
    cells: StateCells,
    context: DeltaContext,
    changes: Changes,
    /// A bit for each of the [parts](Self::parts): whether a thread gathers its changes, or has gathered
    /// them.
    begun: AtomicU64,
    /// Whether that is over.
    done: AtomicU64,
}

const _: () = assert!(SHARDS == u64::BITS as usize);

impl SettledCells {
    /// How many cells there are, or entries of a sequential state.
    pub(crate) fn len(&self) -> usize {
        let (accounts, slots) = self.cells.sequential.len();
        self.cells.keys.arena.len() + accounts + slots
    }

    /// How many parts the changes are gathered in: [`SHARDS`], or one where there are few and no cells.
    pub(crate) fn parts(&self) -> usize {
        let is_one = self.cells.keys.arena.is_empty() && self.cells.keys.table().is_none();
        if is_one && self.len() < PART_MIN {
            1
        } else {
            SHARDS
        }
    }

    /// Gathers the changes of one of the [parts](Self::parts) of the keys, unless another call has. From any
    /// thread. `apart` gives the speculative transactions that have private effects, whose keys have no
    /// cells.
    pub(crate) fn collect<'d>(
        &self,
        shard: usize,
        apart: impl Fn(TaskId) -> Option<&'d SpeculativeTransaction>,
    ) {
        let bit = 1 << shard;
        if self.begun.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return;
        }
        let mut part = self.changes.part();
        if let Some(table) = self.cells.keys.table() {
            let pieces = (shard..table.parts()).step_by(SHARDS);
            let tasks = pieces.flat_map(|piece| table.tasks_of(piece));
            for task in tasks.map(TaskId::from_index) {
                if let Some(speculative) = apart(task) {
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
        sequential.collect((shard, self.parts()), &self.context, &mut part);
        drop(part);
        self.done.fetch_or(bit, Ordering::Relaxed);
    }

    /// What became of one key. Its id came from the interner, whose lock orders memory, or from the
    /// table and is filled.
    #[allow(unsafe_code)]
    fn collect_key(&self, part: &mut DeltaPart<'_>, key: &StateKey, id: KeyId) {
        let (context, rules) = (&self.context, self.context.rules);
        let before = self.cells.keys.arena.origin(id);
        // SAFETY: the cell is filled, as said above. Cells are written through a granted state, which
        // holds its block by reference; this value was made from a block to which no other reference exists,
        // and gives no cell out for writing.
        unsafe {
            self.cells
                .keys
                .arena
                .read(id, |cell| match (key.part, cell) {
                    (KeyPart::Account, StateCell::Account(cell)) => {
                        let (now, touched) = (cell.current(rules), cell.is_credited());
                        let before = before.account().copied();
                        part.account(context, key.address, before, now, touched);
                    }
                    (KeyPart::Slot(slot), StateCell::Slot(cell)) => {
                        let after = cell.current(context.generation(key.address));
                        part.slot(context, key.address, slot, before.slot(), after);
                    }
                    _ => {}
                });
        }
    }

    /// The delta of all changes, and the cells, to be reset and used again.
    ///
    /// # Panics
    ///
    /// If the changes of a part are not gathered.
    pub(crate) fn finish(self) -> Result<(StateDelta, StateCells), StateError> {
        let parts = self.parts();
        let done = self.done.into_inner();
        let all = u64::MAX >> (SHARDS - parts);
        assert_eq!(done, all, "not all changes are gathered");
        let delta = self.context.finish(self.changes, &**self.cells.view())?;
        Ok((delta, self.cells))
    }
}
