//! Our engine beside the best sequential revm, on the same blocks, in the same run.

use clap::Parser;
use lockweave_peers::{
    engine::{
        block::{AccessSource, Block},
        chart,
        measure::{self, Configuration, Effort, WorkloadResult},
        report::{self, WorkloadSize},
        schedulers,
        workload::{Selection, WorkloadError, WorkloadName},
    },
    exit_code,
};
use serde_json::json;
use std::{
    error::Error,
    io::{IsTerminal as _, Write},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure our engine beside the best sequential revm, on the same blocks.
///
/// Both run in turn, so every ratio is of two adjacent runs. Before anything is timed, every path is compared with
/// the yardstick: same receipts, same state. Blocks are generated from a seed, or read from the recordings in
/// `LOCKWEAVE_FIXTURES` (else ../shared/fixtures).
///
/// Timed, for our engine: from opening the block to its sealed changes, with cold loads, with inference if access is
/// inferred, and with numbering of keys if it is signed. For the yardstick: from its first transaction to its last.
/// Not timed, for both: making the block and its state, recovering senders, clearing memory.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
// Switches of a command line, not states.
#[allow(clippy::struct_excessive_bools)]
struct Args {
    /// Only these workloads [default: all].
    #[arg(long = "workload", value_name = "W", value_delimiter = ',', value_enum)]
    workloads: Vec<WorkloadName>,
    /// The most worker threads; 1, 2, 4 and so on up to it are measured [default: the cores].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Write a chart of the speed-ups to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    chart: Option<PathBuf>,
    /// Seconds for each workload, unless its minimum of rounds takes longer.
    #[arg(long, value_name = "S", default_value_t = 6.0)]
    seconds: f64,
    /// Rounds of each workload at least.
    #[arg(long, value_name = "R", default_value_t = 3)]
    rounds: usize,
    /// Transactions of generated blocks, instead of their workload's own number.
    #[arg(long, value_name = "T")]
    transactions: Option<usize>,
    /// Only this access [default: all].
    #[arg(long, value_name = "A", value_delimiter = ',')]
    access: Vec<Access>,
    /// Only the yardstick, to profile it.
    #[arg(long)]
    sequential_only: bool,
    /// Only the most threads.
    #[arg(long)]
    only_threads: bool,
    /// Also every block of the workloads that have several, least gas first.
    #[arg(long)]
    each_block: bool,
    #[command(flatten)]
    selection: Selection,
    /// No sequential runs side by side, which measure the ceiling of the cores.
    #[arg(long)]
    no_ceiling: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Access {
    Recorded,
    Signed,
    Inferred,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

/// Pairs of runs for a ceiling, at most and at least.
const CEILING_PAIRS_MAX: usize = 5;
const CEILING_PAIRS_MIN: usize = 2;
/// Time for them, unless the fewest pairs take longer.
const CEILING_MS: f64 = 3_000.0;

/// The pairs for this time of one run.
// Few, and not below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn ceiling_pairs(sequential_ms: f64) -> usize {
    let pairs = CEILING_MS / (2.0 * sequential_ms);
    (pairs as usize).clamp(CEILING_PAIRS_MIN, CEILING_PAIRS_MAX)
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let threads = args.threads.unwrap_or(cores).get();
    let machine = json!({ "machine": { "cores": cores.get(), "threads": threads } });
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{machine}")?;
    } else {
        writeln!(out, "{cores} cores, up to {threads} threads")?;
        writeln!(out, "{}", report::table_head())?;
    }
    let wanted = if args.workloads.is_empty() {
        &WorkloadName::ALL[..]
    } else {
        &args.workloads
    };
    let mut drawn = Vec::new();
    for workload in wanted {
        if *workload == WorkloadName::Scheduler {
            measure_schedulers(args, &mut out)?;
            continue;
        }
        progress(&format!("{}: making the blocks", workload.name()));
        let blocks = match workload.blocks_among(args.transactions, &args.selection) {
            // The other workloads can still be measured.
            Err(error @ WorkloadError::NoFixtures(_)) if args.workloads.is_empty() => {
                clear();
                let _ = writeln!(std::io::stderr(), "{}: {error}", workload.name());
                continue;
            }
            blocks => blocks?,
        };
        for line in measure_workload(args, *workload, &blocks, threads, &mut out)? {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&line)?)?;
            } else {
                writeln!(out, "{}", report::table_line(&line))?;
            }
            drawn.push(line);
        }
        out.flush()?;
    }
    if let Some(path) = &args.chart {
        std::fs::write(path, chart::draw(&drawn, cores.get()))?;
    }
    Ok(())
}

/// Transactions in a hundred that write the same key.
const CONFLICT_PERCENTS: [u64; 4] = [0, 10, 50, 100];

fn measure_schedulers(args: &Args, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    if !cfg!(feature = "unified-scheduler") {
        eprintln!(
            "Agave's unified scheduler is left out; cargo's --features unified-scheduler brings it"
        );
    }
    for conflict_percent in CONFLICT_PERCENTS {
        progress(&format!("scheduler: {conflict_percent} % conflict"));
        let results = schedulers::measure(conflict_percent);
        clear();
        if args.json {
            for line in report::scheduler_lines(&results) {
                writeln!(out, "{line}")?;
            }
        } else {
            for result in &results {
                writeln!(out, "{}", report::scheduler_table_line(result))?;
            }
        }
    }
    Ok(())
}

fn measure_workload(
    args: &Args,
    workload: WorkloadName,
    blocks: &[Block],
    threads: usize,
    out: &mut impl Write,
) -> Result<Vec<report::Line>, Box<dyn Error>> {
    let configurations = configurations(args, blocks, threads);
    let effort = Effort {
        time: Duration::try_from_secs_f64(args.seconds)?,
        rounds_min: args.rounds.max(1),
        rounds_max: 51,
    };
    let name = workload.name();
    progress(&format!("{name}: holding all runs against the yardstick"));
    let mut result = measure::measure(blocks, &configurations, effort, |rounds| {
        progress(&format!("{name}: {rounds} rounds"));
    })?;
    if let ([block], false) = (blocks, args.no_ceiling) {
        progress(&format!("{name}: yardsticks side by side"));
        let pairs = ceiling_pairs(result.sequential.times_ms.median());
        result.ceiling = Some(measure::ceiling(block, threads, pairs)?);
    }
    clear();
    if args.each_block && blocks.len() > 1 {
        tell_blocks(args, workload, &mut result, out)?;
    }
    let size = WorkloadSize {
        workload: name,
        transactions: blocks.iter().map(Block::transactions).sum(),
        gas: blocks.iter().map(Block::gas).sum(),
    };
    Ok(report::lines(size, &result))
}

fn tell_blocks(
    args: &Args,
    workload: WorkloadName,
    result: &mut WorkloadResult,
    out: &mut impl Write,
) -> std::io::Result<()> {
    result.blocks.sort_by_key(|block| block.gas);
    for block in &result.blocks {
        if args.json {
            let line = report::block_line(workload.name(), block, &result.configurations);
            writeln!(out, "{line}")?;
        } else {
            let line = report::block_table_line(block, &result.configurations);
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

fn configurations(args: &Args, blocks: &[Block], threads: usize) -> Vec<Configuration> {
    if args.sequential_only {
        return Vec::new();
    }
    let wanted = |source: AccessSource| {
        let is_asked = args.access.is_empty()
            || args.access.iter().any(|access| match access {
                Access::Recorded => source == AccessSource::Recorded,
                Access::Signed => source == AccessSource::Signed,
                Access::Inferred => source == AccessSource::Inferred,
            });
        is_asked && blocks.iter().all(|block| block.has(source))
    };
    let counts: Vec<usize> = if args.only_threads {
        vec![threads]
    } else {
        let doubled = std::iter::successors(Some(1_usize), |count| count.checked_mul(2));
        let below = doubled.take_while(|count| *count < threads);
        below.chain([threads]).collect()
    };
    let sources = AccessSource::ALL
        .into_iter()
        .filter(|source| wanted(*source));
    sources
        .flat_map(|access| {
            counts
                .iter()
                .map(move |threads| Configuration {
                    access,
                    threads: *threads,
                })
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Prints progress: on a terminal in place of the last, elsewhere as a line.
fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[2K{text}");
    } else {
        let _ = writeln!(stderr, "{text}");
    }
}

fn clear() {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[2K");
    }
}
