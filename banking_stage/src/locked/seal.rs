//! Seals a block on all workers.

use crate::{
    lock_table::Access,
    stage::{BankingStage, Grant, StageError, Workload},
};
use lockweave_runtime::{
    DenseId, ExecutedBlock, OpenBlock, RecycledBlock, SealError, SealedBlock, TaskId,
};
use std::convert::Infallible;

/// Fewer cells than this are gathered before a helper would have begun.
const CELLS_PER_HAND_OVER: usize = 4_096;

/// Seals a block whose transactions are done. The stage's workers gather its changes.
///
/// The result is that of [`OpenBlock::seal`]; the memory of the block is given back.
pub fn seal_block<T>(
    stage: &BankingStage,
    block: OpenBlock<T>,
) -> Result<(SealedBlock, RecycledBlock<T>), SealError>
where
    T: Send + Sync + 'static,
{
    let block = block.into_executed()?;
    let alone = stage.config().threads.get() == 1 || block.cells() < CELLS_PER_HAND_OVER;
    if alone {
        return block.seal();
    }
    let (Gathering { block }, result) = stage.run(Gathering { block });
    // The stage refuses a run from inside one of its own tasks; then `seal` gathers alone.
    debug_assert!(matches!(result, Ok(_) | Err(StageError::Nested)));
    block.seal()
}

/// The parts of a block's changes, as tasks without locks.
struct Gathering<T> {
    block: ExecutedBlock<T>,
}

impl<T: Send + Sync + 'static> Workload for Gathering<T> {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.block.shards()
    }

    fn enter(&self, _worker: usize) {}

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Keys(&[])
    }

    fn execute(&self, (): &mut (), grant: &Grant<'_>) -> Result<(), Infallible> {
        self.block.collect(grant.task().index());
        Ok(())
    }
}
