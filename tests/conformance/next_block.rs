//! A block that continues a chain. It shows that refused blocks left nothing behind.

use crate::conformance::{
    chain::{Chain, DEPOSIT_CONTRACT},
    engine::Engine,
};
use alloy_consensus::{
    Block, BlockBody, Header,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH},
};
use alloy_eips::{
    eip4895::Withdrawals,
    eip7928::{ITEM_COST, compute_block_access_list_hash, total_bal_items},
};
use alloy_primitives::{B256, Bloom};
use lockweave::evm::{InvalidStep, SpecId};
use lockweave_validator::chain::{
    block::Envelope, difficulty::next_difficulty, execution::PreparedBlock, fees,
    requests::requests,
};

/// The seconds between the last block and this one.
const LATER_S: u64 = 12;

/// A valid block without transactions on the chain's head. `None` if none is possible, because a system contract fails
/// or the access list exceeds the gas limit.
pub(crate) fn empty_child(
    engine: &Engine,
    chain: &Chain,
) -> Result<Option<Block<Envelope>>, String> {
    let (spec, parent) = (chain.spec(), chain.head_header());
    let timestamp = parent.timestamp.saturating_add(LATER_S);
    let number = parent.number.saturating_add(1);
    let fork = spec.fork_at(number, timestamp);
    let is = |since: SpecId| fork.is_enabled_in(since);
    let mut header = Header {
        parent_hash: chain.head(),
        number,
        timestamp,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        logs_bloom: Bloom::ZERO,
        gas_limit: parent.gas_limit,
        base_fee_per_gas: fees::next_base_fee(spec, parent, timestamp),
        excess_blob_gas: fees::next_excess_blob_gas(spec, parent, timestamp),
        blob_gas_used: is(SpecId::CANCUN).then_some(0),
        withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_ROOT_HASH),
        parent_beacon_block_root: is(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: is(SpecId::PRAGUE).then_some(B256::ZERO),
        block_access_list_hash: spec
            .has_access_list(number, timestamp)
            .then_some(B256::ZERO),
        ..Header::default()
    };
    if !is(SpecId::MERGE) {
        header.difficulty = next_difficulty(spec, parent, timestamp);
    }
    let body = BlockBody {
        withdrawals: is(SpecId::SHANGHAI).then(Withdrawals::default),
        ..BlockBody::default()
    };
    let mut block = Block { header, body };
    let prepared = PreparedBlock::new(spec, block.clone()).map_err(|error| error.to_string())?;
    let view = chain.state_after(chain.head()).ok_or("has no state")?;
    let (sealed, list) = match engine.run_block(prepared.evm(), &view)? {
        Ok(run) => run,
        Err((_, InvalidStep::SystemCall { .. })) => return Ok(None),
        Err((step, error)) => return Err(format!("step {step} of the next block: {error}")),
    };
    // The list may exceed the gas limit, which a block can change only a little.
    let items = total_bal_items(&list);
    if items > block.header.gas_limit / ITEM_COST as u64 {
        return Ok(None);
    }
    let requests = requests(prepared.evm(), &sealed.outcomes, Some(DEPOSIT_CONTRACT));
    let requests = requests.map_err(|error| error.to_string())?;
    if let Some(hash) = &mut block.header.requests_hash {
        *hash = requests.requests_hash();
    }
    if let Some(hash) = &mut block.header.block_access_list_hash {
        *hash = compute_block_access_list_hash(&list);
    }
    block.header.state_root = chain.head_state().root_after(&sealed.delta)?;
    Ok(Some(block))
}
