//! Methods about the node itself.

use crate::{
    network::Network,
    rpc::{
        context::RpcContext,
        message::{Params, Reply, reply},
    },
};
use alloy_primitives::{Bytes, U64, keccak256};
use serde_json::json;

/// Blocks that a node may be behind and still be in sync: one or two are always on their way.
const SYNCED_WITHIN: u64 = 16;

/// The name and version of the node.
pub(crate) fn client_version() -> String {
    format!(
        "lockweave/v{}/{}-{}/rust",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

pub(crate) fn sha3(_: &RpcContext, params: &Params<'_>) -> Reply {
    let data: Bytes = params.required(0, "data")?;
    reply(keccak256(&data))
}

/// From which block on each kind of data is available (execution-apis, `eth_capabilities`).
pub(crate) fn capabilities(context: &RpcContext, _: &Params<'_>) -> Reply {
    let store = context.node.store();
    let head = context.node.head().block;
    let since = |oldest: u64| json!({ "disabled": false, "oldestBlock": U64::from(oldest) });
    let (blocks, states) = (store.oldest_block(), store.oldest_state());
    reply(json!({
        "head": { "number": U64::from(head.number()), "hash": head.hash },
        "state": since(states),
        "stateproofs": since(states),
        "tx": since(blocks),
        "logs": since(blocks),
        "receipts": since(blocks),
        "blocks": since(blocks),
    }))
}

pub(crate) fn rpc_modules(_: &RpcContext, _: &Params<'_>) -> Reply {
    let modules = [
        "debug",
        "eth",
        "lockweave",
        "net",
        "rpc",
        "trace",
        "txpool",
        "web3",
    ];
    let versions = modules.map(|module| (module, "1.0"));
    reply(std::collections::BTreeMap::from(versions))
}

/// `eth_syncing`: `false`, or how far the node is behind its network.
pub(crate) fn syncing(context: &RpcContext, _: &Params<'_>) -> Reply {
    let Some(network) = &context.network else {
        return reply(false);
    };
    let head = context.node.head().block.number();
    let tip = network.tip();
    if tip <= head + SYNCED_WITHIN {
        return reply(false);
    }
    reply(json!({
        "startingBlock": U64::ZERO,
        "currentBlock": U64::from(head),
        "highestBlock": U64::from(tip),
    }))
}

/// `net_peerCount`: nodes that this one is connected to.
pub(crate) fn peers(context: &RpcContext, _: &Params<'_>) -> Reply {
    let network = context.network.as_deref();
    reply(U64::from(network.map_or(0, Network::connections)))
}
