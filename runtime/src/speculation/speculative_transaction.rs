//! What is known and kept of transactions whose sets are inferred.
//!
//! A block has thousands of speculative transactions, each with a set, the effects of a simulation and an
//! undo record. Their lists are kept from block to block, because allocating that much memory anew, with
//! pages that the system clears, took longer than filling it. They do not fit in a cache, so workers fill
//! their own lists, which do, and copy the result.

use super::{
    simulation::{Inference, KnownHash},
    simulation::{ROOM_KEPT, Simulation},
    undo::UndoRecord,
};
use crate::{
    memory::prefetch,
    model::{AccessEntry, AccessSet, KeyId, Outcome, WriteSet},
};
use alloy_primitives::U256;
use parking_lot::Mutex;
use std::{mem, sync::OnceLock};

/// How much of a list is asked for before it is needed: what a token's transfer has in it.
const ENTRIES_NEAR: usize = 8;
const HASHES_NEAR: usize = 2;
const UNDO_NEAR: usize = 6;

/// One speculative transaction.
#[derive(Debug, Default)]
pub(crate) struct SpeculativeTransaction {
    inferred: OnceLock<Inferred>,
    kept: Mutex<Kept>,
}

/// What is expected of a transaction before it runs.
#[derive(Debug)]
pub(crate) struct Inferred {
    pub(crate) access: AccessSet,
    /// Hashes that its execution may need again.
    pub(crate) hashes: Vec<KnownHash>,
    /// What it used when its set was inferred, in gas; zero if that is unknown.
    pub(crate) gas: u64,
    /// Whether it was simulated, and its effects are [plain](crate::SimulatedState::conclude).
    pub(crate) is_plain: bool,
}

#[derive(Debug, Default)]
struct Kept {
    /// Whether the transaction began to run, and was not taken back since.
    has_begun: bool,
    simulation: Option<Box<Simulation>>,
    undo: Option<UndoRecord>,
    memory: Memory,
}

impl Kept {
    /// An undo record for what the transaction did, in the memory of an earlier one.
    fn begin_undo(&mut self) -> &mut UndoRecord {
        debug_assert!(
            self.undo.is_none(),
            "the transaction has an undo record already"
        );
        self.undo.insert(mem::take(&mut self.memory.undo))
    }
}

/// Lists without contents.
#[derive(Debug, Default)]
struct Memory {
    entries: Vec<AccessEntry>,
    hashes: Vec<KnownHash>,
    simulation: Option<Box<Simulation>>,
    undo: UndoRecord,
}

impl Memory {
    /// Keeps the lists of a simulation that is no longer needed, unless they are long.
    fn keep(&mut self, mut simulation: Box<Simulation>) {
        if simulation.is_small() {
            simulation.clear();
            self.simulation = Some(simulation);
        }
    }
}

impl SpeculativeTransaction {
    /// Asks for the memory of the speculative transaction itself, which will be written soon.
    pub(crate) fn bring_near(&self) {
        prefetch::value_for_writing(self);
    }

    /// Prefetches the lists that [`infer`](Self::infer) fills. It publishes them by an exchange, which waits
    /// for all earlier writes of the processor; in cold memory those take longer than the rest of a
    /// prediction.
    pub(crate) fn bring_lists_near(&self) {
        let memory = &self.kept.lock().memory;
        prefetch::list_for_writing(&memory.entries, ENTRIES_NEAR);
        prefetch::list_for_writing(&memory.hashes, HASHES_NEAR);
    }

    #[inline]
    pub(crate) fn inferred(&self) -> Option<&Inferred> {
        self.inferred.get()
    }

    /// Notes what inference found: the sorted accesses and, if the outcome can be used, the effects, and
    /// whether they are plain. Once.
    pub(crate) fn infer(
        &self,
        entries: &[AccessEntry],
        found: &[KnownHash],
        writes: &WriteSet,
        is_plain: bool,
        inference: Inference,
    ) {
        let gas = inference.gas().unwrap_or_default();
        let (access, hashes) = {
            let mut kept = self.kept.lock();
            if let Inference::Simulated(outcome) = inference {
                let mut simulation = kept.memory.simulation.take().unwrap_or_default();
                simulation.writes.clone_from(writes);
                simulation.outcome = Some(outcome);
                let effects = simulation.writes.effects();
                simulation.places.extend(effects.map(|(key, _)| {
                    let place = entries.binary_search_by(|entry| entry.key.cmp(&key));
                    let place = place.expect("effects are noted as touched");
                    u32::try_from(place).expect("a set has fewer than 2^32 keys")
                }));
                kept.simulation = Some(simulation);
            }
            let mut own = mem::take(&mut kept.memory.entries);
            own.extend_from_slice(entries);
            let mut hashes = mem::take(&mut kept.memory.hashes);
            hashes.extend_from_slice(found);
            (AccessSet::Keys(own), hashes)
        };
        self.set(Inferred {
            access,
            hashes,
            gas,
            is_plain,
        });
    }

    pub(crate) fn infer_everything(&self) {
        self.set(Inferred {
            access: AccessSet::Everything,
            hashes: Vec::new(),
            gas: 0,
            is_plain: false,
        });
    }

    fn set(&self, inferred: Inferred) {
        let first = self.inferred.set(inferred);
        debug_assert!(first.is_ok(), "a transaction is inferred once");
    }

    pub(crate) fn forget_inferred(&mut self) {
        self.inferred.take();
    }

    /// Notes that the transaction begins to run, and takes the simulation, if there is one that was not
    /// taken yet.
    pub(crate) fn begin(&self) -> Option<Box<Simulation>> {
        let kept = &mut *self.kept.lock();
        kept.has_begun = true;
        if let Some(inferred) = self.inferred() {
            prefetch::list_for_writing(&inferred.hashes, HASHES_NEAR);
        }
        prefetch::list_for_writing(&kept.memory.undo.entries, UNDO_NEAR);
        kept.simulation.take()
    }

    /// Whether the transaction has begun. A caller that is told no is seen by the transaction when it begins.
    pub(crate) fn has_begun(&self) -> bool {
        self.kept.lock().has_begun
    }

    /// Gives back a simulation that was not taken after all.
    pub(crate) fn give_back(&self, simulation: Box<Simulation>) {
        self.kept.lock().simulation = Some(simulation);
    }

    /// Keeps a simulation as what the transaction did, with the cells of its effects, and hands out its
    /// outcome; unless `claim` refuses.
    pub(crate) fn keep_private(
        &self,
        mut simulation: Box<Simulation>,
        cells: &[KeyId],
        claim: impl FnOnce(&Simulation) -> bool,
    ) -> Option<Outcome> {
        // A thread that asks for what was claimed waits here until it is there.
        let kept = &mut *self.kept.lock();
        if !claim(&simulation) {
            kept.simulation = Some(simulation);
            return None;
        }
        simulation.cells.extend_from_slice(cells);
        let outcome = simulation.outcome.take();
        kept.begin_undo().taken = Some(simulation);
        outcome
    }

    /// Calls `look` with the simulation that was taken as the execution, if one was.
    pub(crate) fn look_at_taken(&self, look: impl FnOnce(&Simulation)) {
        let kept = self.kept.lock();
        let taken = kept
            .undo
            .as_ref()
            .and_then(|record| record.taken.as_deref());
        if let Some(taken) = taken {
            look(taken);
        }
    }

    /// Gives back a simulation that cannot be used.
    pub(crate) fn discard(&self, simulation: Box<Simulation>) {
        self.kept.lock().memory.keep(simulation);
    }

    /// Keeps what is in an undo record, and gives it back empty, for the next.
    pub(crate) fn keep_undo(&self, mut record: UndoRecord) -> UndoRecord {
        let mut kept = self.kept.lock();
        let own = kept.begin_undo();
        own.entries.append(&mut record.entries);
        own.taken = record.taken.take();
        record
    }

    pub(crate) fn credits(&mut self) -> impl Iterator<Item = (KeyId, U256)> {
        let undo = self.kept.get_mut().undo.iter();
        undo.flat_map(UndoRecord::credits)
    }

    /// The transaction is to run anew. The simulation is of no use any more.
    pub(crate) fn restart(&mut self) {
        let kept = self.kept.get_mut();
        kept.has_begun = false;
        kept.simulation = None;
    }

    /// Takes the undo record; the transaction is to run anew.
    pub(crate) fn reopen(&mut self) -> UndoRecord {
        self.restart();
        self.kept.get_mut().undo.take().unwrap_or_default()
    }

    /// Forgets all but the memory.
    pub(crate) fn clear(&mut self) {
        let kept = self.kept.get_mut();
        kept.has_begun = false;
        if let Some(mut record) = kept.undo.take() {
            if let Some(taken) = record.taken.take() {
                kept.simulation = Some(taken);
            }
            record.entries.clear();
            if record.entries.capacity() <= ROOM_KEPT {
                kept.memory.undo = record;
            }
        }
        if let Some(simulation) = kept.simulation.take() {
            kept.memory.keep(simulation);
        }
        if let Some(Inferred {
            access: AccessSet::Keys(mut entries),
            mut hashes,
            ..
        }) = self.inferred.take()
            && entries.capacity() <= ROOM_KEPT
        {
            hashes.clear();
            kept.memory.hashes = hashes;
            entries.clear();
            kept.memory.entries = entries;
        }
    }
}
