//! Methods that submit transactions.

use crate::rpc::{
    context::RpcContext,
    format,
    message::{Call, Params, Reply, Request, RpcError, reply, string, write_response},
    method::{catch_panic, record_call},
};
use alloy_primitives::{B256, Bytes, hex};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::error::TryRecvError;

const METHOD: &str = "eth_sendRawTransaction";

pub(crate) fn send_raw_transaction(context: &RpcContext, params: &Params<'_>) -> Reply {
    let raw = encoded(params)?;
    reply(submit(context, &raw)?)
}

fn submit(context: &RpcContext, raw: &[u8]) -> Result<B256, RpcError> {
    let mut results = context.node.submit(&[raw]);
    Ok(results.pop().expect("one result for one transaction")?)
}

/// The bytes of the first parameter, without copying its text.
fn encoded(params: &Params<'_>) -> Result<Vec<u8>, RpcError> {
    let Some(raw) = params.raw(0) else {
        return Err(RpcError::invalid_params(
            "missing value for required argument 0 (transaction)",
        ));
    };
    let invalid =
        |why: String| RpcError::invalid_params(format!("invalid argument 0 (transaction): {why}"));
    let text = string(raw).map_err(|error| invalid(error.to_string()))?;
    let digits = text.strip_prefix("0x");
    let digits = digits.ok_or_else(|| invalid("hex string without 0x prefix".to_owned()))?;
    hex::decode(digits).map_err(|error| invalid(error.to_string()))
}

/// The bytes of a request; read in one pass if its only parameter is plain hex.
fn encoded_of(request: &Request<'_>) -> Result<Vec<u8>, RpcError> {
    let digits = (request.params)
        .and_then(|params| params.get().strip_prefix("[\"0x"))
        .and_then(|rest| rest.strip_suffix("\"]"));
    match digits.map(hex::decode) {
        Some(Ok(bytes)) => Ok(bytes),
        _ => encoded(&request.params()?),
    }
}

/// Answers the submissions at the start of a batch, checked on many threads; returns their number.
pub(crate) fn answer_submissions(
    context: &RpcContext,
    calls: &[Call<'_>],
    out: &mut String,
) -> usize {
    let requests: Vec<&Request<'_>> = (calls.iter())
        .map_while(|call| call.0.as_ref().ok())
        .take_while(|request| request.method == METHOD)
        .collect();
    // A single one is handled like any other call.
    if requests.len() < 2 {
        return 0;
    }
    let started = Instant::now();
    let mut transactions = Vec::with_capacity(requests.len());
    let decoded: Vec<Result<(), RpcError>> = requests
        .iter()
        .map(|request| {
            transactions.push(encoded_of(request)?);
            Ok(())
        })
        .collect();
    let submitted = catch_panic(|| Ok(context.node.submit(&transactions)));
    let mut submitted = submitted.map(Vec::into_iter);
    let mut is_first = true;
    for (request, decoded) in requests.iter().zip(decoded) {
        let reply: Reply = decoded.and_then(|()| match &mut submitted {
            Ok(results) => reply(results.next().expect("one result for each transaction")?),
            Err(failed) => Err(failed.clone()),
        });
        if request.id.is_none() {
            continue;
        }
        if !is_first {
            out.push(',');
        }
        is_first = false;
        write_response(out, request.id, &reply);
    }
    record_call(METHOD, started, true);
    requests.len()
}

/// How long `eth_sendRawTransactionSync` waits by default.
const SYNC_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between two checks.
const SYNC_PAUSE: Duration = Duration::from_millis(5);

/// Submits a transaction and waits for its receipt (EIP-7966).
pub(crate) fn send_raw_transaction_sync(context: &RpcContext, params: &Params<'_>) -> Reply {
    let raw: Bytes = params.required(0, "transaction")?;
    let wanted: Option<u64> = params.optional(1, "timeout in milliseconds")?;
    let timeout = wanted.map_or(SYNC_TIMEOUT, Duration::from_millis);
    let timeout = timeout.min(context.config.call_timeout);
    let mut blocks = context.node.events().blocks();
    let hash = submit(context, &raw)?;
    let started = Instant::now();
    loop {
        if let Some((block, index)) = context.find_transaction(hash)? {
            return reply(format::receipt(&context.node, &block, index));
        }
        if started.elapsed() >= timeout {
            return Err(RpcError {
                data: Some(serde_json::Value::String(hash.to_string())),
                ..RpcError::new(
                    4,
                    "the transaction was added to the mempool but wasn't processed in time",
                )
            });
        }
        match blocks.try_recv() {
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(_) => std::thread::sleep(SYNC_PAUSE),
        }
    }
}
