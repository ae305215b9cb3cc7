//! Our stage on more workers than this machine has cores, by simulation.

use clap::Parser;
use lockweave_banking_stage::StageConfig;
use lockweave_engine::Engine;
use lockweave_peers::{
    engine::{
        block::{AccessSource, Block},
        costs,
        measure::{Samples, ceiling},
        model::{BlockModel, SimulatedBlock},
        virtual_workers::SimulatedCosts,
        workload::{WorkloadError, WorkloadName},
    },
    exit_code,
};
use serde_json::json;
use std::{error::Error, io::Write, num::NonZeroUsize, process::ExitCode};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Simulate our stage on more workers than this machine has cores.
///
/// The engine's own code takes all decisions; workers and their clock are simulated. The time of a task is measured
/// step by step on the yardstick and scaled to the engine's run on one thread. The times of scheduler turns, calls and
/// messages are measured between real threads. The simulation is then compared with real runs on one thread a core,
/// and its error is printed. It does not model caches and memory that cores share, so a second error is printed, with
/// tasks slowed as much as independent runs side by side slow each other.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Only these workloads [default: all generated ones, and the large mainnet blocks].
    #[arg(long = "workload", value_name = "W", value_delimiter = ',', value_enum)]
    workloads: Vec<WorkloadName>,
    /// Numbers of workers.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 16, 32, 64, 128])]
    workers: Vec<usize>,
    /// Transactions of generated blocks, instead of their workload's own number.
    #[arg(long, value_name = "T")]
    transactions: Option<usize>,
    /// Nanoseconds of a turn at the scheduler after another worker's turn, without the work done in it [default:
    /// measured].
    #[arg(long, value_name = "NS")]
    turn_ns: Option<u64>,
    /// Nanoseconds to feed or to complete a task, without its keys [default: measured].
    #[arg(long, value_name = "NS")]
    task_ns: Option<u64>,
    /// Nanoseconds for each of its keys [default: measured].
    #[arg(long, value_name = "NS")]
    key_ns: Option<u64>,
    /// Nanoseconds until a waiting worker begins a task that it is sent [default: measured].
    #[arg(long, value_name = "NS")]
    hand_over_ns: Option<u64>,
    /// Nanoseconds until a parked worker wakes [default: measured].
    #[arg(long, value_name = "NS")]
    wake_ns: Option<u64>,
    /// Print only the measured costs.
    #[arg(long)]
    only_costs: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

/// Runs for a measured time.
const RUNS: usize = 9;
/// Pairs of runs for the slowdown of runs side by side.
const CEILING_PAIRS: usize = 3;
/// A part of a run that takes more than this share of the time bounds it.
const BOUND: f64 = 0.85;

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let costs = costs(args, cores)?;
    let mut out = std::io::stdout().lock();
    print_costs(args, cores, costs, &mut out)?;
    if args.only_costs {
        return Ok(());
    }
    let left_out = [WorkloadName::MainnetAll, WorkloadName::Scheduler];
    let mut wanted = args.workloads.clone();
    if wanted.is_empty() {
        wanted.extend(WorkloadName::ALL);
        wanted.retain(|workload| !left_out.contains(workload));
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
        // The largest of several blocks represents all.
        let Some(block) = blocks.iter().max_by_key(|block| block.gas()) else {
            continue;
        };
        let model = BlockModel::measure(block, &engine(1)?, costs)?;
        let mut report = Report {
            args,
            workload,
            out: &mut out,
        };
        for threads in [2, 4].into_iter().filter(|threads| *threads <= cores) {
            report.check(block, &model, costs, threads)?;
        }
        for workers in &args.workers {
            report.print(&model, *workers, model.simulate(*workers, costs, 1.0))?;
        }
        report.out.flush()?;
    }
    Ok(())
}

fn costs(args: &Args, cores: usize) -> Result<SimulatedCosts, Box<dyn Error>> {
    let mut costs = costs::measure(cores)?;
    let given = [
        (&mut costs.turn, args.turn_ns),
        (&mut costs.task, args.task_ns),
        (&mut costs.key, args.key_ns),
        (&mut costs.hand_over, args.hand_over_ns),
        (&mut costs.wake, args.wake_ns),
    ];
    for (cost, given) in given {
        *cost = given.unwrap_or(*cost);
    }
    Ok(costs)
}

fn print_costs(
    args: &Args,
    cores: usize,
    costs: SimulatedCosts,
    out: &mut impl Write,
) -> std::io::Result<()> {
    let SimulatedCosts {
        turn_again,
        turn,
        task,
        key,
        call,
        hand_over,
        wake,
        ..
    } = costs;
    if args.json {
        let costs = json!({ "turn_again_ns": turn_again, "turn_ns": turn, "task_ns": task, "key_ns": key,
            "call_ns": call, "hand_over_ns": hand_over, "wake_ns": wake });
        return writeln!(
            out,
            "{}",
            json!({ "machine": { "cores": cores }, "costs": costs })
        );
    }
    writeln!(
        out,
        "{cores} cores; a turn {turn} ns ({turn_again} after its own turn), a task fed or completed {task} \
         and {key} for each key; a call {call}, a called worker comes after {wake}, a waiting one begins \
         after {hand_over}"
    )
}

/// An engine that runs blocks of payments under locks too, because the model is of locks.
fn engine(threads: usize) -> Result<Engine, Box<dyn Error>> {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let stage = StageConfig {
        payments_from: usize::MAX,
        ..StageConfig::with_threads(threads).pinned()
    };
    let engine = Engine::builder().stage(stage).build()?;
    engine.stage().pin_caller();
    Ok(engine)
}

fn measured_ns(block: &Block, threads: usize) -> Result<f64, Box<dyn Error>> {
    let engine = engine(threads)?;
    let mut times = Samples::default();
    for _ in 0..RUNS {
        let (time, sealed) = block.run(&engine, AccessSource::Recorded);
        engine.recycle(sealed);
        times.push(time.as_secs_f64() * 1e9);
    }
    Ok(times.median())
}

// Times of blocks are far below 2^52 ns.
#[allow(clippy::cast_precision_loss)]
const fn real(number: u64) -> f64 {
    number as f64
}

struct Report<'a, W> {
    args: &'a Args,
    workload: WorkloadName,
    out: &'a mut W,
}

impl<W: Write> Report<'_, W> {
    /// Compares the simulation with a real run.
    fn check(
        &mut self,
        block: &Block,
        model: &BlockModel,
        costs: SimulatedCosts,
        threads: usize,
    ) -> Result<(), Box<dyn Error>> {
        let measured = measured_ns(block, threads)?;
        let factor = f64::from(u32::try_from(threads)?);
        let slower = factor / ceiling(block, threads, CEILING_PAIRS)?.median();
        let plain = real(model.simulate(threads, costs, 1.0).span);
        let shared = real(model.simulate(threads, costs, slower.max(1.0)).span);
        let (error, error_shared) = (plain / measured - 1.0, shared / measured - 1.0);
        let name = self.workload.name();
        if self.args.json {
            let line = json!({ "workload": name, "threads": threads, "measured_ms": measured / 1e6,
                "model_ms": plain / 1e6, "error": error, "error_with_ceiling": error_shared });
            writeln!(self.out, "{line}")?;
        } else {
            writeln!(
                self.out,
                "{name:<20} {threads:>4} threads: measured {:>8.2} ms, simulated {:>8.2} ms ({:+.0} %; {:+.0} % \
                 with tasks slowed as runs side by side are)",
                measured / 1e6,
                plain / 1e6,
                error * 100.0,
                error_shared * 100.0
            )?;
        }
        Ok(())
    }

    fn print(
        &mut self,
        model: &BlockModel,
        workers: usize,
        result: SimulatedBlock,
    ) -> std::io::Result<()> {
        let span = real(result.span);
        let speedup = model.one_thread / span;
        let lock = real(result.tasks.lock_held + result.gathering.lock_held) / span;
        let (chain, serial) = (
            real(model.critical_path()) / span,
            real(result.serial) / span,
        );
        let gathering = real(result.gathering.span) / span;
        let bound = match (lock > BOUND, chain > BOUND) {
            (true, _) => "scheduler",
            (_, true) => "longest chain",
            _ if serial + gathering > 0.5 => "opening and sealing",
            _ => "work",
        };
        let name = self.workload.name();
        if self.args.json {
            let line = json!({ "workload": name, "workers": workers, "model_ms": span / 1e6,
                "speedup_over_one_worker": speedup, "lock_held": lock, "longest_chain": chain,
                "serial": serial, "gathering": gathering, "free": result.tasks.free,
                "turns": result.tasks.turns, "called": result.tasks.called, "bound": bound });
            return writeln!(self.out, "{line}");
        }
        writeln!(
            self.out,
            "{name:<20} {workers:>4} workers: {:>8.3} ms, {speedup:>6.1} × one worker; lock held {:>3.0} %, longest \
             chain {:>3.0} %, opening {:>2.0} % and gathering {:>2.0} %, {} called: bound by {bound}",
            span / 1e6,
            lock * 100.0,
            chain * 100.0,
            serial * 100.0,
            gathering * 100.0,
            result.tasks.called,
        )
    }
}
