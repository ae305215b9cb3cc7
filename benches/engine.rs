//! What declared access gains: blocks run serially and under locks, and the lock table alone.
//!
//! `cargo bench --bench engine`; ratios of the same run are printed first, then criterion's figures.
//! `LOCKWEAVE_RATIOS=NAME` prints only the ratios of the workloads whose names begin with NAME (all, if it is
//! empty).
//! Mainnet blocks come from the fixtures (`LOCKWEAVE_FIXTURES`, else `../shared/fixtures`). Without
//! them they are left out, with a note.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput};
use lockweave::Engine;
use lockweave_banking_stage::{Access, InferredStats, LockTable, StageConfig, pin_thread};
use lockweave_evm_adapter::{ChainSpec, TemplateCache};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};
use lockweave_validator::{recorded::RecordedBlocks, replay::prepare_block};
use std::{
    cell::{Cell, RefCell},
    hint::black_box,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, Barrier},
    time::Duration,
};
use support::{Recipients, Workload, erc20, hostile, raw};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocks of this much gas and more are the large ones.
const LARGE_BLOCK_GAS: u64 = 15_000_000;
/// Pairs of runs for each ratio.
const PAIRS: usize = 15;

fn main() {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let only = std::env::var("LOCKWEAVE_RATIOS").ok();
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.starts_with(only));
    let workloads = [
        (
            "raw-self",
            (|| vec![raw(47_620, Recipients::Themselves)]) as fn() -> _,
        ),
        ("raw-chain", || vec![raw(47_620, Recipients::Chain)]),
        ("raw-hot", || vec![raw(47_620, Recipients::One)]),
        (
            "erc20-self",
            (|| vec![erc20(20_000, Recipients::Themselves)]) as fn() -> _,
        ),
        ("erc20-chain", || vec![erc20(20_000, Recipients::Chain)]),
        ("mainnet", mainnet_blocks),
        ("hostile", || vec![hostile(2_000)]),
    ];
    let workloads: Vec<Vec<Workload>> = (workloads.into_iter())
        .filter(|(name, _)| wanted(name))
        .map(|(_, make)| make())
        .collect();
    println!("{cores} cores; medians of {PAIRS} pairs of runs, serial and parallel in turn");
    for group in workloads.iter().filter(|group| !group.is_empty()) {
        for threads in [1, 2, 4] {
            print_ratio(group, threads, Sets::Recorded);
        }
        print_ratio(group, 4, Sets::Simulated);
        print_ratio(group, 4, Sets::Templates);
        if group.len() > 1 {
            print_ratio(group, 4, Sets::Warm);
        }
        if let [workload] = &group[..] {
            print_ceiling(4, workload);
        }
    }
    if only.is_some() {
        return;
    }
    let mut criterion = Criterion::default().configure_from_args();
    blocks(&mut criterion, &workloads);
    lock_table(&mut criterion);
    criterion.final_summary();
}

fn engine(threads: usize) -> Engine {
    let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
    let stage = StageConfig::with_threads(threads).pinned();
    Engine::builder()
        .stage(stage)
        .build()
        .expect("threads start")
}

fn mainnet_blocks() -> Vec<Workload> {
    let fixtures = std::env::var_os("LOCKWEAVE_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures"),
        PathBuf::from,
    );
    let archive = fixtures.join("mainnet_blocks.tar.zst");
    if !archive.exists() {
        println!("no {}: mainnet blocks are left out", archive.display());
        return Vec::new();
    }
    let chain = ChainSpec::mainnet();
    RecordedBlocks::open(&archive, None)
        .expect("a sound archive")
        .map(|block| block.expect("a sound block"))
        .filter(|block| block.header.gas_used >= LARGE_BLOCK_GAS)
        .map(|block| {
            let (block, view) =
                prepare_block(&chain, block, NonZeroUsize::MIN).expect("a sound block");
            let number = block.header().number.to_string();
            Workload::new(number, view, block.context().clone(), block.steps())
        })
        .collect()
}

/// Where access sets come from.
#[derive(Clone, Copy, Debug)]
enum Sets {
    Recorded,
    /// Inferred on the clock, by simulation alone.
    Simulated,
    /// Inferred on the clock, by templates that are learned on the clock too: each run begins with none.
    Templates,
    /// The same, but each block begins with the templates of earlier blocks.
    Warm,
}

/// Serial over parallel, run in turn on the same work.
fn print_ratio(group: &[Workload], threads: usize, sets: Sets) {
    let counted = Cell::new(InferredStats::default());
    // By the blocks before the one that runs, and with that one.
    let [taught, learned] = [(); 2].map(|()| RefCell::<Arc<TemplateCache>>::default());
    let run = |workload: &Workload, engine: &Engine| match sets {
        Sets::Recorded => workload.run_in_parallel(engine),
        Sets::Simulated => {
            let (time, sealed, stats) = workload.run_inferred(engine, None);
            counted.set(stats);
            (time, sealed)
        }
        Sets::Templates => {
            let cache = Arc::new(TemplateCache::new());
            let (time, sealed, stats) = workload.run_inferred(engine, Some(&cache));
            counted.set(stats);
            (time, sealed)
        }
        Sets::Warm => {
            let cache = Arc::new(TemplateCache::clone(&taught.borrow()));
            let (time, sealed, stats) = workload.run_inferred(engine, Some(&cache));
            counted.set(stats);
            learned.replace(cache);
            (time, sealed)
        }
    };
    let engine = engine(threads);
    engine.stage().pin_caller();
    let mut serial = vec![Duration::ZERO; PAIRS];
    let mut parallel = vec![Duration::ZERO; PAIRS];
    let mut sum = Vec::new();
    for workload in group {
        let expected = workload.run_serially(&engine).1;
        assert_eq!(expected, run(workload, &engine).1);
        let mut of_block = [Vec::new(), Vec::new()];
        for _ in 0..PAIRS {
            of_block[0].push(workload.run_serially(&engine).0);
            let (time, sealed) = run(workload, &engine);
            engine.recycle(sealed);
            of_block[1].push(time);
        }
        sum.push(counted.take());
        taught.replace(learned.take());
        for (times, sums) in of_block.iter_mut().zip([&mut serial, &mut parallel]) {
            times.sort_unstable();
            for (time, sum) in times.iter().zip(sums) {
                *sum += *time;
            }
        }
    }
    let (serial, parallel) = (serial[PAIRS / 2], parallel[PAIRS / 2]);
    let sets_name = format!("{sets:?}").to_lowercase();
    let name = match group {
        [workload] => workload.name.clone(),
        _ => format!("mainnet, {} blocks of 15 Mgas and more", group.len()),
    };
    println!(
        "{name:<42} {threads} threads, {sets_name:<9}: {:>8.2} ms serial, {:>8.2} ms parallel, {:.2} ×",
        serial.as_secs_f64() * 1e3,
        parallel.as_secs_f64() * 1e3,
        serial.as_secs_f64() / parallel.as_secs_f64(),
    );
    if !matches!(sets, Sets::Recorded) {
        print_inference(&sum);
    }
}

/// The inference statistics of the last run of each block.
fn print_inference(runs: &[InferredStats]) {
    let sum = |count: fn(&InferredStats) -> usize| runs.iter().map(count).sum::<usize>();
    println!(
        "    {} known, {} by template, {} by simulation ({} taken); {} extended, {} violations, {} rolled back, {} alone",
        sum(|run| run.known),
        sum(|run| run.by_template),
        sum(|run| run.by_simulation),
        sum(|run| run.simulations_taken),
        sum(|run| run.late_grants),
        sum(|run| run.violations),
        sum(|run| run.rolled_back),
        sum(|run| run.executed_alone),
    );
}

/// The ceiling of this machine's cores: one serial run alone, compared with one on every core at once, each with its
/// own memory. Parallel execution of one block cannot do better.
fn print_ceiling(threads: usize, workload: &Workload) {
    let engine = engine(1);
    let timed = |runs: usize| {
        let start = Barrier::new(runs);
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..runs)
                .map(|worker| {
                    let (start, engine) = (&start, &engine);
                    scope.spawn(move || {
                        pin_thread(worker);
                        workload.run_serially(engine);
                        start.wait();
                        workload.run_serially(engine).0
                    })
                })
                .collect();
            let times = runs.into_iter().map(|run| run.join().expect("a sound run"));
            times.max().unwrap_or_default()
        })
    };
    let [mut alone, mut together] = [Vec::new(), Vec::new()];
    for _ in 0..PAIRS {
        alone.push(timed(1).as_secs_f64());
        together.push(timed(threads).as_secs_f64());
    }
    for times in [&mut alone, &mut together] {
        times.sort_unstable_by(f64::total_cmp);
    }
    let factor = u32::try_from(threads).map_or(f64::NAN, f64::from);
    println!(
        "{threads} serial runs of {} side by side, the ceiling of this machine: {:.2} ×",
        workload.name,
        factor * alone[PAIRS / 2] / together[PAIRS / 2],
    );
}

fn blocks(criterion: &mut Criterion, workloads: &[Vec<Workload>]) {
    let mut group = criterion.benchmark_group("block");
    group.sample_size(10);
    for workload in workloads.iter().flat_map(|group| group.iter().take(1)) {
        let serial = engine(1);
        group.bench_function(BenchmarkId::new("serial", &workload.name), |bencher| {
            bencher.iter_custom(|runs| (0..runs).map(|_| workload.run_serially(&serial).0).sum());
        });
        for threads in [1, 4] {
            let engine = engine(threads);
            let name = format!("{threads} threads");
            group.bench_function(BenchmarkId::new(name, &workload.name), |bencher| {
                bencher.iter_custom(|runs| {
                    (0..runs).map(|_| workload.run_in_parallel(&engine).0).sum()
                });
            });
        }
    }
    group.finish();
}

/// Tasks that hold locks at a time: one batch.
const WINDOW: usize = 2_048;

/// The lock table alone, on one thread: it locks and releases a batch of transactions.
fn lock_table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lock_table");
    group.throughput(Throughput::Elements(WINDOW as u64));
    for keys in [2, 10, 100] {
        for conflict_percent in [0, 10, 100] {
            let accesses = accesses(keys, conflict_percent);
            let name = format!("{keys} keys, {conflict_percent} % conflict");
            group.bench_function(name, |bencher| {
                let mut table = LockTable::new();
                let mut runnable = Vec::new();
                bencher.iter(|| pass(&mut table, &accesses, &mut runnable));
            });
        }
    }
    group.finish();
}

/// Exclusive keys of each task. Tasks in conflict share their first key.
fn accesses(keys: usize, conflict_percent: usize) -> Vec<Vec<KeyAccess>> {
    (0..WINDOW)
        .map(|task| {
            (0..keys)
                .map(|key| {
                    let shared = key == 0 && task % 100 < conflict_percent;
                    let index = if shared { 0 } else { 1 + task * keys + key };
                    KeyAccess {
                        key: KeyId::from_index(index),
                        mode: AccessMode::Write,
                    }
                })
                .collect()
        })
        .collect()
}

fn pass(table: &mut LockTable, accesses: &[Vec<KeyAccess>], runnable: &mut Vec<TaskId>) {
    for (task, access) in accesses.iter().enumerate() {
        black_box(table.acquire(TaskId::from_index(task), Access::Keys(access)));
    }
    // In block order every task is granted at its turn.
    for (task, access) in accesses.iter().enumerate() {
        table.release(TaskId::from_index(task), Access::Keys(access), runnable);
    }
    runnable.clear();
}
