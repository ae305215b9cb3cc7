//! Gives the keys of a block's sets their numbers, on all workers.

use crate::{
    block::{EVEN_ROUND, ODD_ROUND},
    lock_table::Access,
    stage::{BankingStage, Grant, Workload},
};
use lockweave_runtime::{DenseId, Numbering, OpenBlock, Round, SameHash, TaskId};
use std::{convert::Infallible, sync::Arc};

/// Fewer transactions than this are numbered before a helper would have begun.
const TASKS_PER_HAND_OVER: usize = 512;

/// Numbers the keys of a block, unless they have numbers already.
pub(crate) fn number<T: Send + Sync + 'static>(
    stage: &BankingStage,
    mut block: OpenBlock<T>,
) -> OpenBlock<T> {
    let alone = stage.config().threads.get() == 1;
    if alone || block.transactions().len() < TASKS_PER_HAND_OVER {
        block.number();
    }
    while !block.is_numbered() {
        let numbering = block.begin_numbering();
        let (workload, result) = stage.run(Numbered { block, numbering });
        block = workload.block;
        match result.ok().map(|_| workload.numbering.finish()) {
            Some(Ok(table)) => block.set_table(Arc::new(table)),
            // The next attempt uses other hashes.
            Some(Err(SameHash { .. })) => {}
            // The stage refuses a run from inside one of its own tasks; then this thread numbers alone.
            None => block.number(),
        }
    }
    block
}

/// The pieces of all rounds. The lock of a [round](ODD_ROUND) keeps them apart.
struct Numbered<T> {
    block: OpenBlock<T>,
    numbering: Numbering,
}

impl<T> Numbered<T> {
    fn piece(&self, task: TaskId) -> (Round, usize) {
        let mut piece = task.index();
        for round in Round::ALL {
            let pieces = self.numbering.pieces(round);
            if piece < pieces {
                return (round, piece);
            }
            piece -= pieces;
        }
        unreachable!("there are as many tasks as pieces")
    }
}

impl<T: Send + Sync + 'static> Workload for Numbered<T> {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        let pieces = Round::ALL.map(|round| self.numbering.pieces(round));
        pieces.into_iter().sum()
    }

    fn enter(&self, _worker: usize) {}

    fn access(&self, task: TaskId) -> Access<'_> {
        Access::Keys(match self.piece(task).0 {
            Round::Scatter | Round::Count => ODD_ROUND,
            Round::Meet | Round::Link => EVEN_ROUND,
        })
    }

    fn execute(&self, (): &mut (), grant: &Grant<'_>) -> Result<(), Infallible> {
        let (round, piece) = self.piece(grant.task());
        let set = |task| self.block.access(task);
        self.numbering.run(round, piece, set);
        Ok(())
    }
}
