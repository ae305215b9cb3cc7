//! `eth_getBlockAccessList`: what a block accessed, by account (EIP-7928).
//!
//! No header of this chain commits to such a list. It is made by executing the block again.

use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, RpcError, reply},
    scratch::Deadline,
};
use alloy_eip7928::BlockAccessList;
use alloy_eips::BlockId;
use lockweave_engine::SerialRun;

pub(crate) fn get(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let Some(block) = context.find_block(id)? else {
        return reply(());
    };
    let Some(parent) = block.number().checked_sub(1) else {
        return reply(BlockAccessList::default());
    };
    let before = context.node.store().state_at(parent)?;
    let failed = |error: &dyn std::fmt::Display| RpcError::internal(error.to_string());
    let layout = block.layout(context.node.chain(), block.transactions.clone());
    let layout = layout.map_err(|error| failed(&error))?;
    let deadline = Deadline::within(context.config.call_timeout);
    let mut run = SerialRun::new(layout.context(), &before).with_effects();
    for step in layout.steps() {
        deadline.check()?;
        run.step(step).map_err(|error| failed(&error))?;
    }
    reply(
        run.access_list(&layout, &before)
            .map_err(|error| failed(&error))?,
    )
}
