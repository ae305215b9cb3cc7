//! Sealing on all workers.

use crate::{
    error::StageError, grant::Grant, lock_table::Access, stage::BankingStage, workload::Workload,
};
use lockweave_runtime::{
    DeltaPart, DenseId, OpenBlock, SealError, SealedBlock, SettledBlock, SpentBlock, TaskId,
};
use std::{convert::Infallible, sync::OnceLock};

/// Fewer cells than this are gathered before another thread would have begun.
const CELLS_PER_HAND_OVER: usize = 4_096;

/// Seals a block whose transactions are done, gathering its changes on the stage's workers.
///
/// The result is that of [`OpenBlock::seal`]; what the block was made of is given back.
pub fn seal_block<T>(
    stage: &BankingStage,
    block: OpenBlock<T>,
) -> Result<(SealedBlock, SpentBlock<T>), SealError>
where
    T: Send + Sync + 'static,
{
    let block = block.settle()?;
    let shards = block.shards();
    let alone = stage.config().threads.get() == 1 || block.cells() < CELLS_PER_HAND_OVER;
    if alone {
        let parts: Vec<_> = (0..shards).map(|shard| block.collect(shard)).collect();
        return block.seal(parts);
    }
    let gathering = Gathering {
        block,
        parts: (0..shards).map(|_| OnceLock::new()).collect(),
    };
    let (gathering, result) = stage.run(gathering);
    let Gathering { block, parts } = gathering;
    // A stage that cannot run it (it is asked from inside one of its own tasks) leaves it to us.
    let missing = |shard| block.collect(shard);
    let parts: Vec<_> = parts
        .into_iter()
        .enumerate()
        .map(|(shard, part)| part.into_inner().unwrap_or_else(|| missing(shard)))
        .collect();
    debug_assert!(matches!(result, Ok(_) | Err(StageError::Nested)));
    block.seal(parts)
}

/// The parts of a block's changes, as tasks without locks.
struct Gathering<T> {
    block: SettledBlock<T>,
    parts: Vec<OnceLock<DeltaPart>>,
}

impl<T: Send + Sync + 'static> Workload for Gathering<T> {
    type Worker = ();
    type Error = Infallible;

    fn tasks(&self) -> usize {
        self.parts.len()
    }

    fn enter(&self, _worker: usize) {}

    fn prepare(&self, (): &mut (), _task: TaskId) -> Result<(), Infallible> {
        Ok(())
    }

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Keys(&[])
    }

    fn execute(&self, (): &mut (), grant: &Grant<'_>) -> Result<(), Infallible> {
        let shard = grant.task().index();
        let first = self.parts[shard].set(self.block.collect(shard));
        debug_assert!(first.is_ok(), "a shard is gathered once");
        Ok(())
    }
}
