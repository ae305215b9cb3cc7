//! Comparison of two reports, with confidence intervals.
//!
//! The seconds of a run are resampled in blocks (moving block bootstrap; Künsch 1989), because neighbouring seconds
//! are correlated. Each resampled run gives a throughput and latency percentiles. The middle 95 % of the differences
//! between resampled runs of A and B are the confidence interval. It covers the variation within these two runs, not
//! variation between days, machines or seeds.

use std::collections::BTreeMap;

use super::model::Report;
use crate::{
    error::LoadError,
    random::RandomSource,
    track::{Second, quantile_of},
};

/// Number of resampled runs.
const RESAMPLES: usize = 2_000;

/// Length of a resampled block, in seconds.
const BLOCK_SECONDS: usize = 3;

/// Shortest run that can be compared, in seconds.
const SECONDS_MIN: usize = 6;

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Name of the figure.
    pub figure: &'static str,
    /// Unit of the figure.
    pub unit: &'static str,
    /// Value of A.
    pub a: f64,
    /// Value of B.
    pub b: f64,
    /// B − A.
    pub difference: f64,
    /// 95 % confidence interval of the difference.
    pub interval: (f64, f64),
}

impl Comparison {
    /// Whether the interval excludes 0.
    pub fn is_significant(&self) -> bool {
        self.interval.0 > 0.0 || self.interval.1 < 0.0
    }
}

/// Reads a figure from some seconds; `None` if they have no value.
type Read = fn(&[&Second]) -> Option<f64>;

/// The compared figures: name, unit, and how to read them.
const FIGURES: [(&str, &str, Read); 6] = [
    ("included", "tx/s", |seconds| {
        Some(mean(seconds, |second| second.included))
    }),
    ("gas", "gas/s", |seconds| {
        Some(mean(seconds, |second| second.gas))
    }),
    ("failures", "/s", |seconds| {
        Some(mean(seconds, |second| second.reverted + second.refused))
    }),
    ("latency p50", "ms", |seconds| latency(seconds, 0.5)),
    ("latency p90", "ms", |seconds| latency(seconds, 0.9)),
    ("latency p99", "ms", |seconds| latency(seconds, 0.99)),
];

/// Compares two runs until their last inclusion, so that late transactions count for both.
pub fn compare(a: &Report, b: &Report) -> Result<Vec<Comparison>, LoadError> {
    let (a, b) = (seconds_of(a)?, seconds_of(b)?);
    // A constant seed: a comparison of the same files always gives the same result.
    let mut random = RandomSource::new(1);
    let mut differences = vec![Vec::with_capacity(RESAMPLES); FIGURES.len()];
    for _ in 0..RESAMPLES {
        let (sample_a, sample_b) = (resample(&a, &mut random), resample(&b, &mut random));
        for ((_, _, read), differences) in FIGURES.iter().zip(&mut differences) {
            if let (Some(of_a), Some(of_b)) = (read(&sample_a), read(&sample_b)) {
                differences.push(of_b - of_a);
            }
        }
    }
    let comparisons = FIGURES.iter().zip(differences);
    Ok(comparisons
        .filter_map(|((figure, unit, read), mut differences)| {
            differences.sort_by(f64::total_cmp);
            let (a, b) = (read(&a)?, read(&b)?);
            let tail = differences.len() / 40;
            let interval = (
                *differences.get(tail)?,
                *differences.get(differences.len().checked_sub(tail + 1)?)?,
            );
            Some(Comparison {
                figure,
                unit,
                a,
                b,
                difference: b - a,
                interval,
            })
        })
        .collect())
}

/// Settings that differ between the runs. They may explain a difference.
pub fn differing_settings(a: &Report, b: &Report) -> Vec<String> {
    let circumstances = |report: &Report| {
        [
            ("scenario", report.info.scenario.clone()),
            ("declarations", report.info.declarations.clone()),
            ("seed", report.info.seed.to_string()),
            ("intended rate", format!("{:.1}", report.intended_rate)),
            ("send seconds", format!("{:.1}", report.info.send_seconds)),
        ]
    };
    let pairs = circumstances(a).into_iter().zip(circumstances(b));
    pairs
        .filter(|((_, of_a), (_, of_b))| of_a != of_b)
        .map(|((what, of_a), (_, of_b))| format!("{what}: {of_a} and {of_b}"))
        .collect()
}

fn seconds_of(report: &Report) -> Result<Vec<&Second>, LoadError> {
    let seconds: Vec<&Second> = report.series.iter().collect();
    if seconds.len() < SECONDS_MIN {
        return Err(LoadError::Options(format!(
            "a run of {} seconds is too short to compare; send for at least {SECONDS_MIN}",
            seconds.len()
        )));
    }
    Ok(seconds)
}

fn resample<'a>(seconds: &[&'a Second], random: &mut RandomSource) -> Vec<&'a Second> {
    let mut sample = Vec::with_capacity(seconds.len() + BLOCK_SECONDS);
    while sample.len() < seconds.len() {
        let start = random.below(seconds.len() - BLOCK_SECONDS + 1);
        sample.extend(&seconds[start..start + BLOCK_SECONDS]);
    }
    sample.truncate(seconds.len());
    sample
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts and seconds are far below 2^52"
)]
fn mean(seconds: &[&Second], read: impl Fn(&Second) -> u64) -> f64 {
    let sum: u64 = seconds.iter().map(|second| read(second)).sum();
    sum as f64 / seconds.len() as f64
}

fn latency(seconds: &[&Second], quantile: f64) -> Option<f64> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for (value, count) in seconds.iter().flat_map(|second| &second.latency_us) {
        *counts.entry(*value).or_default() += count;
    }
    let counts: Vec<_> = counts.into_iter().collect();
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies are far below 2^52 microseconds"
    )]
    let milliseconds = quantile_of(&counts, quantile) as f64 / 1000.0;
    (!counts.is_empty()).then_some(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::{Comparison, compare, differing_settings};
    use crate::{report::model::Report, track::Second};

    /// A run of 30 s with about `included` a second and latencies around `milliseconds`.
    fn report(included: u64, milliseconds: u64) -> Report {
        let mut report = Report::sample();
        report.info.send_seconds = 30.0;
        report.series = (0..30)
            .map(|second| Second {
                second,
                included: included + second % 7,
                latency_us: vec![(1000 * (milliseconds + second % 5), included)],
                ..Second::default()
            })
            .collect();
        report
    }

    fn figure(comparisons: &[Comparison], name: &str) -> Comparison {
        let found = comparisons.iter().find(|one| one.figure == name);
        found.expect("it is compared").clone()
    }

    #[test]
    fn a_real_difference_is_significant() {
        let (a, b) = (report(100, 50), report(120, 50));
        let compared = compare(&a, &b).expect("long enough");
        let included = figure(&compared, "included");
        assert!(included.is_significant());
        assert!((included.difference - 20.0).abs() < 1e-9);
        assert!(included.interval.0 > 17.0 && included.interval.1 < 23.0);
        assert!(!figure(&compared, "latency p50").is_significant());
        let slower = compare(&a, &report(100, 80)).expect("long enough");
        assert!(figure(&slower, "latency p99").is_significant());
        assert!(!figure(&slower, "included").is_significant());
    }

    #[test]
    fn short_runs_are_rejected_and_differing_settings_are_listed() {
        let (mut a, b) = (report(100, 50), report(100, 50));
        assert!(differing_settings(&a, &b).is_empty());
        a.info.scenario = "swaps".to_owned();
        assert_eq!(differing_settings(&a, &b).len(), 1);
        a.series.truncate(5);
        assert!(compare(&a, &b).is_err());
    }
}
