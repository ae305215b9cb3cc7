//! The `find-max` command.

use clap::Args;
use lockweave_load_generator::{LoadError, Observer, Search, best_trial, find_max};
use serde_json::json;

use super::{arguments::LoadArguments, on_runtime, output::OutputArguments};

#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// The first rate.
    #[arg(long, value_name = "TPS", default_value_t = 100.0)]
    first_rate: f64,
    /// The highest rate that is tried.
    #[arg(long, value_name = "TPS", default_value_t = 50_000.0)]
    highest_rate: f64,
    /// The 99th percentile of the inclusion latency must stay below this.
    #[arg(long, value_name = "MS", default_value_t = 2_000.0)]
    p99_ms: f64,
    /// The search ends when the rate is known to within this share.
    #[arg(long, default_value_t = 0.05)]
    precision: f64,
    /// Largest number of runs; --duration is how long each sends.
    #[arg(long, default_value_t = 16)]
    trials: u32,
}

/// Prints the rate of each trial.
struct Phases;

impl Observer for Phases {
    fn phase(&mut self, what: &str) {
        if what.starts_with("trying") {
            eprintln!("{what}");
        }
    }
}

pub(super) fn find(arguments: &SearchArguments) -> Result<bool, LoadError> {
    let options = arguments.load.options()?;
    let search = Search {
        first_rate: arguments.first_rate,
        highest_rate: arguments.highest_rate,
        p99_ms: arguments.p99_ms,
        precision: arguments.precision,
        trials: arguments.trials,
    };
    let trials = on_runtime(find_max(&options, &search, &mut Phases))?;
    for trial in &trials {
        let p99 = trial.report.summary.latency_ms.p99;
        let verdict = trial.failure.as_deref().unwrap_or("kept up");
        eprintln!(
            "{:>9.1} per second  p99 {p99:>8.1} ms  {verdict}",
            trial.rate
        );
    }
    let best = best_trial(&trials);
    if let Some(best) = best {
        arguments.output.write(&best.report)?;
    }
    let trials: Vec<_> = trials
        .iter()
        .map(|trial| {
            json!({
                "rate": trial.rate,
                "kept_up": trial.failure.is_none(),
                "complaint": trial.failure,
                "p99_ms": trial.report.summary.latency_ms.p99,
                "tps": trial.report.summary.tps,
            })
        })
        .collect();
    let rate = best.map(|best| best.rate);
    println!("{}", json!({"highest_rate": rate, "trials": trials}));
    Ok(best.is_some())
}
