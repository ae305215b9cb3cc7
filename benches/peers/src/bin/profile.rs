//! One engine on one workload, for a profiler; and callgrind's counts by phase.

use clap::Parser;
use lockweave_banking_stage::{StageConfig, pin_thread};
use lockweave_engine::Engine as ParallelEngine;
use lockweave_peers::{
    engine::{
        block::{AccessSource, Block, timed},
        measure::Samples,
        phases::instructions_by_phase,
        workload::{Selection, WorkloadName},
        yardstick::Yardstick,
    },
    exit_code,
};
use std::{
    error::Error,
    fs,
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Run a workload on one path, for a profiler, or sort callgrind's counts by phase.
///
/// The function `engine::block::timed` holds the clock. A profiler that collects only inside it sees exactly what the
/// bench `engine` measures; `benches/profile.sh` does so.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// The workload.
    #[arg(long, value_name = "W", value_enum, required_unless_present = "phases")]
    workload: Option<WorkloadName>,
    /// The engine that runs it.
    #[arg(long, value_name = "E", value_enum, default_value = "recorded")]
    engine: Engine,
    /// Worker threads of our engine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    threads: usize,
    /// Run blocks of payments under locks, as all others.
    #[arg(long)]
    under_locks: bool,
    /// Measured runs, after one warm-up run.
    #[arg(long, value_name = "R", default_value_t = 1)]
    runs: usize,
    /// Transactions of generated blocks, instead of their workload's own number.
    #[arg(long, value_name = "T")]
    transactions: Option<usize>,
    #[command(flatten)]
    selection: Selection,
    /// Print the number of transactions of the workload, and run nothing.
    #[arg(long)]
    count: bool,
    /// Read a file of callgrind (with `--compress-strings=no --compress-pos=no`) and print the instructions of each
    /// phase.
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    phases: Option<PathBuf>,
    /// For `--phases`: subtract the counts of this file, of the same with fewer runs.
    #[arg(long, value_name = "FILE", requires = "phases")]
    less: Option<PathBuf>,
    /// For `--phases`: divide by this number of transactions.
    #[arg(long, value_name = "T", default_value_t = 1)]
    per: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    Yardstick,
    Recorded,
    Signed,
    Inferred,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let mut out = std::io::stdout().lock();
    if let Some(file) = &args.phases {
        return print_phases(file, args.less.as_deref(), f64::from(args.per), &mut out);
    }
    let workload = args.workload.unwrap_or(WorkloadName::RawSelf);
    let blocks = workload.blocks_among(args.transactions, &args.selection)?;
    let transactions: usize = blocks.iter().map(Block::transactions).sum();
    if args.count {
        writeln!(out, "{transactions}")?;
        return Ok(());
    }
    let mut times = Samples::default();
    for time in run_all(args, &blocks)? {
        times.push(time.as_secs_f64() * 1e9);
    }
    let transactions = u32::try_from(transactions)?;
    writeln!(
        out,
        "{}: {transactions} transactions in {} blocks, {:.0} ns each in the median of {} runs",
        workload.name(),
        blocks.len(),
        times.median() / f64::from(transactions.max(1)),
        times.len(),
    )?;
    Ok(())
}

/// The times of all runs but the first, each over all blocks.
fn run_all(args: &Args, blocks: &[Block]) -> Result<Vec<Duration>, Box<dyn Error>> {
    let threads = NonZeroUsize::new(args.threads).unwrap_or(NonZeroUsize::MIN);
    let mut config = StageConfig::with_threads(threads).pinned();
    if args.under_locks {
        config.payments_from = usize::MAX;
    }
    let engine = ParallelEngine::builder().stage(config).build()?;
    pin_thread(0);
    let access = match args.engine {
        Engine::Yardstick => return run_yardstick(args, blocks),
        Engine::Recorded => AccessSource::Recorded,
        Engine::Signed => AccessSource::Signed,
        Engine::Inferred => AccessSource::Inferred,
    };
    if !blocks.iter().all(|block| block.has(access)) {
        return Err("recorded transactions signed nothing".into());
    }
    let round = || -> Duration {
        let one = |block: &Block| {
            let (time, sealed) = block.run(&engine, access);
            engine.recycle(sealed);
            time
        };
        blocks.iter().map(one).sum()
    };
    Ok((0..=args.runs).map(|_| round()).skip(1).collect())
}

fn run_yardstick(args: &Args, blocks: &[Block]) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut times = vec![Duration::ZERO; args.runs + 1];
    for block in blocks {
        let mut yardstick = Yardstick::new(block.context(), block.steps(), block.flat_state()?);
        for sum in &mut times {
            yardstick.reset();
            let (time, result) = timed(|| yardstick.run());
            result?;
            *sum += time;
        }
    }
    Ok(times.split_off(1))
}

fn print_phases(
    file: &Path,
    less: Option<&Path>,
    per: f64,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let mut phases = instructions_by_phase(&fs::read_to_string(file)?)?;
    if let Some(less) = less {
        for (phase, cost) in instructions_by_phase(&fs::read_to_string(less)?)? {
            *phases.entry(phase).or_default() -= cost;
        }
    }
    let mut phases: Vec<_> = phases
        .into_iter()
        .filter(|(_, cost)| *cost >= per / 2.0)
        .collect();
    phases.sort_by(|left, right| right.1.total_cmp(&left.1));
    let all: f64 = phases.iter().map(|(_, cost)| cost).sum();
    for (phase, cost) in phases.into_iter().chain([("all", all)]) {
        writeln!(
            out,
            "{:>12.0}  {:>5.1} %  {phase}",
            cost / per,
            cost / all * 100.0
        )?;
    }
    Ok(())
}
