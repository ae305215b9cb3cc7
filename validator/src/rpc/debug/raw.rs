//! `debug_getRaw*`: blocks, headers and receipts in their consensus encoding.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, reply},
};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Bytes, hex};
use alloy_rlp::Encodable;
use lockweave_evm_adapter::TypedReceipt;

pub(crate) fn raw_block(context: &RpcContext, params: &Params<'_>) -> Reply {
    let block = context.block(params.required(0, "block")?)?;
    let mut encoded = Vec::new();
    block.to_consensus().encode(&mut encoded);
    reply(Bytes::from(encoded))
}

pub(crate) fn raw_header(context: &RpcContext, params: &Params<'_>) -> Reply {
    let block = context.block(params.required(0, "block")?)?;
    reply(Bytes::from(alloy_rlp::encode(&block.header)))
}

pub(crate) fn raw_receipts(context: &RpcContext, params: &Params<'_>) -> Reply {
    let block = context.block(params.required(0, "block")?)?;
    let mut encoded = Vec::with_capacity(block.receipts.len());
    for (index, receipt) in block.receipts.iter().enumerate() {
        let typed = match block.receipt_roots.get(index) {
            Some(root) => TypedReceipt::with_root(receipt, *root),
            None => TypedReceipt::from(receipt),
        };
        encoded.push(hex::encode_prefixed(typed.encoded_2718()));
    }
    reply(encoded)
}
