//! Prometheus metrics and health, on a port of their own.

use super::health::health_pages;
use crate::{
    network::Network,
    node::{INFERENCE_COUNTERS, Node},
};
use axum::{
    Router,
    extract::State,
    http::header,
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
    network: Option<Arc<Network>>,
    metrics: PrometheusHandle,
}

impl OperationServer {
    /// Starts to collect and serve metrics. Must be called within a Tokio runtime, once in a process.
    pub async fn start(
        address: SocketAddr,
        node: Arc<Node>,
        network: Option<Arc<Network>>,
    ) -> Result<Self, MetricsError> {
        let seconds = Matcher::Suffix("_seconds".to_owned());
        let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS)?;
        let metrics = builder.install_recorder()?;
        describe();
        let bind = |source| MetricsError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let pages = health_pages(Arc::clone(&node), network.clone());
        let served = Served {
            node,
            network,
            metrics: metrics.clone(),
        };
        let app = Router::new()
            .route("/metrics", get(show_metrics))
            .with_state(served)
            .merge(pages);
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
    let mut text = served.metrics.render();
    if let Some(network) = &served.network {
        // The engine below has its own registry, which ends with a mark that may be there once.
        text.push_str(network.metrics().trim_end_matches("# EOF\n"));
    }
    (content, text).into_response()
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

/// Counters and what they count.
const COUNTERS: [(&str, &str); 20] = [
    (
        "lockweave_proposals_rejected_total",
        "Proposals that got no vote from this node, by reason",
    ),
    (
        "lockweave_consensus_votes_total",
        "Votes of validators that were seen",
    ),
    (
        "lockweave_consensus_timeouts_total",
        "Views that ended without a block",
    ),
    (
        "lockweave_consensus_evidence_total",
        "Contradicting votes of one validator that were seen",
    ),
    (
        "lockweave_sets_extended_total",
        "Transactions that got keys beyond their access set at once",
    ),
    (
        "lockweave_access_violations_total",
        "Transactions that left their access set and had to be run again",
    ),
    (
        "lockweave_sets_known_total",
        "Access sets that follow from the transaction alone",
    ),
    (
        "lockweave_sets_by_template_total",
        "Access sets found by template",
    ),
    (
        "lockweave_sets_by_simulation_total",
        "Access sets found by simulation",
    ),
    (
        "lockweave_simulations_taken_total",
        "Simulations that were taken as executions",
    ),
    (
        "lockweave_rolled_back_total",
        "Transactions taken back because one before them left its access set",
    ),
    (
        "lockweave_ran_alone_total",
        "Transactions that were executed alone",
    ),
    (
        "lockweave_payments_without_locks_total",
        "Payments that ran without locks, in blocks of hardly anything else",
    ),
    (
        "lockweave_transactions_total",
        "Transactions in blocks made here",
    ),
    ("lockweave_gas_total", "Gas used by blocks made here"),
    ("lockweave_blocks_total", "Blocks made here"),
    (
        "lockweave_lock_waits_total",
        "Transactions that waited for a lock",
    ),
    (
        "lockweave_window_full_total",
        "Times the lock window was full",
    ),
    (
        "lockweave_worker_tasks_total",
        "Transactions run, by worker",
    ),
    (
        "lockweave_rejected_total",
        "Transactions refused at the door",
    ),
];

/// Gauges, their units, and what they show.
const GAUGES: [(&str, Unit, &str); 9] = [
    (
        "lockweave_consensus_view",
        Unit::Count,
        "The current view of the network",
    ),
    (
        "lockweave_trie_memory_bytes",
        Unit::Bytes,
        "Memory of the state trie's nodes (--trie-memory)",
    ),
    (
        "lockweave_head_block",
        Unit::Count,
        "Number of the newest durable block",
    ),
    (
        "lockweave_base_fee_wei",
        Unit::Count,
        "Base fee of the newest block",
    ),
    (
        "lockweave_pool_pending",
        Unit::Count,
        "Transactions waiting for a block",
    ),
    (
        "lockweave_pool_queued",
        Unit::Count,
        "Transactions waiting behind a nonce gap",
    ),
    (
        "lockweave_process_resident_bytes",
        Unit::Bytes,
        "Memory of the process in RAM, with what is mapped from files",
    ),
    (
        "lockweave_process_anonymous_bytes",
        Unit::Bytes,
        "Memory of the process in RAM that is its own",
    ),
    ("lockweave_rpc_connections", Unit::Count, "Open connections"),
];

/// Histograms and the times in them.
const HISTOGRAMS: [(&str, &str); 9] = [
    (
        "lockweave_finality_seconds",
        "From the beginning of this node's proposals to their finality, durable here",
    ),
    (
        "lockweave_proposal_seconds",
        "Executing a block to propose it, with access list and state root",
    ),
    (
        "lockweave_verification_seconds",
        "Executing a proposal by its access list and checking it",
    ),
    (
        "lockweave_block_inference_seconds",
        "Finding out what a block's transactions touch, all workers together",
    ),
    (
        "lockweave_block_execute_seconds",
        "Executing a block, inference included",
    ),
    (
        "lockweave_block_root_seconds",
        "Computing a block's state root",
    ),
    ("lockweave_block_commit_seconds", "Making a block durable"),
    ("lockweave_fsync_seconds", "One sync of a file of the chain"),
    (
        "lockweave_rpc_seconds",
        "Answering a call, by method and outcome",
    ),
];

/// Describes the metrics.
pub fn describe() {
    for (name, text) in COUNTERS {
        describe_counter!(name, Unit::Count, text);
    }
    for (name, unit, text) in GAUGES {
        describe_gauge!(name, unit, text);
    }
    for (name, text) in HISTOGRAMS {
        describe_histogram!(name, Unit::Seconds, text);
    }
    // Counters of events that have not happened yet are zero instead of absent.
    let zero = INFERENCE_COUNTERS
        .into_iter()
        .chain(["lockweave_rejected_total"]);
    for name in zero {
        metrics::counter!(name).increment(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_dashboards_ask_for_metrics_that_are_described() {
        let described: BTreeSet<&str> = (COUNTERS.iter().map(|(name, _)| *name))
            .chain(GAUGES.iter().map(|(name, ..)| *name))
            .chain(HISTOGRAMS.iter().map(|(name, _)| *name))
            .chain(INFERENCE_COUNTERS)
            .collect();
        let dashboards = [
            include_str!("../../dashboards/validator.json"),
            include_str!("../../dashboards/network.json"),
        ];
        for dashboard in dashboards {
            let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let words = dashboard.split(|character| !is_part(character));
            let asked: BTreeSet<&str> = words
                .filter(|word| word.starts_with("lockweave_"))
                .map(|word| {
                    let base = ["_bucket", "_count"].iter();
                    let mut base = base.filter_map(|suffix| word.strip_suffix(suffix));
                    base.next().unwrap_or(word)
                })
                .collect();
            assert!(asked.len() >= 8, "{asked:?}");
            let missing: Vec<_> = asked.difference(&described).collect();
            assert!(missing.is_empty(), "not described: {missing:?}");
        }
    }
}
