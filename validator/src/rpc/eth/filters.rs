//! `eth_newFilter` and its relatives: filters that clients install and poll.

use super::logs::{self, parse_filter};
use crate::rpc::{
    context::{FilterKind, Poll, RpcContext},
    message::{Params, Reply, reply},
};
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use serde::Serialize;

/// The response to a poll.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Changes {
    Logs(Vec<Log>),
    Hashes(Vec<B256>),
}

fn install(context: &RpcContext, kind: FilterKind) -> Reply {
    let seen = context.node.head().block.number();
    let id = (context.filters).install(kind, seen, context.config.filters_max)?;
    reply(U128::from(id))
}

pub(crate) fn new_filter(context: &RpcContext, params: &Params<'_>) -> Reply {
    install(context, FilterKind::Logs(Box::new(parse_filter(params)?)))
}

pub(crate) fn new_block_filter(context: &RpcContext, _: &Params<'_>) -> Reply {
    install(context, FilterKind::Blocks)
}

pub(crate) fn new_pending_transaction_filter(context: &RpcContext, _: &Params<'_>) -> Reply {
    install(
        context,
        FilterKind::Pending(context.node.events().pending()),
    )
}

pub(crate) fn uninstall_filter(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    reply(context.filters.uninstall(id.to()))
}

pub(crate) fn get_filter_logs(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    let filter = context.filters.log_filter(id.to())?;
    reply(logs::find(context, &filter)?)
}

pub(crate) fn get_filter_changes(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    let head = context.node.head().block.number();
    let first_after = |seen: u64| (seen + 1).max(context.node.store().oldest_block());
    match context.filters.poll(id.to(), head)? {
        Poll::Pending(hashes) => reply(Changes::Hashes(hashes)),
        Poll::Blocks { seen } => {
            let mut hashes = Vec::new();
            for number in first_after(seen)..=head {
                hashes.extend(context.find_block(number.into())?.map(|block| block.hash));
            }
            reply(Changes::Hashes(hashes))
        }
        Poll::Logs { seen, filter } => {
            let (first, last) = clip(context, &filter, first_after(seen), head);
            let found = if first > last {
                Vec::new()
            } else {
                logs::find_between(context, &filter, first, last)?
            };
            reply(Changes::Logs(found))
        }
    }
}

/// The part of a block range that is within the filter's own range.
fn clip(context: &RpcContext, filter: &Filter, first: u64, last: u64) -> (u64, u64) {
    match filter.block_option {
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let from = from_block.and_then(|from| from.as_number());
            let to = to_block.filter(BlockNumberOrTag::is_number);
            (
                first.max(from.unwrap_or_default()),
                last.min(to.map_or(u64::MAX, |to| context.number_of(to))),
            )
        }
        FilterBlockOption::AtBlockHash(_) => (first, last),
    }
}
