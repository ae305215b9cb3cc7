//! The highest rate that a node sustains.

use super::run::{Observer, Options, run};
use crate::{error::LoadError, report::Report, send::Pace};

/// Parameters of a search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The first rate, in transactions per second.
    pub first_rate: f64,
    /// The highest rate that is tried.
    pub highest_rate: f64,
    /// The 99th percentile of the inclusion latency must stay below this, in milliseconds.
    pub p99_ms: f64,
    /// The search ends when the rate is known to within this share.
    pub precision: f64,
    /// The largest number of runs.
    pub trials: u32,
}

/// One tried rate.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Transactions per second.
    pub rate: f64,
    /// Why the node did not sustain the rate, or `None` if it did.
    pub failure: Option<String>,
    /// The run's report.
    pub report: Report,
}

/// Doubles the rate until the node no longer sustains it, then bisects. Returns the trials in their order.
///
/// `options.pace` gives the duration of a trial; its rate is not used. A search ends early when the node loses
/// transactions, because those in its pool would be part of every later trial.
pub async fn find_max(
    options: &Options,
    search: &Search,
    observer: &mut dyn Observer,
) -> Result<Vec<Trial>, LoadError> {
    let valid = |rate: f64| rate.is_finite() && rate > 0.0;
    if !valid(search.first_rate) || !valid(search.highest_rate) || search.precision <= 0.0 {
        return Err(LoadError::Options(
            "rates and precision must be above 0".to_owned(),
        ));
    }
    let mut bounds = Bounds::default();
    let mut trials = Vec::new();
    let mut rate = search.first_rate.min(search.highest_rate);
    for _ in 0..search.trials {
        observer.phase(&format!("trying {rate:.0} transactions per second"));
        let options = Options {
            pace: Pace::constant(rate, options.pace.duration()),
            ..options.clone()
        };
        let report = run(&options, observer).await?;
        let failure = failure(&report, search.p99_ms);
        bounds.learn(rate, failure.is_none());
        let lost = report.summary.lost > 0;
        trials.push(Trial {
            rate,
            failure,
            report,
        });
        match bounds.next(search) {
            Some(next) if !lost => rate = next,
            _ => break,
        }
    }
    Ok(trials)
}

/// The trial with the highest sustained rate.
pub fn best_trial(trials: &[Trial]) -> Option<&Trial> {
    let kept = trials.iter().filter(|trial| trial.failure.is_none());
    kept.max_by(|one, other| one.rate.total_cmp(&other.rate))
}

fn failure(report: &Report, p99_ms: f64) -> Option<String> {
    let p99 = report.summary.latency_ms.p99;
    if !report.is_sound() {
        Some("transactions were lost, or the state is wrong".to_owned())
    } else if report.summary.failed > 0 {
        Some(format!("{} transactions failed", report.summary.failed))
    } else if let Some(sign) = report.overload.first() {
        Some(sign.clone())
    } else if p99 > p99_ms {
        Some(format!("p99 of inclusion is {p99:.0} ms"))
    } else {
        None
    }
}

/// Known bounds of the highest rate.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    good: Option<f64>,
    bad: Option<f64>,
}

impl Bounds {
    fn learn(&mut self, rate: f64, good: bool) {
        if good {
            self.good = Some(self.good.map_or(rate, |known| known.max(rate)));
        } else {
            self.bad = Some(self.bad.map_or(rate, |known| known.min(rate)));
        }
    }

    /// The next rate to try, or `None` when the bounds are close enough.
    fn next(&self, search: &Search) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(search.first_rate),
            (Some(good), None) => {
                (good < search.highest_rate).then(|| (good * 2.0).min(search.highest_rate))
            }
            // Rates below one transaction per second are not searched.
            (None, Some(bad)) => (bad >= 2.0).then_some(bad / 2.0),
            (Some(good), Some(bad)) => {
                (bad - good > search.precision * good).then(|| f64::midpoint(good, bad))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Search, best_trial, failure};
    use crate::report::Report;

    const SEARCH: Search = Search {
        first_rate: 100.0,
        highest_rate: 10_000.0,
        p99_ms: 1000.0,
        precision: 0.05,
        trials: 20,
    };

    /// The rates that a search tries against a node that sustains `limit`.
    fn rates(limit: f64, search: &Search) -> Vec<f64> {
        let mut bounds = Bounds::default();
        let mut rates = Vec::new();
        while let Some(rate) = bounds.next(search) {
            rates.push(rate);
            bounds.learn(rate, rate <= limit);
            assert!(rates.len() < 30, "a search must end");
        }
        rates
    }

    #[test]
    fn the_search_closes_in_on_the_limit() {
        for limit in [3.0, 130.0, 777.0, 9_999.0] {
            let rates = rates(limit, &SEARCH);
            let kept = rates.iter().copied().filter(|rate| *rate <= limit);
            let best = kept.fold(0.0, f64::max);
            assert!(best >= limit / 1.06, "{limit}: {rates:?}");
        }
        let above = rates(1e9, &SEARCH);
        assert_eq!(
            above.last(),
            Some(&10_000.0),
            "the highest rate is tried and not passed"
        );
        assert!(rates(0.0, &SEARCH).len() < 10);
    }

    #[test]
    fn every_kind_of_failure_counts() {
        let mut report = Report::sample();
        assert_eq!(failure(&report, 1000.0), None);
        report.summary.latency_ms.p99 = 1001.0;
        assert!(failure(&report, 1000.0).is_some());
        report.summary.latency_ms.p99 = 1.0;
        report.summary.failed = 1;
        assert!(failure(&report, 1000.0).is_some());
        report.summary.failed = 0;
        report.overload.push("slow".to_owned());
        assert_eq!(failure(&report, 1000.0).as_deref(), Some("slow"));
        assert!(best_trial(&[]).is_none());
    }
}
