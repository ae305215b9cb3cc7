//! The block between two parallel runs.

use crate::block::BlockRun;
use lockweave_runtime::{DenseId, TaskId};

/// A block with inferred sets, of which some transactions have run.
pub(crate) struct InferredState<'r, 's, T, E, I> {
    pub(crate) run: &'r mut BlockRun<'s, T, E, I>,
    /// Transactions without an outcome that are to run next, in block order.
    pub(crate) pending: Vec<TaskId>,
    /// At least so many transactions at the beginning of the block have their outcome.
    pub(crate) finished: usize,
}

impl<'r, 's, T, E: 'static, I: 'static> InferredState<'r, 's, T, E, I> {
    /// Nothing has run.
    pub(crate) fn new(run: &'r mut BlockRun<'s, T, E, I>) -> Self {
        let transactions = run.block().transactions().len();
        Self {
            run,
            pending: (0..transactions).map(TaskId::from_index).collect(),
            finished: 0,
        }
    }

    /// The transactions without an outcome from a position on, in block order.
    pub(crate) fn unfinished(&self, first: usize) -> impl Iterator<Item = TaskId> {
        (first..self.run.block().transactions().len())
            .map(TaskId::from_index)
            .filter(|task| !self.run.block().is_finished(*task))
    }

    /// The position of the first transaction without an outcome; the length of the block if all have one.
    pub(crate) fn first_unfinished(&mut self) -> usize {
        let end = self.run.block().transactions().len();
        let first = self.unfinished(self.finished).next();
        self.finished = first.map_or(end, DenseId::index);
        self.finished
    }
}
