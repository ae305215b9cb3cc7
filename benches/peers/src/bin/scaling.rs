//! Our scheduler on more workers than this machine has cores, by a discrete-event model.

use clap::Parser;
use lockweave_banking_stage::{BankingStage, StageConfig};
use lockweave_peers::engine::{
    block::{AccessSource, Block},
    measure::{Samples, ceiling},
    model::{Costs, ModelTask, critical_path, simulate},
    schedulers::{self, SchedulerKind},
    workload::{WorkloadError, WorkloadName},
    yardstick::Yardstick,
};
use lockweave_runtime::{DenseId, TaskId};
use serde_json::json;
use std::{error::Error, io::Write, num::NonZeroUsize, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Model our scheduler on more workers than this machine has cores.
///
/// Scheduler and lock table are the engine's own code, workers and their clock are simulated. What a
/// task takes is measured step by step on the yardstick and scaled to the engine's run on one thread;
/// what the scheduler takes is measured alone. The model is then held against real runs on as many
/// threads as there are cores; its error is printed. Caches and memory that cores share are not in
/// the model, so the error has a second figure, with tasks slowed as much as independent runs side by
/// side slow each other.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Only these workloads [default: all that are made, and the large mainnet blocks].
    #[arg(long = "workload", value_name = "W", value_delimiter = ',', value_enum)]
    workloads: Vec<WorkloadName>,
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 16, 32, 64, 128])]
    workers: Vec<usize>,
    /// Transactions of the blocks that are made, instead of their workload's own number.
    #[arg(long, value_name = "T")]
    transactions: Option<usize>,
    /// Nanoseconds of a turn at the scheduler beside what is done in it: the lock comes from another core.
    #[arg(long, value_name = "NS", default_value_t = 200)]
    turn_ns: u64,
    /// Nanoseconds until a waiting worker that is handed work runs it.
    #[arg(long, value_name = "NS", default_value_t = 5_000)]
    wake_ns: u64,
    /// Nanoseconds to feed and to complete a task of three keys [default: measured].
    #[arg(long, value_name = "NS")]
    task_ns: Option<f64>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs behind a measured time.
const RUNS: usize = 7;
/// Of what a task takes, this part is its preparation, before its locks are asked for: finding its
/// cells and loading what is cold.
const PREPARATION_PERCENT: u64 = 20;
/// More than this part of the time is what bounds a run.
const BOUND: f64 = 0.85;

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let per_task = args.task_ns.unwrap_or_else(|| {
        let results = schedulers::measure(0);
        let ours = (results.iter()).find(|result| result.kind == SchedulerKind::Lockweave);
        ours.map_or(f64::NAN, |result| result.ns.median())
    });
    let wanted = if args.workloads.is_empty() {
        let left_out = [WorkloadName::MainnetAll, WorkloadName::Scheduler];
        let all = WorkloadName::ALL.into_iter();
        all.filter(|workload| !left_out.contains(workload))
            .collect()
    } else {
        args.workloads.clone()
    };
    let mut out = std::io::stdout().lock();
    if args.json {
        let machine = json!({ "machine": { "cores": cores }, "task_ns": per_task });
        writeln!(out, "{machine}")?;
    } else {
        writeln!(
            out,
            "{cores} cores; {per_task:.0} ns of the scheduler for a task of three keys, {} ns a turn, \
             {} ns to wake",
            args.turn_ns, args.wake_ns
        )?;
    }
    for workload in wanted {
        let _ = writeln!(std::io::stderr(), "{}", workload.name());
        let blocks = match workload.blocks(args.transactions) {
            Err(error @ WorkloadError::NoFixtures(_)) if args.workloads.is_empty() => {
                let _ = writeln!(std::io::stderr(), "{error}");
                continue;
            }
            blocks => blocks?,
        };
        // Of several, the largest stands for all.
        let Some(block) = blocks.iter().max_by_key(|block| block.gas()) else {
            continue;
        };
        model_block(args, workload, block, per_task, cores, &mut out)?;
    }
    Ok(())
}

fn measured_ns(block: &Block, threads: usize) -> Result<f64, Box<dyn Error>> {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let stage = BankingStage::new(StageConfig::with_threads(threads).pinned())?;
    stage.pin_caller();
    let mut times = Samples::default();
    for _ in 0..RUNS {
        let (time, _) = block.run(&stage, AccessSource::Recorded);
        times.push(time.as_secs_f64() * 1e9);
    }
    Ok(times.median())
}

// Times of blocks are far below 2^52 ns.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]
fn model_block(
    args: &Args,
    workload: WorkloadName,
    block: &Block,
    per_task: f64,
    cores: usize,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let steps = block.steps();
    let mut yardstick = Yardstick::new(block.context(), steps, block.flat_state()?);
    let times = yardstick.step_times(3)?;
    let sequential: u64 = times.iter().sum();
    let one_thread = measured_ns(block, 1)?;
    let table = block.table();
    let keys: usize = (0..steps.len())
        .map(|step| table.accesses(TaskId::from_index(step)).len())
        .sum();
    let keys_per_task = keys as f64 / steps.len().max(1) as f64;
    let scheduling = per_task * keys_per_task / 3.0;
    let costs = Costs {
        turn: args.turn_ns,
        feed: (scheduling / 2.0) as u64,
        complete: (scheduling / 2.0) as u64,
        wake: args.wake_ns,
    };
    // What one thread takes beside scheduling is spread over the steps as the yardstick's time is.
    let work = (one_thread - scheduling * steps.len() as f64).max(1.0);
    let tasks = |slower: f64| -> Vec<ModelTask> {
        let step = |(index, time): (usize, &u64)| {
            let total = (*time as f64 * work / sequential as f64 * slower) as u64;
            let prepare = total * PREPARATION_PERCENT / 100;
            ModelTask {
                access: table.accesses(TaskId::from_index(index)).to_vec(),
                prepare,
                run: total - prepare,
                gas: steps[index].gas_hint(),
            }
        };
        times.iter().enumerate().map(step).collect()
    };
    let alone = tasks(1.0);
    let path = critical_path(&alone);
    let name = workload.name();
    for threads in [2, 4].into_iter().filter(|threads| *threads <= cores) {
        let measured = measured_ns(block, threads)?;
        let slower = threads as f64 / ceiling(block, threads, 3)?.median();
        let plain = simulate(&alone, threads, costs).span as f64;
        let shared = simulate(&tasks(slower.max(1.0)), threads, costs).span as f64;
        let (error, error_shared) = (plain / measured - 1.0, shared / measured - 1.0);
        if args.json {
            let line = json!({ "workload": name, "threads": threads, "measured_ms": measured / 1e6,
                "model_ms": plain / 1e6, "error": error, "error_with_ceiling": error_shared });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{name:<20} {threads:>4} threads: measured {:>8.2} ms, model {:>8.2} ms ({:+.0} %; {:+.0} % \
                 with tasks slowed as runs side by side are)",
                measured / 1e6,
                plain / 1e6,
                error * 100.0,
                error_shared * 100.0
            )?;
        }
    }
    for workers in &args.workers {
        let result = simulate(&alone, *workers, costs);
        let span = result.span as f64;
        let speedup = one_thread / span;
        let (lock, chain) = (result.lock_held as f64 / span, path as f64 / span);
        let bound = if lock > BOUND {
            "scheduler"
        } else if chain > BOUND {
            "longest chain"
        } else {
            "work"
        };
        if args.json {
            let line = json!({ "workload": name, "workers": workers, "model_ms": span / 1e6,
                "speedup_over_one_worker": speedup, "lock_held": lock, "longest_chain": chain,
                "turns": result.turns, "bound": bound });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{name:<20} {workers:>4} workers: {:>8.3} ms, {speedup:>6.1} × one worker; lock held {:>3.0} %, \
                 longest chain {:>3.0} %: bound by the {bound}",
                span / 1e6,
                lock * 100.0,
                chain * 100.0
            )?;
        }
    }
    out.flush()?;
    Ok(())
}
