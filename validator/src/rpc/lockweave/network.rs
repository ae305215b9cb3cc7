//! What the network is doing, and proofs of finality.

use crate::{
    network::Network,
    rpc::{
        context::RpcContext,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_eips::BlockId;
use alloy_primitives::U64;

fn network(context: &RpcContext) -> Result<&Network, RpcError> {
    let network = context.network.as_deref();
    network.ok_or_else(|| {
        RpcError::server("the node is alone; start it with `run --network FILE` for a network")
    })
}

/// `lockweave_networkStatus`: height, view, leader and votes, as this node sees them.
pub(crate) fn status(context: &RpcContext, _: &Params<'_>) -> Reply {
    reply(network(context)?.status())
}

/// `lockweave_getFinality`: the proof that a block is final; `null` if it is not. The second parameter is the epoch of the
/// newest validators that the client has; without it, those of the genesis.
pub(crate) fn finality(context: &RpcContext, params: &Params<'_>) -> Reply {
    let network = network(context)?;
    let id: BlockId = params.required(0, "block")?;
    let known: Option<U64> = params.optional(1, "epoch")?;
    let known = known.unwrap_or_default().to();
    match context.find_block(id)? {
        Some(block) => reply(futures_executor::block_on(
            network.proof(block.number(), known),
        )),
        None => reply(()),
    }
}

/// `lockweave_getEvidence`: votes that conflict, of which this node knows, with the transactions that submit them.
pub(crate) fn evidence(context: &RpcContext, _: &Params<'_>) -> Reply {
    reply(network(context)?.evidence())
}
