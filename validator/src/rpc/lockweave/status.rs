//! `lockweave_transactionStatus`: what happened to a transaction that this node has seen.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, reply},
};
use alloy_primitives::U64;
use serde_json::json;

/// What happened to a transaction that this node has seen.
pub(crate) fn transaction_status(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    if let Some((block, index)) = context.find_transaction(hash)? {
        return reply(json!({
            "status": "included",
            "blockNumber": U64::from(block.number()),
            "transactionIndex": U64::from(index),
            "succeeded": block.receipts[index].succeeded,
            "failureReason": block.failure(index),
        }));
    }
    if context.node.pool().contains(hash) {
        return reply(json!({ "status": "waiting" }));
    }
    match context.node.pool().drop_reason(hash) {
        Some(reason) => reply(json!({ "status": "dropped", "reason": reason.to_string() })),
        None => reply(json!({ "status": "unknown" })),
    }
}
