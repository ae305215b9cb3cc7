//! Limits of the RPC server.

use crate::config::Http;
use std::{net::SocketAddr, thread, time::Duration};

/// The address and the limits of the server.
#[derive(Clone, Debug)]
pub struct RpcConfig {
    /// Address of HTTP and WebSocket.
    pub address: SocketAddr,
    /// Origins that browsers may call from; all if it contains `*`.
    pub cors_origins: Vec<String>,
    /// Bytes of a request at most.
    pub request_bytes_max: usize,
    /// Bytes of a response at most.
    pub response_bytes_max: usize,
    /// Calls in a batch at most.
    pub batch_calls_max: usize,
    /// HTTP and WebSocket connections at most.
    pub connections_max: usize,
    /// Subscriptions of one connection at most.
    pub subscriptions_per_connection_max: usize,
    /// Installed filters at most.
    pub filters_max: usize,
    /// Gas of a call at most.
    pub gas_cap: u64,
    /// Time a call may take.
    pub call_timeout: Duration,
    /// Calls that read much, running at the same time, at most.
    pub concurrent_calls_max: usize,
    /// Calls that execute code, running at the same time, at most: two for each core by default.
    pub concurrent_executions_max: usize,
    /// Blocks of a log query at most.
    pub log_blocks_max: u64,
    /// Logs of a query at most.
    pub logs_max: usize,
    /// Time in which a client has to send its request, and to read the response.
    pub client_timeout: Duration,
}

impl From<&Http> for RpcConfig {
    fn from(http: &Http) -> Self {
        Self {
            address: SocketAddr::new(http.addr, http.port),
            cors_origins: http.cors.clone(),
            request_bytes_max: http.request_bytes_max,
            response_bytes_max: http.response_bytes_max,
            batch_calls_max: http.batch_calls_max,
            connections_max: http.connections_max,
            gas_cap: http.gas_cap,
            call_timeout: Duration::from_millis(http.call_timeout),
            log_blocks_max: http.log_blocks_max,
            logs_max: http.logs_max,
            subscriptions_per_connection_max: 1_024,
            filters_max: 10_000,
            concurrent_calls_max: 64,
            concurrent_executions_max: thread::available_parallelism()
                .map_or(2, |cores| cores.get().saturating_mul(2)),
            client_timeout: Duration::from_secs(30),
        }
    }
}

impl RpcConfig {
    /// The defaults on an address.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            ..Self::from(&Http::default())
        }
    }
}
