//! Intended send times.

use std::time::Duration;

use crate::error::LoadError;

/// A stage of an open loop. The rate changes linearly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Transactions per second at the beginning.
    pub from: f64,
    /// Transactions per second at the end.
    pub to: f64,
    /// Duration of the stage.
    pub duration: Duration,
}

impl Stage {
    fn transactions(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.duration.as_secs_f64()
    }

    /// Seconds from the beginning until `count` transactions are sent: the root of
    /// from·t + (to − from)/(2·duration)·t² = count, in the form that stays exact for equal rates.
    fn reached(&self, count: f64) -> f64 {
        let slope = (self.to - self.from) / self.duration.as_secs_f64();
        let root = (self.from * self.from + 2.0 * count * slope)
            .max(0.0)
            .sqrt();
        if self.from + root > 0.0 {
            2.0 * count / (self.from + root)
        } else {
            0.0
        }
    }
}

/// Rates of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// Open loop: rates that do not depend on the node's answers.
    Open(Vec<Stage>),
    /// Closed loop: a new transaction for each that has reached a block.
    Closed {
        /// Number of transactions in flight.
        in_flight: usize,
        /// Duration of sending.
        duration: Duration,
        /// Largest number of transactions.
        count: usize,
    },
}

impl Pace {
    /// An open loop with a constant rate.
    pub fn constant(rate: f64, duration: Duration) -> Self {
        Self::Open(vec![Stage {
            from: rate,
            to: rate,
            duration,
        }])
    }

    /// Duration of sending.
    pub fn duration(&self) -> Duration {
        match self {
            Self::Open(stages) => stages.iter().map(|stage| stage.duration).sum(),
            Self::Closed { duration, .. } => *duration,
        }
    }

    /// Average transactions per second of an open loop.
    pub fn mean_rate(&self) -> Option<f64> {
        match self {
            Self::Open(stages) => {
                let transactions: f64 = stages.iter().map(Stage::transactions).sum();
                Some(transactions / self.duration().as_secs_f64())
            }
            Self::Closed { .. } => None,
        }
    }

    /// The largest number of transactions of the run; an error if it exceeds `bound`.
    pub fn transactions(&self, bound: usize) -> Result<usize, LoadError> {
        let wanted = match self {
            Self::Open(stages) => {
                let valid = |rate: f64| rate.is_finite() && rate >= 0.0;
                if stages
                    .iter()
                    .any(|stage| !valid(stage.from) || !valid(stage.to))
                {
                    let what = "rates must be finite numbers and at least 0".to_owned();
                    return Err(LoadError::Options(what));
                }
                stages.iter().map(Stage::transactions).sum()
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with a bound far below 2^52"
            )]
            Self::Closed { count, .. } => *count as f64,
        };
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
        if wanted > bound as f64 {
            return Err(LoadError::Options(format!(
                "{wanted:.0} transactions are more than --max-transactions {bound}; lower the rate or the duration, or raise the bound"
            )));
        }
        // A small tolerance for rounding: ten times a tenth is one.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the bound"
        )]
        let count = (wanted + 1e-6).floor() as usize;
        if count == 0 {
            return Err(LoadError::Options(
                "this rate and duration give no transaction".to_owned(),
            ));
        }
        Ok(count)
    }

    /// Intended send times of the first `count` transactions of an open loop, from the start; empty for a closed loop.
    pub fn schedule(&self, count: usize) -> Vec<Duration> {
        let Self::Open(stages) = self else {
            return Vec::new();
        };
        let mut times = Vec::with_capacity(count);
        let (mut sent, mut start) = (0.0, 0.0);
        for stage in stages {
            let end = sent + stage.transactions();
            while times.len() < count {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
                let index = times.len() as f64;
                if index >= end {
                    break;
                }
                let within = stage.reached(index - sent);
                times.push(Duration::from_secs_f64(start + within));
            }
            sent = end;
            start += stage.duration.as_secs_f64();
        }
        // Transactions left over by rounding are due at the end.
        times.resize(count, Duration::from_secs_f64(start));
        times
    }
}

/// Parses `500ms`, `10s`, `2m`, `1h`; at most a day, so that every wait is bounded.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let (digits, scale) = units
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .ok_or("a duration ends in ms, s, m or h")?;
    let number: f64 = digits
        .parse()
        .map_err(|_| "a duration starts with a number")?;
    Duration::try_from_secs_f64(number * scale)
        .ok()
        .filter(|duration| *duration <= Duration::from_hours(24))
        .ok_or_else(|| "a duration is between 0 and 24h".to_owned())
}

/// Parses a stage: `2000:10s` is a step, `500-2000:30s` a ramp.
pub fn read_stage(text: &str) -> Result<Stage, String> {
    let (rates, duration) = text
        .split_once(':')
        .ok_or("a stage is RATE:DURATION or FROM-TO:DURATION")?;
    let rate = |text: &str| -> Result<f64, String> {
        let rate: f64 = text.parse().map_err(|_| format!("{text} is not a rate"))?;
        if rate.is_finite() && rate >= 0.0 {
            Ok(rate)
        } else {
            Err(format!("{text} is not a rate"))
        }
    };
    let (from, to) = match rates.split_once('-') {
        Some((from, to)) => (rate(from)?, rate(to)?),
        None => (rate(rates)?, rate(rates)?),
    };
    let duration = read_duration(duration)?;
    if duration.is_zero() {
        return Err("the duration of a stage must be above 0".to_owned());
    }
    Ok(Stage { from, to, duration })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, read_duration, read_stage};

    fn stages(texts: &[&str]) -> Pace {
        Pace::Open(
            texts
                .iter()
                .map(|text| read_stage(text).expect("sound"))
                .collect(),
        )
    }

    #[test]
    fn a_constant_rate_is_a_line_through_the_origin() {
        let pace = Pace::constant(2000.0, Duration::from_secs(2));
        let times = pace.schedule(pace.transactions(4000).expect("within the bound"));
        assert_eq!(times.len(), 4000);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[3000], Duration::from_millis(1500));
    }

    #[test]
    fn ramps_and_steps_send_the_area_below_the_rate() {
        // A ramp from 0 to 100 over 10 s sends 500, the step after it 200.
        let pace = stages(&["0-100:10s", "200:1s"]);
        let count = pace.transactions(1000).expect("within the bound");
        assert_eq!(count, 700);
        let times = pace.schedule(count);
        assert!(times.is_sorted());
        // After t seconds of the ramp 5·t² have been sent.
        assert!((times[125].as_secs_f64() - 5.0).abs() < 1e-9);
        assert!((times[500].as_secs_f64() - 10.0).abs() < 1e-6);
        assert!((times[600].as_secs_f64() - 10.5).abs() < 1e-6);
        assert_eq!(pace.duration(), Duration::from_secs(11));
    }

    #[test]
    fn a_falling_ramp_ends_in_time() {
        let pace = stages(&["100-0:2s"]);
        let times = pace.schedule(100);
        assert!(times.is_sorted());
        assert!(times[99] < Duration::from_secs(2));
        assert!(times[99] > Duration::from_millis(1700));
    }

    #[test]
    fn counts_are_bounded() {
        let pace = Pace::constant(1000.0, Duration::from_secs(10));
        assert_eq!(pace.transactions(10_000).expect("within the bound"), 10_000);
        assert!(pace.transactions(9_999).is_err());
        for rate in [0.0, 0.5, -1.0, f64::NAN, f64::INFINITY] {
            let pace = Pace::constant(rate, Duration::from_secs(1));
            assert!(pace.transactions(10).is_err(), "{rate}");
        }
    }

    #[test]
    fn valid_texts_are_parsed_and_others_rejected() {
        assert_eq!(read_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(read_duration("2m"), Ok(Duration::from_mins(2)));
        for text in ["", "10", "s", "-1s", "25h", "NaNs"] {
            assert!(read_duration(text).is_err(), "{text}");
        }
        for text in ["", "10s", "100", "100:0s", "a-b:1s", "-5:1s"] {
            assert!(read_stage(text).is_err(), "{text}");
        }
    }
}
