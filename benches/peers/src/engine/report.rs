//! The printed report: JSON lines, or a table.

use super::{
    measure::{Configuration, Measured, MeasuredBlock, WorkloadResult},
    schedulers::{SchedulerKind, SchedulerResult},
};
use serde::Serialize;
use std::fmt::Write as _;

/// One line: a workload in one configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// The workload's name.
    pub workload: &'static str,
    /// Transactions of all its blocks.
    pub transactions: usize,
    /// Their gas without signed access.
    pub gas: u64,
    /// `sequential` or `lockweave`.
    pub engine: &'static str,
    /// The source of access sets; none for the sequential engine.
    pub access: Option<&'static str>,
    /// Threads.
    pub threads: usize,
    /// Runs.
    pub runs: usize,
    /// Median of a run over all blocks.
    pub ms_median: f64,
    /// A quarter of the runs took less.
    pub ms_lower_quartile: f64,
    /// A quarter of the runs took more.
    pub ms_upper_quartile: f64,
    /// Giga-gas a second at the median.
    pub ggas_per_s: f64,
    /// Median of the ratios to the adjacent sequential runs.
    pub speedup: f64,
    /// A quarter of the ratios is less.
    pub speedup_lower_quartile: f64,
    /// A quarter of the ratios is more.
    pub speedup_upper_quartile: f64,
    /// Of several blocks, the speed-up of the one that gains least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speedup_of_worst_block: Option<f64>,
    /// Sequential runs side by side over one alone: the ceiling of this machine's cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<f64>,
}

/// The figures of a workload that do not depend on the engine.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadSize {
    /// Its name.
    pub workload: &'static str,
    /// Transactions of all its blocks.
    pub transactions: usize,
    /// Their gas.
    pub gas: u64,
}

/// The lines of a workload, the yardstick first.
pub fn lines(size: WorkloadSize, result: &WorkloadResult) -> Vec<Line> {
    let mut lines = vec![line(size, None, &result.sequential)];
    for (configuration, measured) in &result.configurations {
        lines.push(line(size, Some(*configuration), measured));
    }
    if let Some(ceiling) = &result.ceiling {
        lines[0].ceiling = Some(ceiling.median());
    }
    lines
}

fn line(size: WorkloadSize, configuration: Option<Configuration>, measured: &Measured) -> Line {
    let WorkloadSize {
        workload,
        transactions,
        gas,
    } = size;
    let ms_median = measured.times_ms.median();
    Line {
        workload,
        transactions,
        gas,
        engine: configuration.map_or("sequential", |_| "lockweave"),
        access: configuration.map(|configuration| configuration.access.name()),
        threads: configuration.map_or(1, |configuration| configuration.threads),
        runs: measured.times_ms.len(),
        ms_median,
        ms_lower_quartile: measured.times_ms.lower_quartile(),
        ms_upper_quartile: measured.times_ms.upper_quartile(),
        ggas_per_s: gas_in_giga(gas) / (ms_median / 1e3),
        speedup: measured.speedups.median(),
        speedup_lower_quartile: measured.speedups.lower_quartile(),
        speedup_upper_quartile: measured.speedups.upper_quartile(),
        speedup_of_worst_block: measured.speedup_of_worst_block,
        ceiling: None,
    }
}

/// A block of several, as JSON: time and ratio for each configuration, in the order of the workload's lines.
pub fn block_line(
    workload: &str,
    block: &MeasuredBlock,
    configurations: &[(Configuration, Measured)],
) -> serde_json::Value {
    let each = configurations.iter().zip(&block.ours_ms);
    let ours: Vec<_> = each
        .map(|((configuration, _), ms)| {
            serde_json::json!({
                "access": configuration.access.name(),
                "threads": configuration.threads,
                "ms_median": ms,
                "speedup": block.sequential_ms / ms,
            })
        })
        .collect();
    serde_json::json!({
        "workload": workload,
        "block": block.name,
        "transactions": block.transactions,
        "gas": block.gas,
        "sequential_ms_median": block.sequential_ms,
        "lockweave": ours,
    })
}

/// The same as a line of a table.
pub fn block_table_line(
    block: &MeasuredBlock,
    configurations: &[(Configuration, Measured)],
) -> String {
    let mut text = format!(
        "  block {:<10} {:>5} transactions {:>11} gas {:>9.3} ms:",
        block.name, block.transactions, block.gas, block.sequential_ms
    );
    for ((configuration, _), ms) in configurations.iter().zip(&block.ours_ms) {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "  {} {} {:.2}×",
            configuration.access.name(),
            configuration.threads,
            block.sequential_ms / ms
        );
    }
    text
}

// Gas of any block is far below 2^52.
#[allow(clippy::cast_precision_loss)]
fn gas_in_giga(gas: u64) -> f64 {
    gas as f64 / 1e9
}

/// The table's head.
pub fn table_head() -> String {
    format!(
        "{:<22} {:<11} {:<9} {:>7} {:>10} {:>19} {:>8} {:>9} {:>15}",
        "workload",
        "engine",
        "access",
        "threads",
        "ms",
        "quartiles",
        "Ggas/s",
        "speed-up",
        "quartiles"
    )
}

/// One line of the table.
pub fn table_line(line: &Line) -> String {
    let mut text = format!(
        "{:<22} {:<11} {:<9} {:>7} {:>10.2} {:>9.2} {:>9.2} {:>8.2} {:>8.2}× {:>7.2} {:>7.2}",
        line.workload,
        line.engine,
        line.access.unwrap_or(""),
        line.threads,
        line.ms_median,
        line.ms_lower_quartile,
        line.ms_upper_quartile,
        line.ggas_per_s,
        line.speedup,
        line.speedup_lower_quartile,
        line.speedup_upper_quartile,
    );
    // Writing to a string cannot fail.
    if let Some(worst) = line.speedup_of_worst_block {
        let _ = write!(text, "  worst block {worst:.2}×");
    }
    if let Some(ceiling) = line.ceiling {
        let _ = write!(text, "  ceiling {ceiling:.2}×");
    }
    text
}

/// The lines of the schedulers at one rate of conflicts, as JSON: `speedup` is prio-graph's time over
/// this one's.
pub fn scheduler_lines(results: &[SchedulerResult]) -> Vec<serde_json::Value> {
    let base = results
        .iter()
        .find(|result| result.kind == SchedulerKind::PrioGraph)
        .map_or(f64::NAN, |result| result.ns.median());
    let transactions = |result: &SchedulerResult| {
        f64::from(u32::try_from(result.transactions).unwrap_or(u32::MAX))
    };
    (results.iter())
        .map(|result| {
            let ns = result.ns.median();
            serde_json::json!({
                "workload": "scheduler",
                "conflict_percent": result.conflict_percent,
                "transactions": result.transactions,
                "gas": 0,
                "engine": result.kind.name(),
                "access": null,
                "threads": 1,
                "runs": result.ns.len(),
                "ms_median": ns * transactions(result) / 1e6,
                "ns_per_transaction": ns,
                "ns_lower_quartile": result.ns.lower_quartile(),
                "ns_upper_quartile": result.ns.upper_quartile(),
                "ggas_per_s": 0.0,
                "speedup": base / ns,
            })
        })
        .collect()
}

/// A scheduler's line of the table.
pub fn scheduler_table_line(result: &SchedulerResult) -> String {
    format!(
        "scheduler, {:>3} % conflict: {:<31} {:>7.1} ns a transaction ({:.1} to {:.1})",
        result.conflict_percent,
        result.kind.name(),
        result.ns.median(),
        result.ns.lower_quartile(),
        result.ns.upper_quartile(),
    )
}
