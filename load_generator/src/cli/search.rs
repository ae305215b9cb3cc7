//! `find-max`.

use clap::Args;
use lockweave_load_generator::{LoadError, Observer, Search, best, find_max};
use serde_json::json;

use super::{arguments::LoadArguments, on_runtime, output::OutputArguments};

#[derive(Debug, Args)]
pub(super) struct SearchArguments {
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// The rate that is tried first.
    #[arg(long, value_name = "TPS", default_value_t = 100.0)]
    first_rate: f64,
    /// No rate above this is tried.
    #[arg(long, value_name = "TPS", default_value_t = 50_000.0)]
    highest_rate: f64,
    /// The 99th percentile of inclusion must stay below this.
    #[arg(long, value_name = "MS", default_value_t = 2_000.0)]
    p99_ms: f64,
    /// The search ends when the rate is known to within this share.
    #[arg(long, default_value_t = 0.05)]
    precision: f64,
    /// Most runs; --duration is how long each sends.
    #[arg(long, default_value_t = 16)]
    trials: u32,
}

/// Says which rate is being tried.
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
        let verdict = trial.complaint.as_deref().unwrap_or("kept up");
        eprintln!("{:>9.1} a second  p99 {p99:>8.1} ms  {verdict}", trial.rate);
    }
    let best = best(&trials);
    if let Some(best) = best {
        arguments.output.write(&best.report)?;
    }
    let told: Vec<_> = trials
        .iter()
        .map(|trial| {
            json!({
                "rate": trial.rate,
                "kept_up": trial.complaint.is_none(),
                "complaint": trial.complaint,
                "p99_ms": trial.report.summary.latency_ms.p99,
                "tps": trial.report.summary.tps,
            })
        })
        .collect();
    let rate = best.map(|best| best.rate);
    println!("{}", json!({"highest_rate": rate, "trials": told}));
    Ok(best.is_some())
}
