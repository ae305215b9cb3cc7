//! Recorded mainnet blocks.

use super::{Selection, WorkloadError};
use crate::engine::block::Block;
use lockweave_evm_adapter::ChainSpec;
use lockweave_validator::{recorded::RecordedBlocks, replay::prepare_block};
use std::{num::NonZeroUsize, path::PathBuf};

/// Blocks of this much gas and more are the large ones.
pub(super) const LARGE_BLOCK_GAS: u64 = 15_000_000;

/// The folder of the recorded blocks: `LOCKWEAVE_FIXTURES`, else the folder beside the workspace.
pub fn fixtures() -> PathBuf {
    std::env::var_os("LOCKWEAVE_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures"),
        PathBuf::from,
    )
}

/// The selected blocks of this much gas and more.
pub(super) fn blocks(gas_min: u64, selection: &Selection) -> Result<Vec<Block>, WorkloadError> {
    let archive = fixtures().join("mainnet_blocks.tar.zst");
    if !archive.exists() {
        return Err(WorkloadError::NoFixtures(archive));
    }
    let gas = gas_min..=selection.gas_max;
    let wanted = selection.numbers.iter().copied().collect();
    let wanted = (!selection.numbers.is_empty()).then_some(&wanted);
    let chain = ChainSpec::mainnet();
    let mut blocks = Vec::new();
    for recorded in RecordedBlocks::open(&archive, wanted)? {
        let recorded = recorded?;
        if !gas.contains(&recorded.header.gas_used) || recorded.transactions.is_empty() {
            continue;
        }
        let (block, view) = prepare_block(&chain, recorded, NonZeroUsize::MIN)?;
        let name = block.header().number.to_string();
        let context = block.context().clone();
        blocks.push(Block::record(name, view, context, block.steps())?);
    }
    Ok(blocks)
}
