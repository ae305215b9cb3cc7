//! Counts and latencies of each second of a run.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::latency::Latency;

/// One second of a run; a line of the `--jsonl` output.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Number of the second since the start.
    pub second: u64,
    /// Transactions with an intended time in this second.
    pub intended: u64,
    /// Transactions submitted for the first time.
    pub sent: u64,
    /// Accepted by the node.
    pub accepted: u64,
    /// Refusals and transport errors.
    pub refused: u64,
    /// Seen in a block, successful.
    pub included: u64,
    /// Seen in a block, reverted.
    pub reverted: u64,
    /// Gas used by those in blocks.
    pub gas: u64,
    /// Latency of inclusion of those in blocks.
    pub latency_ms: Latency,
    /// The full distribution: microseconds rounded to two digits, with counts.
    pub latency_us: Vec<(u64, u64)>,
}

/// A block with transactions of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockSeen {
    /// Block number.
    pub number: u64,
    /// When it was seen, in seconds since the start.
    pub seconds: f64,
    /// Gas used by all of its transactions.
    pub gas: u64,
    /// Number of transactions of the run.
    pub transactions: u64,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    counts: Second,
    latencies: BTreeMap<u64, u64>,
}

/// Collects [`Second`]s. Times are since the run's start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series(Vec<Bucket>);

impl Series {
    fn at(&mut self, time: Duration) -> &mut Bucket {
        let second = usize::try_from(time.as_secs()).unwrap_or(usize::MAX - 1);
        while self.0.len() <= second {
            let mut bucket = Bucket::default();
            bucket.counts.second = self.0.len() as u64;
            self.0.push(bucket);
        }
        &mut self.0[second]
    }

    /// The counts of the second that contains `time`.
    pub(crate) fn counts(&mut self, time: Duration) -> &mut Second {
        &mut self.at(time).counts
    }

    /// A transaction was seen in a block.
    pub(crate) fn in_block(&mut self, time: Duration, success: bool, gas: u64, latency: Duration) {
        let bucket = self.at(time);
        if success {
            bucket.counts.included += 1;
        } else {
            bucket.counts.reverted += 1;
        }
        bucket.counts.gas += gas;
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        *bucket.latencies.entry(rounded(microseconds)).or_default() += 1;
    }

    /// One second; empty if nothing happened.
    pub(crate) fn second(&self, second: usize) -> Second {
        let Some(bucket) = self.0.get(second) else {
            return Second {
                second: second as u64,
                ..Second::default()
            };
        };
        let latency_us: Vec<_> = bucket.latencies.iter().map(|(k, v)| (*k, *v)).collect();
        Second {
            latency_ms: Latency::of_counts(&latency_us),
            latency_us,
            ..bucket.counts.clone()
        }
    }

    /// All seconds.
    pub(crate) fn all(&self) -> Vec<Second> {
        (0..self.0.len())
            .map(|second| self.second(second))
            .collect()
    }
}

/// Rounds down to two significant digits: precise enough for plots and resampling, and few distinct values.
fn rounded(value: u64) -> u64 {
    let mut scale = 1;
    while value / scale >= 100 {
        scale *= 10;
    }
    value / scale * scale
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Series, rounded};

    #[test]
    fn seconds_are_kept_apart() {
        let mut series = Series::default();
        series.counts(Duration::from_millis(2500)).sent += 3;
        series.in_block(
            Duration::from_millis(2999),
            true,
            21_000,
            Duration::from_micros(12_345),
        );
        let all = series.all();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].sent, all[2].sent, all[2].included), (0, 3, 1));
        assert_eq!(all[2].latency_us, [(12_000, 1)]);
        assert!((all[2].latency_ms.p50 - 12.0).abs() < 1e-9);
        assert_eq!(series.second(9).second, 9);
    }

    #[test]
    fn two_digits_are_kept() {
        for (value, two) in [(0, 0), (99, 99), (101, 100), (123_456, 120_000)] {
            assert_eq!(rounded(value), two);
        }
    }
}
