//! Methods about blocks, transactions and receipts.

use crate::{
    chain::ChainBlock,
    rpc::{
        context::RpcContext,
        format,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_consensus::constants::EMPTY_OMMER_ROOT_HASH;
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718, eip4895::Withdrawals};
use alloy_primitives::{B256, Bytes, U64};
use serde_json::Value;
use std::sync::Arc;

/// The block of the first parameter.
type FindBlock = fn(&RpcContext, &Params<'_>) -> Result<Option<Arc<ChainBlock>>, RpcError>;

pub(crate) const BY_NUMBER: FindBlock = |context, params| {
    let number: BlockNumberOrTag = params.required(0, "block number")?;
    context.find_block(number.into())
};

pub(crate) const BY_HASH: FindBlock =
    |context, params| context.find_block(params.hash(0, "block hash")?.into());

pub(crate) fn block_number(context: &RpcContext, _: &Params<'_>) -> Reply {
    reply(U64::from(context.node.head().block.number()))
}

pub(crate) fn get_block_by_number(context: &RpcContext, params: &Params<'_>) -> Reply {
    let number: BlockNumberOrTag = params.required(0, "block number")?;
    let full = params.optional(1, "full transactions")?.unwrap_or(false);
    if number == BlockNumberOrTag::Pending {
        return pending_block(context, full);
    }
    let block = context.find_block(number.into())?;
    reply(block.map(|block| format::block(&block, full)))
}

pub(crate) fn get_block_by_hash(context: &RpcContext, params: &Params<'_>) -> Reply {
    let full = params.optional(1, "full transactions")?.unwrap_or(false);
    let block = BY_HASH(context, params)?;
    reply(block.map(|block| format::block(&block, full)))
}

/// The known fields of the next block, such as its number and base fee. It has no transactions yet.
fn pending_block(context: &RpcContext, full: bool) -> Reply {
    let head = context.node.head().block;
    let header = alloy_consensus::Header {
        parent_hash: head.hash,
        number: head.number() + 1,
        timestamp: head.header.timestamp,
        base_fee_per_gas: context.node.next_base_fee(),
        gas_used: 0,
        logs_bloom: alloy_primitives::Bloom::ZERO,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        transactions_root: alloy_trie::EMPTY_ROOT_HASH,
        receipts_root: alloy_trie::EMPTY_ROOT_HASH,
        ..head.header.clone()
    };
    let pending = ChainBlock {
        hash: B256::ZERO,
        header,
        withdrawals: head.withdrawals.as_ref().map(|_| Withdrawals::default()),
        ..ChainBlock::default()
    };
    let mut block = serde_json::to_value(format::block(&pending, full))
        .map_err(|error| RpcError::internal(error.to_string()))?;
    for unknown in ["hash", "nonce", "miner"] {
        block[unknown] = Value::Null;
    }
    reply(block)
}

pub(crate) fn transaction_count(
    context: &RpcContext,
    params: &Params<'_>,
    find: FindBlock,
) -> Reply {
    let block = find(context, params)?;
    reply(block.map(|block| U64::from(block.transactions.len())))
}

pub(crate) fn uncle_count(context: &RpcContext, params: &Params<'_>, find: FindBlock) -> Reply {
    let block = find(context, params)?;
    reply(block.map(|block| U64::from(block.ommers.len())))
}

/// The index of the second parameter.
fn index(params: &Params<'_>) -> Result<usize, RpcError> {
    let index: U64 = params.required(1, "index")?;
    Ok(usize::try_from(index.to::<u64>()).unwrap_or(usize::MAX))
}

/// An uncle: its header, without a body.
pub(crate) fn uncle(context: &RpcContext, params: &Params<'_>, find: FindBlock) -> Reply {
    let block = find(context, params)?;
    let index = index(params)?;
    let ommer = block.and_then(|block| block.ommers.get(index).cloned());
    reply(ommer.map(|header| {
        let uncle = ChainBlock {
            hash: header.hash_slow(),
            header,
            ..ChainBlock::default()
        };
        format::block(&uncle, false)
    }))
}

pub(crate) fn transaction_at(context: &RpcContext, params: &Params<'_>, find: FindBlock) -> Reply {
    let block = find(context, params)?;
    let index = index(params)?;
    let block = block.filter(|block| index < block.transactions.len());
    reply(block.map(|block| format::transaction(&block, index)))
}

pub(crate) fn transaction_by_hash(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    if let Some((block, index)) = context.find_transaction(hash)? {
        return reply(format::transaction(&block, index));
    }
    let waiting = context.node.pool().get(hash);
    if waiting.is_none()
        && let Some((block, index)) = context.find_transaction(hash)?
    {
        // It went into a block between the two lookups.
        return reply(format::transaction(&block, index));
    }
    reply(waiting.map(|pooled| format::pending_transaction(&pooled)))
}

pub(crate) fn raw_transaction_by_hash(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    let encoded = match context.find_transaction(hash)? {
        Some((block, index)) => Some(block.transactions[index].envelope().encoded_2718()),
        None => (context.node.pool().get(hash))
            .map(|pooled| pooled.transaction.envelope().encoded_2718()),
    };
    reply(encoded.map(Bytes::from))
}

pub(crate) fn transaction_receipt(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    let found = context.find_transaction(hash)?;
    reply(found.map(|(block, index)| format::receipt(&context.node, &block, index)))
}

pub(crate) fn block_receipts(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let block = context.find_block(id)?;
    reply(block.map(|block| {
        let receipts = 0..block.receipts.len();
        receipts
            .map(|index| format::receipt(&context.node, &block, index))
            .collect::<Vec<_>>()
    }))
}
