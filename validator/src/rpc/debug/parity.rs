//! `trace_block` and `trace_transaction`: traces in Parity's format.

use super::trace::TRACE_TIMEOUT_MAX;
use crate::rpc::{
    context::RpcContext,
    message::{Params, Reply, RpcError, reply},
    scratch::{Deadline, Rerun, refused},
};
use alloy_eips::BlockId;
use alloy_rpc_types_eth::TransactionInfo;
use alloy_rpc_types_trace::parity::LocalizedTransactionTrace;
use revm_inspectors::tracing::{TracingInspector, TracingInspectorConfig};
use std::time::Duration;

/// Executes the next transaction and returns its traces.
fn trace_one(
    rerun: &mut Rerun,
    index: usize,
    timeout: Duration,
) -> Result<Vec<LocalizedTransactionTrace>, RpcError> {
    let transaction = rerun.transaction(index);
    let mut inspector = TracingInspector::new(TracingInspectorConfig::default_parity());
    let mut deadline = Deadline::within(timeout);
    let gas = transaction.gas_limit;
    let result = rerun
        .scene
        .inspect(transaction.clone(), (&mut deadline, &mut inspector))
        .map_err(|error| refused(error, gas))?;
    deadline.check()?;
    inspector.set_transaction_gas_limit(transaction.gas_limit);
    inspector.set_transaction_caller(transaction.caller);
    let place = TransactionInfo {
        hash: Some(rerun.block.transactions[index].hash()),
        index: Some(index as u64),
        block_hash: Some(rerun.block.hash),
        block_number: Some(rerun.block.number()),
        base_fee: rerun.block.header.base_fee_per_gas,
        ..TransactionInfo::default()
    };
    rerun.keep(index, result)?;
    let builder = inspector.into_parity_builder();
    Ok(builder.into_localized_transaction_traces(place))
}

pub(crate) fn trace_transaction(context: &RpcContext, params: &Params<'_>) -> Reply {
    let hash = params.hash(0, "transaction hash")?;
    let Some((block, index)) = context.find_transaction(hash)? else {
        return reply(());
    };
    let mut rerun = Rerun::begin(context, block)?;
    rerun.skip_to(index)?;
    reply(trace_one(&mut rerun, index, context.config.call_timeout)?)
}

pub(crate) fn trace_block(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let Some(block) = context.find_block(id)? else {
        return reply(());
    };
    let whole = Deadline::within(TRACE_TIMEOUT_MAX);
    let mut rerun = Rerun::begin(context, block)?;
    let mut traces = Vec::new();
    for index in 0..rerun.block.transactions.len() {
        whole.check()?;
        traces.extend(trace_one(&mut rerun, index, context.config.call_timeout)?);
    }
    reply(traces)
}
