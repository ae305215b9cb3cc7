//! `debug_trace*`: what happened inside transactions.

use crate::{
    chain::ChainBlock,
    rpc::{
        context::RpcContext,
        message::{Params, Reply, RpcError, reply},
        scratch::{CallResult, Deadline, Rerun, Scene, refused},
    },
};
use alloy_eips::BlockId;
use alloy_primitives::U256;
use alloy_rpc_types_eth::TransactionRequest;
use alloy_rpc_types_trace::geth::{
    GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace, TraceResult,
};
use revm::context::TxEnv;
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use std::{sync::Arc, time::Duration};

/// Upper limit of the time that a trace may take.
pub(crate) const TRACE_TIMEOUT_MAX: Duration = Duration::from_secs(30);

impl Rerun {
    /// Executes the next transaction with a tracer and keeps its changes.
    fn debug(
        &mut self,
        index: usize,
        options: &GethDebugTracingOptions,
        timeout: Duration,
    ) -> Result<GethTrace, RpcError> {
        let transaction = self.transaction(index);
        let place = TransactionContext {
            block_hash: Some(self.block.hash),
            tx_index: Some(index),
            tx_hash: Some(self.block.transactions[index].hash()),
        };
        let (mut trace, result) =
            debug_one(&mut self.scene, &transaction, Some(place), options, timeout)?;
        if let (GethTrace::CallTracer(frame), Some(reason)) =
            (&mut trace, self.block.failure(index))
        {
            frame.error = Some(reason.to_owned());
            frame.gas_used = U256::from(transaction.gas_limit);
            frame.output = None;
        }
        self.keep(index, result)?;
        Ok(trace)
    }
}

/// Executes a transaction with a tracer.
fn debug_one(
    scene: &mut Scene,
    transaction: &TxEnv,
    place: Option<TransactionContext>,
    options: &GethDebugTracingOptions,
    timeout: Duration,
) -> Result<(GethTrace, CallResult), RpcError> {
    let invalid = |error: String| RpcError::invalid_params(format!("invalid tracer: {error}"));
    let mut inspector =
        DebugInspector::new(options.clone()).map_err(|error| invalid(error.to_string()))?;
    let mut deadline = Deadline::within(timeout);
    let gas = transaction.gas_limit;
    let result = scene
        .inspect(transaction.clone(), (&mut deadline, &mut inspector))
        .map_err(|error| refused(error, gas))?;
    deadline.check()?;
    let block = scene.block.clone();
    let trace = inspector
        .get_result(place, transaction, &block, &result, &mut scene.scratch)
        .map_err(|error| RpcError::internal(error.to_string()))?;
    Ok((trace, result))
}

/// The timeout that the client requests, within the limits.
fn timeout_of(context: &RpcContext, options: &GethDebugTracingOptions) -> Duration {
    let wanted = options.timeout.as_deref().and_then(parse_duration);
    wanted
        .unwrap_or(context.config.call_timeout)
        .min(TRACE_TIMEOUT_MAX)
}

/// A duration as Go writes simple ones: `5s`, `300ms`, `1m`.
fn parse_duration(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic())?;
    let number: u64 = text[..unit].parse().ok()?;
    match &text[unit..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    }
}

fn find(context: &RpcContext, params: &Params<'_>) -> Result<(Arc<ChainBlock>, usize), RpcError> {
    let hash = params.hash(0, "transaction hash")?;
    let found = context.find_transaction(hash)?;
    found.ok_or_else(|| RpcError::server("transaction not found"))
}

pub(crate) fn trace_transaction(context: &RpcContext, params: &Params<'_>) -> Reply {
    let (block, index) = find(context, params)?;
    let options: GethDebugTracingOptions = params.optional(1, "options")?.unwrap_or_default();
    let timeout = timeout_of(context, &options);
    let mut rerun = Rerun::begin(context, block)?;
    rerun.skip_to(index)?;
    reply(rerun.debug(index, &options, timeout)?)
}

pub(crate) fn trace_block(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: BlockId = params.required(0, "block")?;
    let block = context.find_block(id)?;
    let block = block.ok_or_else(|| RpcError::server("block not found"))?;
    let options: GethDebugTracingOptions = params.optional(1, "options")?.unwrap_or_default();
    let timeout = timeout_of(context, &options);
    let whole = Deadline::within(TRACE_TIMEOUT_MAX);
    let mut rerun = Rerun::begin(context, block)?;
    let mut traces = Vec::with_capacity(rerun.block.transactions.len());
    for index in 0..rerun.block.transactions.len() {
        whole.check()?;
        traces.push(TraceResult::Success {
            result: rerun.debug(index, &options, timeout)?,
            tx_hash: Some(rerun.block.transactions[index].hash()),
        });
    }
    reply(traces)
}

pub(crate) fn trace_call(context: &RpcContext, params: &Params<'_>) -> Reply {
    let request: TransactionRequest = params.required(0, "call")?;
    let id: Option<BlockId> = params.optional(1, "block")?;
    let options: GethDebugTracingCallOptions = params.optional(2, "options")?.unwrap_or_default();
    let mut scene = context.scene(id, options.state_overrides, options.block_overrides)?;
    let transaction = scene.transaction(&request, context.config.gas_cap)?;
    let options = options.tracing_options;
    let timeout = timeout_of(context, &options);
    let (trace, _) = debug_one(&mut scene, &transaction, None, &options, timeout)?;
    reply(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        assert_eq!(parse_duration("5s"), Some(Duration::from_secs(5)));
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_mins(2)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("5 parsecs"), None);
    }
}
