//! What a method is, what it costs, and how it is called.

use super::{
    context::RpcContext,
    message::{Params, Reply, RpcError},
};
use std::{
    panic::{self, AssertUnwindSafe},
    time::Instant,
};

/// A method.
pub(crate) type Method = fn(&RpcContext, &Params<'_>) -> Reply;

/// How much a method takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cost {
    /// Some microseconds: answered where the request was read.
    Light,
    /// Reads much: on a thread that may block, as one of a bounded number.
    Heavy,
    /// Runs code that the client chose: the same, but fewer at a time.
    Execution,
}

/// A call's answer; a panic in it is an error like others, and ends neither the batch nor the connection.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> Result<T, RpcError>) -> Result<T, RpcError> {
    // What is shared is behind locks whose holders leave it whole, or is not read again.
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(RpcError::internal(
            "the call failed in the node, which is a bug; its log says where",
        ))
    })
}

/// Counts a call of a method that exists, so that nobody can make up labels.
pub(crate) fn record_call(method: &str, started: Instant, is_ok: bool) {
    let outcome = if is_ok { "ok" } else { "error" };
    let method = method.to_owned();
    metrics::histogram!("lockweave_rpc_seconds", "method" => method, "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}
