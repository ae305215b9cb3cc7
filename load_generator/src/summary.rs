//! The figures of a run.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies in milliseconds, from the intended send time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

impl Latency {
    /// Of a histogram in microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "latencies are far below 2^52 microseconds"
        )]
        let at = |quantile: f64| histogram.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// What `--json` writes. `sent` = `included` + `failed` + `lost`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Transactions handed to the node at least once.
    pub sent: u64,
    /// In a block and successful.
    pub included: u64,
    /// Refused to the end, or in a block and reverted.
    pub failed: u64,
    /// Neither refused nor in a block when the run's patience ended.
    pub lost: u64,
    /// From the first intended send time to the last inclusion.
    pub seconds: f64,
    /// Included transactions a second.
    pub tps: f64,
    /// Gas used a second, of the run's own transactions.
    pub gas_per_s: f64,
    /// To inclusion, from the intended send time.
    pub latency_ms: Latency,
}
