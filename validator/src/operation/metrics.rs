//! Prometheus metrics and health, on a port of their own.

use crate::node::{INFERENCE_COUNTERS, Node};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle, time};

/// Why metrics cannot be served.
#[derive(Debug, Error)]
pub enum MetricsError {
    /// The port is not available.
    #[error("cannot serve metrics on {address}: {source}; choose another --metrics.port")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Another metrics recorder is installed.
    #[error("metrics cannot be collected: {0}")]
    Recorder(#[from] BuildError),
}

/// Upper ends of the histograms' buckets, in seconds.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0,
];
/// How often old samples are aggregated.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves metrics and health until it is dropped.
#[derive(Debug)]
pub struct OperationServer {
    address: SocketAddr,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Clone)]
struct Served {
    node: Arc<Node>,
    metrics: PrometheusHandle,
}

impl OperationServer {
    /// Starts to collect and serve metrics. Must be called within a Tokio runtime, once in a process.
    pub async fn start(address: SocketAddr, node: Arc<Node>) -> Result<Self, MetricsError> {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?;
        let metrics = builder.install_recorder()?;
        describe();
        let bind = |source| MetricsError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let served = Served {
            node,
            metrics: metrics.clone(),
        };
        let app = Router::new()
            .route("/metrics", get(show_metrics))
            .route("/health", get(ready))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .with_state(served);
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        let upkeep = tokio::spawn(async move {
            let mut ticks = time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                metrics.run_upkeep();
            }
        });
        Ok(Self {
            address,
            tasks: [serving, upkeep],
        })
    }

    /// The address that it listens on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OperationServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn show_metrics(State(served): State<Served>) -> Response {
    let status = served.node.pool().status();
    gauge("lockweave_pool_pending", status.pending);
    gauge("lockweave_pool_queued", status.queued);
    let memory = [
        ("lockweave_process_resident_bytes", "VmRSS:"),
        ("lockweave_process_anonymous_bytes", "RssAnon:"),
    ];
    let process = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, field) in memory {
        if let Some(bytes) = memory_bytes(&process, field) {
            gauge(name, bytes);
        }
    }
    let content = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (content, served.metrics.render()).into_response()
}

/// A field of `/proc/self/status`, in bytes.
fn memory_bytes(process: &str, field: &str) -> Option<usize> {
    let line = process.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
fn gauge(name: &'static str, value: usize) {
    metrics::gauge!(name).set(value as f64);
}

/// Whether the process responds.
async fn live() -> &'static str {
    "live\n"
}

/// Whether the node can make blocks.
async fn ready(State(served): State<Served>) -> Response {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if let Some(failure) = served.node.failure() {
        return unavailable(format!("no blocks are made: {failure}\n"));
    }
    match served.node.storage_failure() {
        Some(failure) => unavailable(format!("blocks wait for the storage: {failure}\n")),
        None => "ready\n".into_response(),
    }
}

/// Describes the counters of access inference.
fn describe_inference() {
    describe_counter!(
        "lockweave_sets_extended_total",
        Unit::Count,
        "Transactions that got keys beyond their access set at once"
    );
    describe_counter!(
        "lockweave_access_violations_total",
        Unit::Count,
        "Transactions that left their access set and had to be run again"
    );
    describe_counter!(
        "lockweave_sets_known_total",
        Unit::Count,
        "Access sets that follow from the transaction alone"
    );
    describe_counter!(
        "lockweave_sets_by_template_total",
        Unit::Count,
        "Access sets found by template"
    );
    describe_counter!(
        "lockweave_sets_by_simulation_total",
        Unit::Count,
        "Access sets found by simulation"
    );
    describe_counter!(
        "lockweave_simulations_taken_total",
        Unit::Count,
        "Simulations that were taken as executions"
    );
    describe_counter!(
        "lockweave_rolled_back_total",
        Unit::Count,
        "Transactions taken back because one before them left its access set"
    );
    describe_counter!(
        "lockweave_ran_alone_total",
        Unit::Count,
        "Transactions that were executed alone"
    );
    describe_counter!(
        "lockweave_payments_without_locks_total",
        Unit::Count,
        "Payments that ran without locks, in blocks of hardly anything else"
    );
}

/// Describes the metrics.
pub fn describe() {
    describe_inference();
    describe_counter!(
        "lockweave_transactions_total",
        Unit::Count,
        "Transactions in blocks made here"
    );
    describe_counter!(
        "lockweave_gas_total",
        Unit::Count,
        "Gas used by blocks made here"
    );
    describe_counter!("lockweave_blocks_total", Unit::Count, "Blocks made here");
    describe_counter!(
        "lockweave_lock_waits_total",
        Unit::Count,
        "Transactions that waited for a lock"
    );
    describe_counter!(
        "lockweave_window_full_total",
        Unit::Count,
        "Times the lock window was full"
    );
    describe_counter!(
        "lockweave_worker_tasks_total",
        Unit::Count,
        "Transactions run, by worker"
    );
    describe_counter!(
        "lockweave_rejected_total",
        Unit::Count,
        "Transactions refused at the door"
    );
    describe_gauge!(
        "lockweave_head_block",
        Unit::Count,
        "Number of the newest durable block"
    );
    describe_gauge!(
        "lockweave_base_fee_wei",
        Unit::Count,
        "Base fee of the newest block"
    );
    describe_gauge!(
        "lockweave_pool_pending",
        Unit::Count,
        "Transactions waiting for a block"
    );
    describe_gauge!(
        "lockweave_pool_queued",
        Unit::Count,
        "Transactions waiting behind a nonce gap"
    );
    describe_gauge!(
        "lockweave_process_resident_bytes",
        Unit::Bytes,
        "Memory of the process in RAM, with what is mapped from files"
    );
    describe_gauge!(
        "lockweave_process_anonymous_bytes",
        Unit::Bytes,
        "Memory of the process in RAM that is its own"
    );
    describe_gauge!("lockweave_rpc_connections", Unit::Count, "Open connections");
    describe_histogram!(
        "lockweave_block_inference_seconds",
        Unit::Seconds,
        "Finding out what a block's transactions touch, all workers together"
    );
    describe_histogram!(
        "lockweave_block_execute_seconds",
        Unit::Seconds,
        "Executing a block, inference included"
    );
    describe_histogram!(
        "lockweave_block_commit_seconds",
        Unit::Seconds,
        "Making a block durable"
    );
    describe_histogram!(
        "lockweave_fsync_seconds",
        Unit::Seconds,
        "One sync of a file of the chain"
    );
    // Counters of events that have not happened yet are zero instead of absent.
    let zero = INFERENCE_COUNTERS
        .into_iter()
        .chain(["lockweave_rejected_total"]);
    for name in zero {
        metrics::counter!(name).increment(0);
    }
    describe_histogram!(
        "lockweave_rpc_seconds",
        Unit::Seconds,
        "Answering a call, by method and outcome"
    );
}
