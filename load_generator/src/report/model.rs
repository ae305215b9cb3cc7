//! The report of a run and its signs of overload.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::track::{BlockSeen, Latency, Ledger, Second};

/// Below this share of the intended rate, the sent rate is a sign of overload.
const SENT_SHARE_MIN: f64 = 0.99;

/// The first fields of the `--json` output. `sent` = `included` + `failed` + `lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Transactions submitted at least once.
    pub sent: u64,
    /// In a block, successful.
    pub included: u64,
    /// Refused at the end of the run, or in a block and reverted.
    pub failed: u64,
    /// Neither refused nor in a block at the end of the run.
    pub lost: u64,
    /// From the first intended send time to the last inclusion.
    pub seconds: f64,
    /// Included transactions per second.
    pub tps: f64,
    /// Gas per second, used by the run's own transactions.
    pub gas_per_s: f64,
    /// Latency of inclusion, from the intended send time.
    pub latency_ms: Latency,
}

/// Result of the check of the state after the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Invariant {
    /// The state is as expected.
    Holds,
    /// The state is wrong, and how.
    Broken(String),
    /// The state was not checked, and why.
    Unchecked(String),
}

/// Number of transactions of one kind in blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCounts {
    /// Successful.
    pub included: u64,
    /// Reverted.
    pub reverted: u64,
}

/// What was run, and its preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Name of the scenario.
    pub scenario: String,
    /// How accesses were declared.
    pub declarations: String,
    /// URL of the node.
    pub endpoint: String,
    /// Seed of the random choices.
    pub seed: u64,
    /// Duration of sending, in seconds.
    pub send_seconds: f64,
    /// Number of accounts that were funded.
    pub funded: usize,
    /// Number of deployment steps that were missing.
    pub deployed: usize,
    /// Transactions signed per second.
    pub signed_per_second: f64,
    /// Number of transactions in blocks by kind.
    pub kinds: BTreeMap<String, KindCounts>,
}

/// Results of a run; the `--json` output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Summary of the results.
    #[serde(flatten)]
    pub summary: Summary,
    /// What was run, and its preparation.
    #[serde(flatten)]
    pub info: RunInfo,
    /// Transactions whose intended send time came.
    pub intended: u64,
    /// Of those, never submitted: the connections were busy until the end.
    pub unsent: u64,
    /// In a block and reverted; part of `failed`.
    pub reverted: u64,
    /// Number of resends.
    pub repeats: u64,
    /// Transactions that the node accepted and later did not know.
    pub dropped: u64,
    /// Intended transactions per second.
    pub intended_rate: f64,
    /// Transactions per second submitted within the duration of sending.
    pub sent_rate: f64,
    /// Latency of submission, from the intended send time.
    pub lag_ms: Latency,
    /// Latency of acceptance by the node, from the intended send time.
    pub accepted_ms: Latency,
    /// Latency of the announcement of the block over WebSocket, from the intended send time.
    pub seen_ms: Option<Latency>,
    /// Number of refusals and transport errors by kind, including those of resends.
    pub refusals: BTreeMap<String, u64>,
    /// Number of failed queries about blocks and transactions by kind. They delay observed inclusions.
    pub troubles: BTreeMap<String, u64>,
    /// Result of the check of the state.
    pub invariant: Invariant,
    /// Signs that the node did not keep up; empty if it did.
    pub overload: Vec<String>,
    /// Counts and latencies of each second.
    pub series: Vec<Second>,
    /// Blocks with transactions of the run.
    pub blocks: Vec<BlockSeen>,
}

impl Report {
    /// The report of a finished run. Its invariant is not checked yet.
    pub(crate) fn new(ledger: &Ledger, info: RunInfo) -> Self {
        let counts = ledger.counts();
        let seconds = ledger.last_included.as_secs_f64();
        let series = ledger.series.all();
        let send_seconds = info.send_seconds;
        // Late submissions do not count.
        let in_time = series
            .iter()
            .take_while(|second| to_float(second.second) < send_seconds)
            .map(|second| second.sent)
            .sum();
        let mut report = Self {
            summary: Summary {
                sent: counts.sent,
                included: counts.included,
                failed: counts.reverted + counts.refused,
                lost: counts.waiting,
                seconds,
                tps: rate(counts.included, seconds),
                gas_per_s: rate(ledger.gas, seconds),
                latency_ms: Latency::of(&ledger.included_us),
            },
            info,
            intended: counts.due,
            unsent: counts.due - counts.sent,
            reverted: counts.reverted,
            repeats: ledger.repeats,
            dropped: ledger.dropped,
            intended_rate: rate(counts.due, send_seconds),
            sent_rate: rate(in_time, send_seconds),
            lag_ms: Latency::of(&ledger.lag_us),
            accepted_ms: Latency::of(&ledger.accepted_us),
            seen_ms: (!ledger.seen_us.is_empty()).then(|| Latency::of(&ledger.seen_us)),
            refusals: ledger.refusals.clone(),
            troubles: ledger.troubles.clone(),
            invariant: Invariant::Unchecked("the check has not run".to_owned()),
            overload: Vec::new(),
            series,
            blocks: ledger.blocks.clone(),
        };
        report.overload = report.signs_of_overload();
        report
    }

    /// Whether no transaction was lost and the state is not known to be wrong.
    pub fn is_sound(&self) -> bool {
        self.summary.lost == 0 && !matches!(self.invariant, Invariant::Broken(_))
    }

    /// Whether the node kept up: every transaction submitted in time, none lost or failed.
    pub fn kept_up(&self) -> bool {
        self.is_sound() && self.summary.failed == 0 && self.overload.is_empty()
    }

    fn signs_of_overload(&self) -> Vec<String> {
        let mut signs = Vec::new();
        let (intended, sent) = (self.intended_rate, self.sent_rate);
        if self.unsent > 0 {
            signs.push(format!(
                "{} of {} intended transactions were never submitted: all connections waited for the node until the end",
                self.unsent, self.intended
            ));
        }
        if sent < intended * SENT_SHARE_MIN {
            signs.push(format!(
                "{sent:.0} transactions per second were submitted in time, {intended:.0} were intended"
            ));
        }
        let included_in_time: u64 = self
            .series
            .iter()
            .take_while(|second| to_float(second.second) < self.info.send_seconds)
            .map(|second| second.included + second.reverted)
            .sum();
        let included = rate(included_in_time, self.info.send_seconds);
        if let Some((first, last)) = self.latency_rise() {
            signs.push(format!(
                "the median time to inclusion rose from {first:.0} ms to {last:.0} ms while load was sent ({included:.0} per second were included, {intended:.0} were intended): transactions piled up"
            ));
        }
        let refusals: u64 = self.refusals.values().sum();
        if refusals > 0 {
            signs.push(format!(
                "{refusals} refusals and transport errors; see their kinds"
            ));
        }
        if self.dropped > 0 {
            signs.push(format!(
                "{} accepted transactions were resent because the node no longer knew them",
                self.dropped
            ));
        }
        if self.summary.lost > 0 {
            signs.push(format!(
                "{} transactions were neither refused nor in a block at the end of the run",
                self.summary.lost
            ));
        }
        signs
    }

    /// Median latency of the first and the last quarter of the seconds in which load was sent, if it at least doubled
    /// and grew by an eighth of that duration.
    fn latency_rise(&self) -> Option<(f64, f64)> {
        let medians: Vec<f64> = self
            .series
            .iter()
            .filter(|second| !second.latency_us.is_empty())
            .take_while(|second| to_float(second.second) < self.info.send_seconds)
            .map(|second| second.latency_ms.p50)
            .collect();
        let quarter = medians.len() / 4;
        if quarter == 0 {
            return None;
        }
        let mean = |part: &[f64]| part.iter().sum::<f64>() / to_float(part.len() as u64);
        let (first, last) = (
            mean(&medians[..quarter]),
            mean(&medians[medians.len() - quarter..]),
        );
        (last > 2.0 * first && last - first > self.info.send_seconds * 1000.0 / 8.0)
            .then_some((first, last))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts, seconds and gas of a run are far below 2^52"
)]
fn to_float(number: u64) -> f64 {
    number as f64
}

fn rate(amount: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        to_float(amount) / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
impl Report {
    /// A report of an empty run with no signs of overload.
    pub(crate) fn sample() -> Self {
        let info = RunInfo {
            scenario: "transfers".to_owned(),
            declarations: "none".to_owned(),
            endpoint: "http://127.0.0.1:8545/".to_owned(),
            seed: 1,
            send_seconds: 1.0,
            funded: 0,
            deployed: 0,
            signed_per_second: 1.0,
            kinds: BTreeMap::new(),
        };
        Self::new(&Ledger::new(&[], 0), info)
    }
}

#[cfg(test)]
mod tests {
    use super::{Invariant, Report};
    use crate::track::{Latency, Second};

    fn with_medians(medians: &[f64]) -> Report {
        let mut report = Report::sample();
        report.info.send_seconds = 8.0;
        report.series = (0..)
            .zip(medians)
            .map(|(second, p50)| Second {
                second,
                latency_us: vec![(1, 1)],
                latency_ms: Latency {
                    p50: *p50,
                    ..Latency::default()
                },
                ..Second::default()
            })
            .collect();
        report
    }

    #[test]
    fn rising_latency_is_a_sign_of_overload() {
        let steady = with_medians(&[200.0, 210.0, 190.0, 205.0, 200.0, 210.0, 200.0, 190.0]);
        assert!(steady.signs_of_overload().is_empty());
        let rising = with_medians(&[200.0, 500.0, 900.0, 1300.0, 1700.0, 2100.0, 2500.0, 2900.0]);
        assert!(rising.signs_of_overload()[0].contains("rose from 350 ms to 2700 ms"));
    }

    #[test]
    fn falling_behind_and_refusals_are_signs_of_overload() {
        let mut report = Report::sample();
        (report.intended, report.unsent) = (100, 40);
        (report.intended_rate, report.sent_rate) = (100.0, 60.0);
        report.refusals.insert("txpool is full".to_owned(), 3);
        let signs = report.signs_of_overload();
        assert_eq!(signs.len(), 3, "{signs:?}");
        assert!(signs[0].starts_with("40 of 100"));
        assert!(signs[1].starts_with("60 transactions per second"));
        report.overload = signs;
        assert!(report.is_sound() && !report.kept_up());
        report.invariant = Invariant::Broken("x".to_owned());
        assert!(!report.is_sound());
    }

    #[test]
    fn a_report_survives_its_file() {
        let report = with_medians(&[1.0, 2.0]);
        let json = serde_json::to_string(&report).expect("JSON");
        let read: Report = serde_json::from_str(&json).expect("a report");
        assert_eq!(read, report);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        for field in [
            "sent",
            "included",
            "failed",
            "lost",
            "seconds",
            "tps",
            "gas_per_s",
            "latency_ms",
        ] {
            assert!(value.get(field).is_some(), "{field}");
        }
    }
}
