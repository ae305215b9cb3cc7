//! The same work on our accounts database and on other stores, each in separate processes.

use clap::Parser;
use hdrhistogram::Histogram;
use lockweave_peers::{
    exit_code,
    machine::{self, WorkFolder},
    report::{Report, write_header, write_line, write_ratios},
    store::{Store, StoreError},
    stores::StoreKind,
    workload::{Value, Workload, mix},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure our accounts database beside redb, fjall, LMDB and, with the feature `rocksdb`, `RocksDB`.
///
/// Each store loads the entries, then takes blocks of 20,000 updates and 5,000 inserts, each one durable
/// commit; its process is killed, and another one opens the store again, reads on 1 and 4 threads, and
/// reads once more with the operating system's cache dropped. Ours computes the state root,
/// keeps 256 blocks of history and compacts, all within the times shown.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// Entries loaded.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    entries: u64,
    /// Blocks of updates and inserts.
    #[arg(long, value_name = "B", default_value_t = 200)]
    blocks: u64,
    /// Seconds of each reading.
    #[arg(long, value_name = "S", default_value_t = 5)]
    seconds: u64,
    /// Only these stores.
    #[arg(long, value_delimiter = ',', value_enum)]
    stores: Vec<StoreKind>,
    /// Where to put the stores' files, which stay there [default: a temporary folder in the working
    /// directory].
    #[arg(long, value_name = "DIR", alias = "folder")]
    datadir: Option<PathBuf>,
    /// Continue with the folder of an earlier run with the same number of entries, instead of loading.
    #[arg(long, requires = "datadir")]
    reuse: bool,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true, value_enum)]
    phase: Option<Phase>,
    /// Blocks that the folder has after the loaded entries; none if it is not loaded yet.
    #[arg(long, hide = true)]
    done: Option<u64>,
}

/// Unmeasured blocks after a store is reopened. They fill its cache.
const WARM_BLOCKS: u64 = 20;

/// The contents of a store's folder.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Prepared {
    /// Entries loaded.
    entries: u64,
    /// Blocks committed after them.
    blocks: u64,
}

impl Prepared {
    fn path(datadir: &Path, store: StoreKind) -> PathBuf {
        datadir.join(format!("{}.json", store.name()))
    }

    /// The contents that an earlier run left, if that is allowed and it ended well.
    fn load(args: &Args, datadir: &Path, store: StoreKind) -> Result<Option<Self>, StoreError> {
        let folder = datadir.join(store.name());
        match std::fs::read(Self::path(datadir, store)) {
            Ok(bytes) if args.reuse => {
                let found: Self = serde_json::from_slice(&bytes)?;
                if found.entries != args.entries {
                    let (found, wanted) = (found.entries, args.entries);
                    let folder = folder.display();
                    return Err(format!("{folder} has {found} entries, not {wanted}").into());
                }
                return Ok(Some(found));
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        if folder.exists() {
            let folder = folder.display();
            let what = "is there already, or a run that wrote to it did not end: remove it";
            return Err(format!("{folder} {what}, or give --reuse").into());
        }
        Ok(None)
    }

    fn store(self, datadir: &Path, store: StoreKind) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&self)?;
        Ok(std::fs::write(Self::path(datadir, store), bytes)?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Phase {
    Write,
    Read,
    Cold,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.phase {
        Some(phase) => child(&args, phase),
        None => parent(&args),
    };
    exit_code(result)
}

fn parent(args: &Args) -> Result<(), StoreError> {
    let stores = if args.stores.is_empty() {
        StoreKind::ALL
    } else {
        &args.stores
    };
    let work = WorkFolder::create(args.datadir.as_deref())?;
    let datadir = work.path();
    let mut out = std::io::stdout().lock();
    if !args.json {
        write_header(&mut out)?;
    }
    let mut reports = Vec::new();
    for store in stores {
        let folder = datadir.join(store.name());
        let prepared = Prepared::load(args, datadir, *store)?;
        if prepared.is_some() {
            // The number of blocks is unknown until this run ends.
            std::fs::remove_file(Prepared::path(datadir, *store))?;
        }
        let done = prepared.map(|prepared| prepared.blocks);
        let mut report = run(args, *store, &folder, Phase::Write, done)?;
        let blocks = done.map_or(0, |done| done + WARM_BLOCKS) + args.blocks;
        let read = run(args, *store, &folder, Phase::Read, Some(blocks))?;
        let cold = run(args, *store, &folder, Phase::Cold, Some(blocks))?;
        report.cores = thread::available_parallelism().map_or(1, usize::from);
        report.reopen_ms = read.reopen_ms;
        report.reads_per_s_1 = read.reads_per_s_1;
        report.reads_per_s_4 = read.reads_per_s_4;
        report.batched_reads_per_s_1 = read.batched_reads_per_s_1;
        report.batched_reads_per_s_4 = read.batched_reads_per_s_4;
        report.cold_reads_per_s = cold.cold_reads_per_s;
        if args.json {
            serde_json::to_writer(&mut out, &report)?;
            writeln!(out)?;
        } else {
            write_line(&mut out, &report)?;
        }
        out.flush()?;
        reports.push(report);
        if args.datadir.is_some() {
            let entries = args.entries;
            Prepared { entries, blocks }.store(datadir, *store)?;
        } else {
            std::fs::remove_dir_all(&folder)?;
        }
    }
    if !args.json {
        write_ratios(&mut out, &reports)?;
    }
    Ok(())
}

/// A child that is killed when it has reported.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(
    args: &Args,
    store: StoreKind,
    folder: &Path,
    phase: Phase,
    done: Option<u64>,
) -> Result<Report, StoreError> {
    let phase = match phase {
        Phase::Write => "write",
        Phase::Read => "read",
        Phase::Cold => "cold",
    };
    let child = Command::new(std::env::current_exe()?)
        .args(["--entries", &args.entries.to_string()])
        .args(["--blocks", &args.blocks.to_string()])
        .args(["--seconds", &args.seconds.to_string()])
        .args(done.map(|done| format!("--done={done}")))
        .args(["--stores", store.name(), "--phase", phase, "--datadir"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = Killed(child);
    let mut line = String::new();
    if let Some(output) = child.0.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    if line.is_empty() {
        return Err(format!("{} failed while it was to {phase}", store.name()).into());
    }
    Ok(serde_json::from_str(&line)?)
}

fn child(args: &Args, phase: Phase) -> Result<(), StoreError> {
    let store = *args.stores.first().ok_or("a child needs a store")?;
    let folder = args.datadir.clone().ok_or("a child needs a folder")?;
    let (report, _store) = match phase {
        Phase::Write => write(args, store, &folder)?,
        Phase::Read | Phase::Cold => read(args, store, &folder, phase)?,
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer(&mut out, &report)?;
    writeln!(out)?;
    out.flush()?;
    // The store stays open until the parent kills this process.
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(())
}

type Outcome = (Report, Box<dyn Store>);

fn write(args: &Args, kind: StoreKind, folder: &Path) -> Result<Outcome, StoreError> {
    let store = kind.open(folder)?;
    let mut workload = Workload::new(args.entries);
    let started = Instant::now();
    let mut number = 0;
    while let Some(block) = workload.load_block() {
        if args.done.is_none() {
            store.commit(number, &block)?;
        }
        number += 1;
    }
    let done = args.done.unwrap_or(0);
    for _ in 0..done {
        workload.block();
    }
    number += done;
    let warm = args.done.map_or(0, |_| WARM_BLOCKS);
    for _ in 0..warm {
        store.commit(number, &workload.block())?;
        number += 1;
    }
    let load_s = started.elapsed().as_secs_f64();
    let mut times = Histogram::<u64>::new(3)?;
    let mut processor = 0.0;
    for _ in 0..args.blocks {
        let block = workload.block();
        let before = machine::processor_ms()?;
        let started = Instant::now();
        store.commit(number, &block)?;
        times.record(u64::try_from(started.elapsed().as_micros())?)?;
        processor += machine::processor_ms()? - before;
        number += 1;
    }
    let (rss_mib, rss_anonymous_mib) = machine::resident_mib()?;
    let entries = count(workload.entries());
    let report = Report {
        store: kind.name().to_owned(),
        entries: workload.entries(),
        load_s: round(load_s),
        commit_ms_median: ms(times.value_at_quantile(0.5)),
        commit_ms_p99: ms(times.value_at_quantile(0.99)),
        commit_ms_max: ms(times.max()),
        cpu_ms_per_block: round(processor / count(args.blocks.max(1))),
        disk_bytes_per_entry: round(count(machine::disk_bytes(folder)?) / entries),
        index_bytes_per_entry: store
            .index_bytes()
            .map(|bytes| round(count(bytes) / entries)),
        rss_mib: round(rss_mib),
        rss_anonymous_mib: round(rss_anonymous_mib),
        ..Report::default()
    };
    Ok((report, store))
}

fn read(args: &Args, kind: StoreKind, folder: &Path, phase: Phase) -> Result<Outcome, StoreError> {
    let mut workload = Workload::new(args.entries);
    while workload.load_block().is_some() {}
    for _ in 0..args.done.unwrap_or(0) {
        workload.block();
    }
    if phase == Phase::Cold {
        machine::drop_cache(folder)?;
    }
    let started = Instant::now();
    let store = kind.open(folder)?;
    let reopen_ms = started.elapsed().as_secs_f64() * 1e3;
    let mut report = Report {
        store: kind.name().to_owned(),
        reopen_ms: round(reopen_ms),
        ..Report::default()
    };
    let time = Duration::from_secs(args.seconds);
    if phase == Phase::Cold {
        report.cold_reads_per_s = round(reads(&*store, &workload, 1, time, false)?);
    } else {
        // Warm: every entry is read once before it is measured.
        reads(&*store, &workload, 4, time, false)?;
        report.reads_per_s_1 = round(reads(&*store, &workload, 1, time, false)?);
        report.reads_per_s_4 = round(reads(&*store, &workload, 4, time, false)?);
        report.batched_reads_per_s_1 = round(reads(&*store, &workload, 1, time, true)?);
        report.batched_reads_per_s_4 = round(reads(&*store, &workload, 4, time, true)?);
    }
    Ok((report, store))
}

/// Keys generated before they are read.
const READ_BATCH: usize = 1024;

/// Random reads on this many threads, each checked, one after another or in batches. Returns reads a second.
fn reads(
    store: &dyn Store,
    workload: &Workload,
    threads: u64,
    time: Duration,
    at_once: bool,
) -> Result<f64, StoreError> {
    let read = |thread: u64| -> Result<f64, StoreError> {
        let mut reader = store.reader()?;
        let mut random = mix(thread + 77);
        let mut done = 0_u64;
        let mut reading = Duration::ZERO;
        let mut batch = Vec::with_capacity(READ_BATCH);
        let mut keys = Vec::with_capacity(READ_BATCH);
        while reading < time {
            // Generating keys is not measured.
            batch.clear();
            keys.clear();
            for _ in 0..READ_BATCH {
                random = mix(random);
                let entry = random % workload.entries();
                batch.push((entry, workload.value(entry)));
                keys.push(workload.key(entry));
            }
            let check = |(entry, value): &(u64, Value), found: Option<Value>| {
                if found == Some(*value) {
                    Ok(())
                } else {
                    Err(format!("entry {entry} is {found:?}"))
                }
            };
            let started = Instant::now();
            if at_once {
                for (expected, found) in batch.iter().zip(reader.get_many(&keys)?) {
                    check(expected, found)?;
                }
            } else {
                for (expected, key) in batch.iter().zip(&keys) {
                    check(expected, reader.get(key)?)?;
                }
            }
            reading += started.elapsed();
            done += READ_BATCH as u64;
        }
        Ok(count(done) / reading.as_secs_f64())
    };
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || read(thread)))
            .collect();
        let mut sum = 0.0;
        for thread in running {
            sum += thread.join().map_err(|_| "a reading thread panicked")??;
        }
        Ok(sum)
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
const fn count(number: u64) -> f64 {
    number as f64
}

fn ms(microseconds: u64) -> f64 {
    round(count(microseconds) / 1e3)
}

fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
