//! `eth_getLogs`, and the log queries of filters and subscriptions.

use crate::{
    chain::ChainBlock,
    rpc::{
        context::RpcContext,
        format,
        message::{Params, Reply, RpcError, reply},
    },
};
use alloy_eips::BlockNumberOrTag;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use std::time::Instant;

/// Addresses of one filter, and topics in each position, at most.
const ALTERNATIVES_MAX: usize = 1_000;

pub(crate) fn get_logs(context: &RpcContext, params: &Params<'_>) -> Reply {
    let filter = parse_filter(params)?;
    reply(find(context, &filter)?)
}

/// The filter of the first parameter.
pub(crate) fn parse_filter(params: &Params<'_>) -> Result<Filter, RpcError> {
    if let Some(raw) = params.raw(0) {
        let both: serde_json::Value = serde_json::from_str(raw.get())
            .map_err(|error| RpcError::invalid_params(error.to_string()))?;
        let has = |field: &str| both.get(field).is_some_and(|value| !value.is_null());
        if has("blockHash") && (has("fromBlock") || has("toBlock")) {
            return Err(RpcError::invalid_params(
                "cannot specify both blockHash and fromBlock/toBlock, choose one or the other",
            ));
        }
    }
    let filter: Filter = params.required(0, "filter")?;
    let too_many = filter.address.len() > ALTERNATIVES_MAX
        || filter
            .topics
            .iter()
            .any(|topic| topic.len() > ALTERNATIVES_MAX);
    if too_many {
        return Err(RpcError::invalid_params(format!(
            "a filter may name {ALTERNATIVES_MAX} addresses, and as many topics in each place"
        )));
    }
    Ok(filter)
}

/// The logs that match a filter.
pub(crate) fn find(context: &RpcContext, filter: &Filter) -> Result<Vec<Log>, RpcError> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let block = context.find_block(hash.into())?;
            let block = block.ok_or_else(|| RpcError::server("unknown block"))?;
            let mut found = Vec::new();
            collect_logs(&block, filter, &mut found);
            Ok(found)
        }
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let head = context.node.head().block.number();
            let number = |tag: Option<BlockNumberOrTag>| context.number_of(tag.unwrap_or_default());
            let (from, to) = (number(from_block), number(to_block));
            if from > to {
                return Err(RpcError::invalid_params("invalid block range params"));
            }
            if to > head {
                return Err(RpcError::invalid_params(
                    "block range extends beyond current head block",
                ));
            }
            find_between(context, filter, from, to)
        }
    }
}

/// The logs of the blocks from one to another.
pub(crate) fn find_between(
    context: &RpcContext,
    filter: &Filter,
    from: u64,
    to: u64,
) -> Result<Vec<Log>, RpcError> {
    let blocks = to.saturating_sub(from).saturating_add(1);
    if blocks > context.config.log_blocks_max {
        return Err(RpcError::limit(format!(
            "the block range has {blocks} blocks, at most {} may be asked for at once",
            context.config.log_blocks_max
        )));
    }
    let started = Instant::now();
    let mut found = Vec::new();
    for number in from..=to {
        // The bloom filter rules out most blocks without reading them.
        if let Some(bloom) = context.node.store().bloom(number)
            && !filter.matches_bloom(bloom)
        {
            continue;
        }
        let block = context.block(number.into())?;
        collect_logs(&block, filter, &mut found);
        if found.len() > context.config.logs_max {
            return Err(RpcError::limit(format!(
                "query returned more than {} results; ask for fewer blocks than {from} to {to}, \
                 for instance up to {number}",
                context.config.logs_max
            )));
        }
        if started.elapsed() > context.config.call_timeout {
            return Err(RpcError::limit(format!(
                "query timed out at block {number}; ask for fewer blocks than {from} to {to}"
            )));
        }
    }
    Ok(found)
}

/// Collects the logs of one block that match a filter.
pub(crate) fn collect_logs(block: &ChainBlock, filter: &Filter, found: &mut Vec<Log>) {
    for (index, receipt) in block.receipts.iter().enumerate() {
        if receipt.logs.iter().any(|log| filter.matches(log)) {
            let logs = format::logs(block, index, receipt);
            found.extend(logs.filter(|log| filter.matches(&log.inner)));
        }
    }
}
