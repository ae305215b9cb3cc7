//! When transactions are meant to be sent.

use std::time::Duration;

use crate::error::LoadError;

/// How the load is paced.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Constant rate, whatever the node answers.
    Open {
        /// Transactions a second, above 0.
        rate: f64,
        /// For how long.
        duration: Duration,
    },
    /// A new transaction whenever one has ended.
    Closed {
        /// Transactions on their way at a time.
        in_flight: usize,
        /// At the latest after this time nothing new is sent.
        duration: Duration,
        /// Most transactions.
        count: usize,
    },
}

impl Pace {
    /// How many transactions the run has at most; an error above `bound`.
    pub fn transactions(&self, bound: usize) -> Result<usize, LoadError> {
        let wanted = match *self {
            Self::Open { rate, duration } => {
                if !rate.is_finite() || rate <= 0.0 {
                    return Err(LoadError::Options("the rate must be above 0".to_owned()));
                }
                rate * duration.as_secs_f64()
            }
            #[expect(
                clippy::cast_precision_loss,
                reason = "compared with a bound far below 2^52"
            )]
            Self::Closed { count, .. } => count as f64,
        };
        #[expect(clippy::cast_precision_loss, reason = "bounds are far below 2^52")]
        if wanted > bound as f64 {
            return Err(LoadError::Options(format!(
                "{wanted:.0} transactions are more than --max-transactions {bound}; lower the rate or the duration, or raise the bound"
            )));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the bound"
        )]
        let count = wanted.floor() as usize;
        if count == 0 {
            return Err(LoadError::Options(
                "no transaction fits into this rate and duration".to_owned(),
            ));
        }
        Ok(count)
    }
}

/// Intended send time of transaction `index` after the start, at a constant `rate` a second.
pub fn intended(index: usize, rate: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "indexes are far below 2^52")]
    Duration::from_secs_f64(index as f64 / rate)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, intended};

    #[test]
    fn a_rate_is_a_line_through_the_origin() {
        assert_eq!(intended(0, 2000.0), Duration::ZERO);
        assert_eq!(intended(3000, 2000.0), Duration::from_millis(1500));
    }

    #[test]
    fn counts_are_bounded() {
        let pace = Pace::Open {
            rate: 1000.0,
            duration: Duration::from_secs(10),
        };
        assert_eq!(pace.transactions(10_000).expect("within the bound"), 10_000);
        assert!(pace.transactions(9_999).is_err());
        assert!(
            Pace::Open {
                rate: 0.0,
                duration: Duration::from_secs(1)
            }
            .transactions(10)
            .is_err()
        );
        assert!(
            Pace::Open {
                rate: 0.5,
                duration: Duration::from_secs(1)
            }
            .transactions(10)
            .is_err()
        );
    }
}
