//! From a request's text to a response's: which method, on which thread, within which limits.

use super::{
    block_access_list, blocks, calls,
    context::RpcContext,
    error::{self, RpcError},
    fees, filters, fork_config, lockweave, logs,
    message::{Body, Call, Params, Reply, Request, write_response},
    misc, send, simulate, state,
    subscriptions::Session,
    trace, txpool,
};
use axum::body::Bytes;
use self_cell::self_cell;
use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    time::Instant,
};

/// A method.
type Method = fn(&RpcContext, &Params<'_>) -> Reply;

/// How much a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    /// Some microseconds: answered where the request was read.
    Light,
    /// Reads much: on a thread that may block, as one of a bounded number.
    Heavy,
    /// Runs code that the client chose: the same, but fewer at a time.
    Execution,
}

/// The method of a name.
fn find(name: &str) -> Option<(Method, Cost)> {
    use Cost::{Execution, Heavy, Light};
    Some(match name {
        "eth_accounts" => (misc::accounts, Light),
        "eth_baseFee" => (fees::base_fee, Light),
        "eth_blobBaseFee" => (fees::blob_base_fee, Light),
        "eth_blockNumber" => (blocks::block_number, Light),
        "eth_call" => (calls::call, Execution),
        "eth_capabilities" => (misc::capabilities, Light),
        "eth_chainId" => (misc::chain_id, Light),
        "eth_config" => (fork_config::config, Heavy),
        "eth_createAccessList" => (calls::create_access_list, Execution),
        "eth_estimateGas" => (calls::estimate_gas, Execution),
        "eth_feeHistory" => (fees::fee_history, Heavy),
        "eth_gasPrice" => (fees::gas_price, Light),
        "eth_getAccount" => (state::get_account, Heavy),
        "eth_getBalance" => (state::get_balance, Light),
        "eth_getBlockAccessList" => (block_access_list::get, Execution),
        "eth_getBlockByHash" => (blocks::get_block_by_hash, Heavy),
        "eth_getBlockByNumber" => (blocks::get_block_by_number, Heavy),
        "eth_getBlockReceipts" => (blocks::block_receipts, Heavy),
        "eth_getBlockTransactionCountByHash" => (blocks::transaction_count_by_hash, Light),
        "eth_getBlockTransactionCountByNumber" => (blocks::transaction_count_by_number, Light),
        "eth_getCode" => (state::get_code, Light),
        "eth_getFilterChanges" => (filters::get_filter_changes, Heavy),
        "eth_getFilterLogs" => (filters::get_filter_logs, Heavy),
        "eth_getLogs" => (logs::get_logs, Heavy),
        "eth_getProof" => (state::get_proof, Heavy),
        "eth_getRawTransactionByHash" | "debug_getRawTransaction" => {
            (blocks::raw_transaction_by_hash, Light)
        }
        "eth_getStorageAt" => (state::get_storage_at, Light),
        "eth_getStorageValues" => (state::get_storage_values, Light),
        "eth_getTransactionByBlockHashAndIndex" => (blocks::transaction_by_hash_and_index, Light),
        "eth_getTransactionByBlockNumberAndIndex" => {
            (blocks::transaction_by_number_and_index, Light)
        }
        "eth_getTransactionByHash" => (blocks::transaction_by_hash, Light),
        "eth_getTransactionCount" => (state::get_transaction_count, Light),
        "eth_getTransactionReceipt" => (blocks::transaction_receipt, Light),
        "eth_getUncleByBlockHashAndIndex" => (blocks::uncle_by_hash, Light),
        "eth_getUncleByBlockNumberAndIndex" => (blocks::uncle_by_number, Light),
        "eth_getUncleCountByBlockHash" => (blocks::uncle_count_by_hash, Light),
        "eth_getUncleCountByBlockNumber" => (blocks::uncle_count_by_number, Light),
        "eth_maxPriorityFeePerGas" => (fees::max_priority_fee, Light),
        "eth_mining" => (misc::mining, Light),
        "eth_newBlockFilter" => (filters::new_block_filter, Light),
        "eth_newFilter" => (filters::new_filter, Light),
        "eth_newPendingTransactionFilter" => (filters::new_pending_transaction_filter, Light),
        "eth_sendRawTransaction" => (send::send_raw_transaction, Light),
        "eth_sendRawTransactionSync" => (send::send_raw_transaction_sync, Heavy),
        "eth_simulateV1" => (simulate::simulate, Execution),
        "eth_syncing" => (misc::syncing, Light),
        "eth_uninstallFilter" => (filters::uninstall_filter, Light),
        "debug_getRawBlock" => (blocks::raw_block, Heavy),
        "debug_getRawHeader" => (blocks::raw_header, Light),
        "debug_getRawReceipts" => (blocks::raw_receipts, Heavy),
        "debug_traceBlockByHash" | "debug_traceBlockByNumber" => (trace::trace_block, Execution),
        "debug_traceCall" => (trace::trace_call, Execution),
        "debug_traceTransaction" => (trace::trace_transaction, Execution),
        "trace_block" => (trace::parity_block, Execution),
        "trace_transaction" => (trace::parity_transaction, Execution),
        "txpool_content" => (txpool::content, Heavy),
        "txpool_contentFrom" => (txpool::content_from, Heavy),
        "txpool_inspect" => (txpool::inspect, Heavy),
        "txpool_status" => (txpool::status, Light),
        "net_listening" => (misc::listening, Light),
        "eth_hashrate" | "net_peerCount" => (misc::zero, Light),
        "net_version" => (misc::net_version, Light),
        "web3_clientVersion" => (misc::web3_client_version, Light),
        "web3_sha3" => (misc::sha3, Light),
        "rpc_modules" => (misc::rpc_modules, Light),
        "lockweave_declareAccess" => (lockweave::declare_access, Execution),
        "lockweave_explainBlock" => (lockweave::explain_block, Heavy),
        "lockweave_transactionStatus" => (lockweave::transaction_status, Light),
        _ => return None,
    })
}

/// Calls of a batch that are answered where it was read, if all of them are light.
const LIGHT_BATCH_MAX: usize = 16;

self_cell! {
    /// What a client sent, and what was read in it.
    pub(super) struct Incoming {
        owner: Bytes,
        #[covariant]
        dependent: Parsed,
    }
}

type Parsed<'a> = Result<Body<'a>, RpcError>;

impl Incoming {
    /// Reads what a client sent.
    pub(super) fn read(body: Bytes) -> Self {
        Self::new(body, |body| Body::parse(body))
    }

    /// Whether answering it may take long.
    pub(super) fn cost(&self) -> Cost {
        let cost_of = |call: &Call<'_>| {
            let method = call.0.as_ref().ok();
            let method = method.and_then(|request| find(&request.method));
            method.map_or(Cost::Light, |(_, cost)| cost)
        };
        match self.borrow_dependent() {
            Ok(Body::Single(call)) => cost_of(call),
            Ok(Body::Batch(calls)) => {
                let dearest = calls.iter().map(cost_of).max().unwrap_or(Cost::Light);
                let long = calls.len() > LIGHT_BATCH_MAX;
                dearest.max(if long { Cost::Heavy } else { Cost::Light })
            }
            Err(_) => Cost::Light,
        }
    }
}

/// Answers every call with this error.
pub(super) fn refuse(incoming: &Incoming, error: &RpcError) -> String {
    let mut out = String::new();
    let refusal: Reply = Err(error.clone());
    match incoming.borrow_dependent() {
        Ok(Body::Single(call)) => write_response(&mut out, call.id(), &refusal),
        Ok(Body::Batch(calls)) => {
            for (place, call) in calls.iter().enumerate() {
                out.push(if place == 0 { '[' } else { ',' });
                write_response(&mut out, call.id(), &refusal);
            }
            out.push(']');
        }
        Err(_) => write_response(&mut out, None, &refusal),
    }
    out
}

/// Answers what a client sent; `None` if it has nothing but notifications.
pub(super) fn answer(
    context: &RpcContext,
    incoming: &Incoming,
    session: Option<&Arc<Session>>,
) -> Option<String> {
    let refuse = |error: RpcError| {
        let mut out = String::new();
        write_response(&mut out, None, &Err(error));
        Some(out)
    };
    match incoming.borrow_dependent() {
        Err(error) => refuse(error.clone()),
        Ok(Body::Single(call)) => {
            let mut out = String::new();
            answer_one(context, call, session, &mut out);
            (!out.is_empty()).then_some(out)
        }
        Ok(Body::Batch(calls)) if calls.is_empty() => {
            refuse(RpcError::new(error::INVALID_REQUEST, "empty batch"))
        }
        Ok(Body::Batch(calls)) if calls.len() > context.config.batch_calls_max => {
            refuse(RpcError::limit(format!(
                "batch too large: {} calls, at most {} are answered at once",
                calls.len(),
                context.config.batch_calls_max
            )))
        }
        Ok(Body::Batch(calls)) => answer_batch(context, calls, session),
    }
}

fn answer_batch(
    context: &RpcContext,
    calls: &[Call<'_>],
    session: Option<&Arc<Session>>,
) -> Option<String> {
    let mut out = String::from("[");
    let mut at = 0;
    while at < calls.len() {
        if out.len() > 1 && !out.ends_with(',') {
            out.push(',');
        }
        let sent = send::answer_run(context, &calls[at..], &mut out);
        if sent > 0 {
            at += sent;
        } else if out.len() > context.config.response_bytes_max {
            write_response(&mut out, calls[at].id(), &Err(too_large(context)));
            at += 1;
        } else {
            answer_one(context, &calls[at], session, &mut out);
            at += 1;
        }
    }
    if out.ends_with(',') {
        out.pop();
    }
    if out.len() == 1 {
        return None;
    }
    out.push(']');
    Some(out)
}

fn too_large(context: &RpcContext) -> RpcError {
    RpcError::limit(format!(
        "response too large: over {} bytes; ask for less at once",
        context.config.response_bytes_max
    ))
}

/// Answers one request; nothing is written for a notification.
fn answer_one(
    context: &RpcContext,
    call: &Call<'_>,
    session: Option<&Arc<Session>>,
    out: &mut String,
) {
    let request = match &call.0 {
        Ok(request) => request,
        Err(none) => return write_response(out, call.id(), &Err(none.into())),
    };
    let mut reply = run(context, request, session);
    if let Ok(result) = &reply
        && result.get().len() > context.config.response_bytes_max
    {
        reply = Err(too_large(context));
    }
    if request.id.is_some() {
        write_response(out, request.id, &reply);
    }
}

fn run(context: &RpcContext, request: &Request<'_>, session: Option<&Arc<Session>>) -> Reply {
    let name = &*request.method;
    let started = Instant::now();
    match name {
        "eth_subscribe" | "eth_unsubscribe" => match session {
            Some(session) if name == "eth_subscribe" => {
                session.subscribe(context, &request.params()?)
            }
            Some(session) => session.unsubscribe(&request.params()?),
            None => Err(RpcError::new(
                error::METHOD_NOT_FOUND,
                "notifications not supported: subscribe over WebSocket",
            )),
        },
        _ => match find(name) {
            Some((method, _)) => {
                let reply = guarded(|| method(context, &request.params()?));
                note(name, started, reply.is_ok());
                reply
            }
            None => Err(unknown_method(name)),
        },
    }
}

/// A call's answer; a panic in it is an error like others, and ends neither the batch nor the connection.
pub(super) fn guarded<T>(call: impl FnOnce() -> Result<T, RpcError>) -> Result<T, RpcError> {
    // What is shared is behind locks whose holders leave it whole, or is not read again.
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(RpcError::internal(
            "the call failed in the node, which is a bug; its log says where",
        ))
    })
}

fn unknown_method(name: &str) -> RpcError {
    let hint = match name {
        "eth_sendTransaction"
        | "eth_sign"
        | "eth_signTransaction"
        | "eth_signTypedData_v4"
        | "personal_sign"
        | "personal_sendTransaction"
        | "personal_unlockAccount" => {
            ": the node keeps no keys; sign in the client or its wallet, and send with \
             eth_sendRawTransaction"
        }
        _ => "",
    };
    let message = format!("the method {name} does not exist/is not available{hint}");
    RpcError::new(error::METHOD_NOT_FOUND, message)
}

/// Counts a call of a method that exists, so that nobody can make up labels.
pub(super) fn note(method: &str, started: Instant, is_ok: bool) {
    let outcome = if is_ok { "ok" } else { "error" };
    let method = method.to_owned();
    metrics::histogram!("lockweave_rpc_seconds", "method" => method, "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}
