//! Gas limits and base fees of the next block.

use alloy_consensus::Header;
use alloy_eips::{eip1559::BaseFeeParams, eip7840::BlobParams};
use lockweave_evm_adapter::{ChainSpec, SpecId};

/// The base fee of the first block of London, in wei (EIP-1559).
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// The base fee that the child of `parent` has to have; `None` before London.
pub fn next_base_fee(chain: &ChainSpec, parent: &Header, timestamp: u64) -> Option<u64> {
    let number = parent.number + 1;
    if !chain
        .fork_at(number, timestamp)
        .is_enabled_in(SpecId::LONDON)
    {
        return None;
    }
    Some(match parent.base_fee_per_gas {
        None => INITIAL_BASE_FEE,
        Some(_) => parent
            .next_block_base_fee(BaseFeeParams::ethereum())
            .unwrap_or(INITIAL_BASE_FEE),
    })
}

/// The excess blob gas of the child of `parent`; `None` before Cancun.
pub fn next_excess_blob_gas(chain: &ChainSpec, parent: &Header, timestamp: u64) -> Option<u64> {
    let params = chain.blob_params_at(parent.number + 1, timestamp)?;
    Some(excess_blob_gas(params, parent))
}

fn excess_blob_gas(params: BlobParams, parent: &Header) -> u64 {
    params.next_block_excess_blob_gas_osaka(
        parent.excess_blob_gas.unwrap_or_default(),
        parent.blob_gas_used.unwrap_or_default(),
        parent.base_fee_per_gas.unwrap_or_default(),
    )
}

/// What a unit of blob gas costs in a block, in wei; `None` before Cancun.
pub fn blob_base_fee(chain: &ChainSpec, header: &Header) -> Option<u128> {
    let params = chain.blob_params_at(header.number, header.timestamp)?;
    Some(params.calc_blob_fee(header.excess_blob_gas?))
}
