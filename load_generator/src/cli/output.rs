//! Report files, and the report on the terminal.

use std::{fs::File, io::BufWriter, path::PathBuf};

use clap::Args;
use lockweave_load_generator::{Invariant, LoadError, Report, html_page};
use serde_json::json;

use super::{live::Lines, write_file};

#[derive(Clone, Debug, Args)]
pub(super) struct OutputArguments {
    /// Write the whole report as JSON to this file; `compare` and `page` read it.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a JSON line for every second to this file during the run.
    #[arg(long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Write the report as a self-contained HTML page with plots to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl OutputArguments {
    /// Opens the file of JSON lines; before the run, so that a bad path fails early.
    pub(super) fn lines(&self) -> Result<Lines, LoadError> {
        let Some(path) = &self.jsonl else {
            return Ok(None);
        };
        let file = File::create(path).map_err(|source| LoadError::Write {
            path: path.clone(),
            source,
        })?;
        Ok(Some(BufWriter::new(file)))
    }

    /// Writes the requested files.
    pub(super) fn write(&self, report: &Report) -> Result<(), LoadError> {
        if let Some(path) = &self.json {
            let json = serde_json::to_string(report).expect("a report is always JSON");
            write_file(path, &json)?;
        }
        if let Some(path) = &self.html {
            write_file(path, &html_page(report))?;
        }
        Ok(())
    }
}

/// One line of JSON: the summary and the main results.
pub(super) fn summary_line(report: &Report) -> String {
    let mut value = serde_json::to_value(report.summary).expect("numbers are always JSON");
    value["unsent"] = json!(report.unsent);
    value["intended_rate"] = json!(report.intended_rate);
    value["sent_rate"] = json!(report.sent_rate);
    value["invariant"] = json!(report.invariant);
    value["overload"] = json!(report.overload);
    value.to_string()
}

/// Prints a report on standard error.
pub(super) fn print(report: &Report) {
    let summary = &report.summary;
    eprintln!(
        "{} against {}: {} steps of deployment, {} accounts funded, signed {:.0} per second",
        report.info.scenario,
        report.info.endpoint,
        report.info.deployed,
        report.info.funded,
        report.info.signed_per_second
    );
    eprintln!(
        "sent {}, included {}, failed {} ({} reverted), lost {}; never submitted {}, resent {}",
        summary.sent,
        summary.included,
        summary.failed,
        report.reverted,
        summary.lost,
        report.unsent,
        report.repeats
    );
    eprintln!(
        "intended {:.1}, sent {:.1}, included {:.1} transactions and {:.0} gas per second",
        report.intended_rate, report.sent_rate, summary.tps, summary.gas_per_s
    );
    let latencies = [
        ("submitted", Some(report.lag_ms)),
        ("accepted", Some(report.accepted_ms)),
        ("announced", report.seen_ms),
        ("included", Some(summary.latency_ms)),
    ];
    for (what, latency) in latencies {
        if let Some(latency) = latency {
            eprintln!(
                "{what:>11} after, in ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
                latency.p50, latency.p90, latency.p99, latency.p999, latency.max
            );
        }
    }
    for (kind, counts) in &report.info.kinds {
        eprintln!(
            "{kind}: {} included, {} reverted",
            counts.included, counts.reverted
        );
    }
    for (kind, times) in &report.refusals {
        eprintln!("{times} refusals or transport errors: {kind}");
    }
    for (kind, times) in &report.troubles {
        eprintln!("{times} failed queries: {kind}");
    }
    match &report.invariant {
        Invariant::Holds => eprintln!("invariant holds"),
        Invariant::Unchecked(why) => eprintln!("invariant not checked: {why}"),
        Invariant::Broken(what) => eprintln!("INVARIANT BROKEN: {what}"),
    }
    if report.overload.is_empty() {
        eprintln!("the node kept up");
    } else {
        eprintln!("THE NODE DID NOT KEEP UP:");
        for sign in &report.overload {
            eprintln!("  {sign}");
        }
    }
}
