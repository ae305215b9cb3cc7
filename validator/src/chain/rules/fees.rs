//! Base fees and blob fees of the next block.

use alloy_consensus::Header;
use alloy_eips::eip1559::BaseFeeParams;
use lockweave_evm_adapter::{ChainSpec, SpecId};

/// The base fee of the first block of London, in wei (EIP-1559).
pub const INITIAL_BASE_FEE: u64 = 1_000_000_000;

/// The base fee of the child of `parent`; `None` before London.
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
    let number = parent.number + 1;
    let params = chain.blob_params_at(number, timestamp)?;
    let fork = chain.fork_at(number, timestamp);
    let (excess, used) = (
        parent.excess_blob_gas.unwrap_or_default(),
        parent.blob_gas_used.unwrap_or_default(),
    );
    Some(if fork.is_enabled_in(SpecId::OSAKA) {
        // Blobs never become much cheaper than the gas that comes with them (EIP-7918).
        let base_fee = parent.base_fee_per_gas.unwrap_or_default();
        params.next_block_excess_blob_gas_osaka(excess, used, base_fee)
    } else {
        let target = params.target_blob_gas_per_block();
        excess.saturating_add(used).saturating_sub(target)
    })
}

/// What a unit of blob gas costs in the child of `parent`, in wei; `None` before Cancun.
pub fn next_blob_base_fee(chain: &ChainSpec, parent: &Header, timestamp: u64) -> Option<u128> {
    let excess = next_excess_blob_gas(chain, parent, timestamp)?;
    let params = chain.blob_params_at(parent.number + 1, timestamp)?;
    Some(params.calc_blob_fee(excess))
}

/// What a unit of blob gas costs in a block, in wei; `None` before Cancun.
pub fn blob_base_fee(chain: &ChainSpec, header: &Header) -> Option<u128> {
    let params = chain.blob_params_at(header.number, header.timestamp)?;
    Some(params.calc_blob_fee(header.excess_blob_gas?))
}
