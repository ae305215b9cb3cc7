//! The measurements of the stores, as a table.

use crate::stores::StoreKind;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// The measurements of a store.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub store: String,
    /// Cores of the machine.
    #[serde(default)]
    pub cores: usize,
    /// Entries at the end.
    #[serde(default)]
    pub entries: u64,
    /// Seconds of loading.
    #[serde(default)]
    pub load_s: f64,
    /// Half of the commits took no longer.
    #[serde(default)]
    pub commit_ms_median: f64,
    /// 99 of 100 commits took no longer.
    #[serde(default)]
    pub commit_ms_p99: f64,
    /// The longest commit.
    #[serde(default)]
    pub commit_ms_max: f64,
    /// Processor time of a block.
    #[serde(default)]
    pub cpu_ms_per_block: f64,
    /// Reads one after another, on one thread.
    #[serde(default)]
    pub reads_per_s_1: f64,
    /// The same on each of four threads, in all.
    #[serde(default)]
    pub reads_per_s_4: f64,
    /// Reads of 1,024 keys at a time.
    #[serde(default)]
    pub batched_reads_per_s_1: f64,
    /// The same on each of four threads, in all.
    #[serde(default)]
    pub batched_reads_per_s_4: f64,
    /// Reads with the operating system's cache dropped.
    #[serde(default)]
    pub cold_reads_per_s: f64,
    /// Opening after a kill.
    #[serde(default)]
    pub reopen_ms: f64,
    /// Bytes on the medium for each entry.
    #[serde(default)]
    pub disk_bytes_per_entry: f64,
    /// Memory of an index that is all in memory, for each entry.
    #[serde(default)]
    pub index_bytes_per_entry: Option<f64>,
    /// Memory of the process.
    #[serde(default)]
    pub rss_mib: f64,
    /// The anonymous part of it.
    #[serde(default)]
    pub rss_anonymous_mib: f64,
}

/// Writes the table's head.
pub fn write_header(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<10} {:>9} {:>9} {:>9} {:>8} {:>11} {:>11} {:>11} {:>11} {:>9} {:>9} {:>8} {:>9} {:>8}",
        "store",
        "commit ms",
        "p99 ms",
        "max ms",
        "cpu ms",
        "reads/s 1t",
        "reads/s 4t",
        "batched 1t",
        "batched 4t",
        "cold/s",
        "reopen ms",
        "disk B/e",
        "index B/e",
        "rss MiB"
    )
}

/// Writes a store's line.
pub fn write_line(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    let index = report
        .index_bytes_per_entry
        .map_or_else(|| "-".to_owned(), |it| it.to_string());
    writeln!(
        out,
        "{:<10} {:>9} {:>9} {:>9} {:>8} {:>11.0} {:>11.0} {:>11.0} {:>11.0} {:>9.0} {:>9} {:>8} {:>9} {:>8.0}",
        report.store,
        report.commit_ms_median,
        report.commit_ms_p99,
        report.commit_ms_max,
        report.cpu_ms_per_block,
        report.reads_per_s_1,
        report.reads_per_s_4,
        report.batched_reads_per_s_1,
        report.batched_reads_per_s_4,
        report.cold_reads_per_s,
        report.reopen_ms,
        report.disk_bytes_per_entry,
        index,
        report.rss_mib,
    )
}

type Figure = fn(&Report) -> f64;

/// Writes the ratio of our store to the best of the others.
pub fn write_ratios(out: &mut dyn Write, reports: &[Report]) -> std::io::Result<()> {
    let ours = StoreKind::Lockweave.name();
    let Some(own) = reports.iter().find(|report| report.store == ours) else {
        return Ok(());
    };
    let peers = || reports.iter().filter(|report| report.store != ours);
    let figures: [(&str, bool, Figure); 6] = [
        ("commit median", false, |report| report.commit_ms_median),
        ("commit p99", false, |report| report.commit_ms_p99),
        ("reads, 1 thread", true, |report| report.reads_per_s_1),
        ("reads, 4 threads", true, |report| report.reads_per_s_4),
        ("batched reads, 1 thread", true, |report| {
            report.batched_reads_per_s_1
        }),
        ("batched reads, 4 threads", true, |report| {
            report.batched_reads_per_s_4
        }),
    ];
    for (name, is_more_better, figure) in figures {
        // As a speed: more is better.
        let speed = |report: &Report| {
            let figure = figure(report);
            if is_more_better { figure } else { 1.0 / figure }
        };
        let best = peers().max_by(|left, right| speed(left).total_cmp(&speed(right)));
        let Some(best) = best else { return Ok(()) };
        let ratio = speed(own) / speed(best);
        writeln!(out, "{name}: {ratio:.1} times {}'s", best.store)?;
    }
    writeln!(out, "{} cores", own.cores)
}
