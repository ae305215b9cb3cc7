//! What a method is, what it costs, and how it is called.

use super::{
    context::RpcContext,
    message::{Params, Reply, RpcError},
};
use std::{
    panic::{self, AssertUnwindSafe},
    time::Instant,
};

pub(crate) type Method = fn(&RpcContext, &Params<'_>) -> Reply;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cost {
    /// Some microseconds: runs on the thread that read the request.
    Light,
    /// Reads much: runs on a blocking thread, as one of a limited number.
    Heavy,
    /// Executes code that the client chose: the same, with a lower limit.
    Execution,
}

/// Turns a panic in a call into an error, so that it ends neither the batch nor the connection.
pub(crate) fn catch_panic<T>(call: impl FnOnce() -> Result<T, RpcError>) -> Result<T, RpcError> {
    // Shared state stays consistent: it is behind locks whose holders leave it whole, or it is not read again.
    panic::catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(RpcError::internal(
            "the call failed in the node, which is a bug; its log says where",
        ))
    })
}

/// Records a call. `method` must exist, so that clients cannot invent labels.
pub(crate) fn record_call(method: &str, started: Instant, is_ok: bool) {
    let outcome = if is_ok { "ok" } else { "error" };
    let method = method.to_owned();
    metrics::histogram!("lockweave_rpc_seconds", "method" => method, "outcome" => outcome)
        .record(started.elapsed().as_secs_f64());
}
