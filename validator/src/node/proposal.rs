//! What goes into the next block: the header's fields that are known before execution, and the transactions to try.

use super::{Node, consensus::Attributes};
use crate::{
    chain::{execution, fees},
    pool::{PooledTransaction, Take},
};
use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{B256, U256};
use lockweave_evm_adapter::{ChainSpec, SpecId};
use std::sync::Arc;

/// Transactions in a block at most.
const BLOCK_TRANSACTIONS_MAX: usize = 65_536;
/// Bytes of a block at most before Osaka, from when EIP-7934 sets a limit. A block is stored and sent whole.
const BLOCK_BYTES_MAX: usize = 64 << 20;
/// Bytes of a block's encoding besides its transactions, at most: header, empty lists, RLP prefixes.
const BLOCK_FRAME_BYTES: usize = 2_048;
/// Bytes of the RLP prefix of a transaction, at most.
const TRANSACTION_HEAD_BYTES: usize = 5;

/// The best transactions that may fit, without those in blocks that are not final yet. Their gas limits add up to
/// `gas` at most, if there is more than one.
pub(super) fn candidates(
    node: &Node,
    header: &Header,
    gas: u64,
    is_in_flight: impl Fn(B256) -> bool,
) -> Vec<Arc<PooledTransaction>> {
    let mut candidates = Vec::new();
    let mut gas_left = gas;
    let mut bytes_left = block_bytes_max(node.chain(), header) - BLOCK_FRAME_BYTES;
    let base_fee = header.base_fee_per_gas.unwrap_or_default();
    node.pool.best(base_fee, |candidate| {
        if candidates.len() >= BLOCK_TRANSACTIONS_MAX {
            return Take::Stop;
        }
        if is_in_flight(candidate.hash) {
            return Take::Yes;
        }
        let bytes = candidate.size.saturating_add(TRANSACTION_HEAD_BYTES);
        let Some(bytes) = bytes_left.checked_sub(bytes) else {
            return Take::SkipSender;
        };
        if candidate.gas_limit > gas_left && !candidates.is_empty() {
            return Take::SkipSender;
        }
        gas_left = gas_left.saturating_sub(candidate.gas_limit);
        bytes_left = bytes;
        candidates.push(Arc::clone(candidate));
        Take::Yes
    });
    candidates
}

/// What the gas limits of a block's candidates may add up to: most transactions use less than their limit.
pub(super) const fn candidate_gas(header: &Header) -> u64 {
    header.gas_limit.saturating_mul(2)
}

/// How many bytes the encoding of a block may have.
fn block_bytes_max(chain: &ChainSpec, header: &Header) -> usize {
    let fork = chain.fork_at(header.number, header.timestamp);
    if fork.is_enabled_in(SpecId::OSAKA) {
        execution::BLOCK_BYTES_MAX
    } else {
        BLOCK_BYTES_MAX
    }
}

/// The fields of a header that are known before its block is executed.
///
/// The parent's hash is not among them.
pub(super) fn next_header(
    chain: &ChainSpec,
    parent: &Header,
    attributes: Attributes,
    extra_data: &[u8],
) -> Header {
    let number = parent.number + 1;
    let timestamp = attributes.timestamp;
    let fork = chain.fork_at(number, timestamp);
    let is = |since: SpecId| fork.is_enabled_in(since);
    Header {
        number,
        timestamp,
        beneficiary: attributes.beneficiary,
        mix_hash: attributes.prev_randao,
        gas_limit: parent.gas_limit,
        difficulty: U256::ZERO,
        extra_data: extra_data.to_vec().into(),
        base_fee_per_gas: fees::next_base_fee(chain, parent, timestamp),
        withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: is(SpecId::CANCUN).then_some(0),
        excess_blob_gas: fees::next_excess_blob_gas(chain, parent, timestamp),
        parent_beacon_block_root: is(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}
