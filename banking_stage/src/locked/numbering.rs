//! Numbering a block's keys on all workers.
//!
//! The pieces of a [round](Round) need no order among each other, but all of them come before those of the
//! next. That is what locks are for: every piece holds one key, and the rounds hold it by turns in two
//! modes of which each goes together with itself and not with the other.

use crate::{
    lock_table::Access, stage::grant::Grant, stage::threads::BankingStage,
    stage::workload::Workload,
};
use lockweave_runtime::{
    AccessMode, DenseId, KeyAccess, KeyId, Numbering, OpenBlock, Round, SameHash, TaskId,
};
use std::{convert::Infallible, sync::Arc};

/// Fewer transactions than this are numbered before another thread would have begun.
const TASKS_PER_HAND_OVER: usize = 512;

/// Numbers the keys of a block, if nobody has yet.
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
            // The next attempt has other hashes.
            Some(Err(SameHash { .. })) => {}
            // A stage that cannot run it (it is asked from inside one of its own tasks) leaves it to us.
            None => block.number(),
        }
    }
    block
}

/// The pieces of all rounds.
struct Numbered<T> {
    block: OpenBlock<T>,
    numbering: Numbering,
}

/// The one key, in the mode of the first round and the third.
pub(crate) const ODD: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Credit,
}];
/// In that of the second and the fourth.
pub(crate) const EVEN: &[KeyAccess] = &[KeyAccess {
    key: KeyId::FIRST,
    mode: AccessMode::Read,
}];

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

    fn prepare(&self, (): &mut (), _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        Access::Keys(match self.piece(task).0 {
            Round::Scatter | Round::Count => ODD,
            Round::Meet | Round::Link => EVEN,
        })
    }

    fn execute(&self, (): &mut (), grant: &Grant<'_>) -> Result<(), Infallible> {
        let (round, piece) = self.piece(grant.task());
        let set = |task| self.block.access(task);
        self.numbering.run(round, piece, set);
        Ok(())
    }
}
