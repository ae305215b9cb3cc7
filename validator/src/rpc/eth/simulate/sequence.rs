//! The blocks of a simulation before execution: numbers, times and headers.

use super::code;
use crate::{chain::fees, rpc::message::RpcError};
use alloy_consensus::{
    Header,
    constants::{EMPTY_OMMER_ROOT_HASH, EMPTY_ROOT_HASH, EMPTY_WITHDRAWALS},
};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{BlockOverrides, simulate::SimBlock};
use lockweave_evm_adapter::{ChainSpec, SpecId};

/// Blocks of a simulation at most, including those that fill gaps.
const BLOCKS_MAX: u64 = 256;
/// Seconds between simulated blocks.
const BLOCK_SECONDS: u64 = 12;

/// A requested block, or one that fills a gap, with its number and time.
pub(crate) struct PlannedBlock {
    pub(crate) number: u64,
    pub(crate) timestamp: u64,
    pub(crate) block: SimBlock,
}

/// The requested blocks, with empty ones where numbers are left out.
pub(crate) fn plan(base: &Header, stated: Vec<SimBlock>) -> Result<Vec<PlannedBlock>, RpcError> {
    let mut planned = Vec::new();
    let (mut last, mut time) = (base.number, base.timestamp);
    for block in stated {
        let overrides = block.block_overrides.as_ref();
        let number = overrides.and_then(|overrides| overrides.number);
        let number = number.map_or(last + 1, |number| number.saturating_to());
        if number <= last {
            return Err(RpcError::new(
                code::BLOCK_NUMBER_ORDER,
                format!("block numbers must be in order: {number} <= {last}"),
            ));
        }
        if number - base.number > BLOCKS_MAX {
            return Err(RpcError::new(code::TOO_MANY_BLOCKS, "too many blocks"));
        }
        for between in last + 1..number {
            time = time.saturating_add(BLOCK_SECONDS);
            planned.push(PlannedBlock {
                number: between,
                timestamp: time,
                block: SimBlock::default(),
            });
        }
        let stated_time = overrides.and_then(|overrides| overrides.time);
        let timestamp = stated_time.unwrap_or(time.saturating_add(BLOCK_SECONDS));
        if timestamp <= time {
            return Err(RpcError::new(
                code::TIMESTAMP_ORDER,
                format!("block timestamps must be in order: {timestamp} <= {time}"),
            ));
        }
        (last, time) = (number, timestamp);
        planned.push(PlannedBlock {
            number,
            timestamp,
            block,
        });
    }
    Ok(planned)
}

/// The header fields that are known before execution.
pub(crate) fn header(
    chain: &ChainSpec,
    parent: &Header,
    parent_hash: B256,
    planned: &PlannedBlock,
    validation: bool,
) -> Header {
    let none = BlockOverrides::default();
    let overrides = planned.block.block_overrides.as_ref().unwrap_or(&none);
    let &PlannedBlock {
        number, timestamp, ..
    } = planned;
    let fork = chain.fork_at(number, timestamp);
    let is = |since: SpecId| fork.is_enabled_in(since);
    let base_fee = match overrides.base_fee {
        Some(fee) => Some(fee.saturating_to()),
        None if validation => fees::next_base_fee(chain, parent, timestamp),
        None => Some(0),
    };
    let difficulty = if is(SpecId::MERGE) {
        U256::ZERO
    } else {
        parent.difficulty
    };
    let had_blobs = parent.excess_blob_gas.is_some();
    let excess = fees::next_excess_blob_gas(chain, parent, timestamp);
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
        transactions_root: EMPTY_ROOT_HASH,
        receipts_root: EMPTY_ROOT_HASH,
        number,
        timestamp,
        gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
        difficulty: overrides.difficulty.unwrap_or(difficulty),
        mix_hash: overrides.random.unwrap_or_default(),
        base_fee_per_gas: base_fee.filter(|_| is(SpecId::LONDON)),
        withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: is(SpecId::CANCUN).then_some(0),
        excess_blob_gas: excess.map(|excess| if had_blobs { excess } else { 0 }),
        parent_beacon_block_root: is(SpecId::CANCUN)
            .then(|| overrides.beacon_root.unwrap_or_default()),
        requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: Option<u64>, time: Option<u64>) -> SimBlock {
        SimBlock::default().with_block_overrides(BlockOverrides {
            number: number.map(U256::from),
            time,
            ..BlockOverrides::default()
        })
    }

    #[test]
    fn gaps_are_filled_and_order_is_kept() {
        let base = Header {
            number: 10,
            timestamp: 100,
            ..Header::default()
        };
        let planned = plan(&base, vec![at(Some(13), None), at(None, Some(200))]).unwrap();
        let found: Vec<_> = planned
            .iter()
            .map(|one| (one.number, one.timestamp))
            .collect();
        assert_eq!(found, [(11, 112), (12, 124), (13, 136), (14, 200)]);
        for (stated, expected) in [
            (at(Some(10), None), code::BLOCK_NUMBER_ORDER),
            (at(None, Some(100)), code::TIMESTAMP_ORDER),
            (at(Some(267), None), code::TOO_MANY_BLOCKS),
        ] {
            let error = plan(&base, vec![stated]).err().unwrap();
            assert_eq!(error.code, expected);
        }
    }
}
