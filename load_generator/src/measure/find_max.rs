//! The highest rate that a node keeps up with.

use super::run::{Observer, Options, run};
use crate::{error::LoadError, report::Report, send::Pace};

/// What is searched for, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// The first rate tried, in transactions a second.
    pub first_rate: f64,
    /// No rate above this is tried.
    pub highest_rate: f64,
    /// The 99th percentile of inclusion must stay below this, in milliseconds.
    pub p99_ms: f64,
    /// The search ends when the rate is known to within this share.
    pub precision: f64,
    /// Most runs.
    pub trials: u32,
}

/// One rate that was tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Transactions a second.
    pub rate: f64,
    /// Why the node did not keep up; nothing if it did.
    pub complaint: Option<String>,
    /// The run's report.
    pub report: Report,
}

/// Doubles the rate until the node no longer keeps up, then halves the gap. The trials in their order.
///
/// `options.pace` gives the duration of a trial; its rate is not used. A search ends early with what it knows when
/// the node loses transactions: what is still in its pool would be part of every later trial.
pub async fn find_max(
    options: &Options,
    search: &Search,
    observer: &mut dyn Observer,
) -> Result<Vec<Trial>, LoadError> {
    let sound = |rate: f64| rate.is_finite() && rate > 0.0;
    if !sound(search.first_rate) || !sound(search.highest_rate) || search.precision <= 0.0 {
        return Err(LoadError::Options(
            "rates and precision must be above 0".to_owned(),
        ));
    }
    let mut bounds = Bounds::default();
    let mut trials = Vec::new();
    let mut rate = search.first_rate.min(search.highest_rate);
    for _ in 0..search.trials {
        observer.phase(&format!("trying {rate:.0} transactions a second"));
        let options = Options {
            pace: Pace::constant(rate, options.pace.duration()),
            ..options.clone()
        };
        let report = run(&options, observer).await?;
        let complaint = complaint(&report, search.p99_ms);
        bounds.learn(rate, complaint.is_none());
        let lost = report.summary.lost > 0;
        trials.push(Trial {
            rate,
            complaint,
            report,
        });
        match bounds.next(search) {
            Some(next) if !lost => rate = next,
            _ => break,
        }
    }
    Ok(trials)
}

/// The highest rate that was kept up with.
pub fn best(trials: &[Trial]) -> Option<&Trial> {
    let kept = trials.iter().filter(|trial| trial.complaint.is_none());
    kept.max_by(|one, other| one.rate.total_cmp(&other.rate))
}

fn complaint(report: &Report, p99_ms: f64) -> Option<String> {
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

/// What is known of the highest rate.
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

    /// The next rate to try; nothing when the answer is known well enough.
    fn next(&self, search: &Search) -> Option<f64> {
        match (self.good, self.bad) {
            (None, None) => Some(search.first_rate),
            (Some(good), None) => {
                (good < search.highest_rate).then(|| (good * 2.0).min(search.highest_rate))
            }
            // Below one transaction a second nobody wants to know.
            (None, Some(bad)) => (bad >= 2.0).then_some(bad / 2.0),
            (Some(good), Some(bad)) => {
                (bad - good > search.precision * good).then(|| f64::midpoint(good, bad))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Search, best, complaint};
    use crate::report::Report;

    const SEARCH: Search = Search {
        first_rate: 100.0,
        highest_rate: 10_000.0,
        p99_ms: 1000.0,
        precision: 0.05,
        trials: 20,
    };

    /// The rates that a search tries against a node that keeps up with `limit`.
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
    fn keeping_up_means_all_of_it() {
        let mut report = Report::sample();
        assert_eq!(complaint(&report, 1000.0), None);
        report.summary.latency_ms.p99 = 1001.0;
        assert!(complaint(&report, 1000.0).is_some());
        report.summary.latency_ms.p99 = 1.0;
        report.summary.failed = 1;
        assert!(complaint(&report, 1000.0).is_some());
        report.summary.failed = 0;
        report.overload.push("slow".to_owned());
        assert_eq!(complaint(&report, 1000.0).as_deref(), Some("slow"));
        assert!(best(&[]).is_none());
    }
}
