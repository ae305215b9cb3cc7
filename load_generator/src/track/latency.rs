//! Latency percentiles.

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
    /// Maximum.
    pub max: f64,
}

impl Latency {
    /// Percentiles of a histogram in microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self::from_quantiles(|quantile| histogram.value_at_quantile(quantile))
    }

    /// Percentiles of sorted values in microseconds, each with its count.
    pub fn of_counts(counts: &[(u64, u64)]) -> Self {
        Self::from_quantiles(|quantile| quantile_of(counts, quantile))
    }

    fn from_quantiles(microseconds: impl Fn(f64) -> u64) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "latencies are far below 2^52 microseconds"
        )]
        let at = |quantile: f64| microseconds(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }
}

/// The smallest value that at least this share of the counts does not exceed; 0 if there are no values.
pub(crate) fn quantile_of(counts: &[(u64, u64)], quantile: f64) -> u64 {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are far below 2^52, quantiles between 0 and 1"
    )]
    let rank = ((total as f64 * quantile).ceil() as u64).max(1);
    let mut passed = 0;
    for (value, count) in counts {
        passed += count;
        if passed >= rank {
            return *value;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::{Latency, quantile_of};

    #[test]
    fn quantiles_are_values_that_came() {
        let counts = [(1_000, 50), (2_000, 49), (9_000, 1)];
        assert_eq!(quantile_of(&counts, 0.5), 1_000);
        assert_eq!(quantile_of(&counts, 0.51), 2_000);
        assert_eq!(quantile_of(&counts, 0.99), 2_000);
        assert_eq!(quantile_of(&counts, 1.0), 9_000);
        assert_eq!(quantile_of(&[], 0.5), 0);
        assert!((Latency::of_counts(&counts).max - 9.0).abs() < 1e-9);
    }
}
