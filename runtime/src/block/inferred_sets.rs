//! Transactions whose access sets are inferred.

use super::open_block::OpenBlock;
use crate::{
    model::{AccessEntry, DenseId, TaskId, WriteSet, sort_touches},
    speculation::{Inference, SimulatedState, Simulation, SpeculativeTransaction, UndoRecord},
};
use std::ops::Range;

impl<T> OpenBlock<T> {
    /// Prefetches for these transactions, which will be simulated soon, one after another, on this thread.
    pub fn expect_simulations(&self, tasks: Range<usize>) {
        let speculative = self.speculative.get(tasks).unwrap_or_default();
        speculative
            .iter()
            .for_each(SpeculativeTransaction::bring_near);
    }

    /// Prefetches for a transaction that is being simulated, and whose set will be known soon.
    pub fn expect_set(&self, task: TaskId) {
        if let Some(speculative) = self.speculative(task) {
            speculative.bring_lists_near();
        }
    }

    /// The gas that a transaction used when its set was inferred.
    #[inline]
    pub fn gas_seen(&self, task: TaskId) -> Option<u64> {
        let gas = self.inferred(task)?.gas;
        (gas > 0).then_some(gas)
    }

    pub(crate) fn discard_simulation(&self, task: TaskId, simulation: Box<Simulation>) {
        if let Some(speculative) = self.speculative(task) {
            speculative.discard(simulation);
        }
    }

    /// Keeps the undo record of a transaction, in a block opened [to be inferred](OpenBlock::to_infer).
    /// Returns the record empty, for its memory.
    pub fn keep_undo(&self, task: TaskId, record: UndoRecord) -> UndoRecord {
        self.speculative[task.index()].keep_undo(record)
    }

    /// Makes what a transaction touched when it ran its inferred set, if it has none. The list is empty
    /// afterwards.
    pub fn note_touched(&self, task: TaskId, touched: &mut Vec<AccessEntry>) {
        if let Some(speculative) = self.speculative(task)
            && self.is_inferred(task)
            && speculative.inferred().is_none()
        {
            sort_touches(touched);
            speculative.infer(touched, &[], &WriteSet::default(), false, Inference::Known);
        }
        touched.clear();
    }

    /// Makes what a transaction touched when it ran its inferred set, whatever was inferred before.
    pub fn correct_touched(&mut self, task: TaskId, mut touched: Vec<AccessEntry>) {
        if let Some(speculative) = self.speculative_mut(task) {
            speculative.forget_inferred();
        }
        self.note_touched(task, &mut touched);
    }
}

impl SimulatedState {
    /// Makes what was found since [`clear`](Self::clear) the access set of `task` in a block on this state, and
    /// is clear again. With more keys than `limit` the set is everything. Once for a task, in a block
    /// [opened to be inferred](OpenBlock::to_infer).
    ///
    /// Effects that leave a value as it was are forgotten. What remains is *plain* if it is no more than slots,
    /// nonces and balances of accounts that were there and have no code, and credits; then the
    /// transaction may [keep its effects private](OpenBlock::may_keep_private).
    pub fn conclude<T>(
        &mut self,
        block: &OpenBlock<T>,
        task: TaskId,
        inference: Inference,
        limit: usize,
    ) {
        match block.speculative(task) {
            Some(speculative) => self.conclude_for(speculative, inference, limit),
            None => self.clear(),
        }
    }
}
