//! The root of the state after each block: our accounts database beside Firewood and NOMT, each in its own process.

use clap::Parser;
use hdrhistogram::Histogram;
use lockweave_peers::{
    exit_code,
    machine::{self, WorkFolder},
    roots::{
        RootStore, RootStoreKind, Settings, cache_bytes,
        work::{Phase, Work},
    },
    store::StoreError,
};
use lockweave_state_trie::keccak::Implementation;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure the state root of our accounts database beside Firewood's and NOMT's, on the same changes.
///
/// Each store, one after another and in a process of its own, loads N accounts, and takes blocks in which 80 % of the
/// changes update random accounts and 20 % create accounts. Then 1,000 contracts are created with N / 10 slots in all
/// (at least 100,000, or N if that is fewer), and as many blocks change slots in the same way. Loading is not in the
/// times; standard error tells how long it took. After the blocks of each phase, 1,000 proofs of random accounts or
/// slots are made.
///
/// Ours and Firewood compute Ethereum's root, and the run fails if they differ after a phase. NOMT does the same job
/// for a binary trie with Blake3, so its root is another. Values are those of Ethereum's trie. The stores get the
/// changes of a block in no order, and hashing the keys is in the times.
///
/// Firewood and NOMT get a third of the machine's memory as cache, 6 GB at most. Firewood keeps 128 revisions and ours 256
/// blocks, their defaults; NOMT keeps none.
#[derive(Clone, Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Each line of output is about a store and a phase:

  entries               accounts, contracts and slots after the phase's blocks
  root_ms_*             from the changes of a block to its root
  commit_ms_*           from the changes to a durable block, with that root. Firewood does not call
                        fsync: it counts when the file has the root and we have called fdatasync
  commit_core_ms_*      processor time of a block on all threads, with what runs in the background; it
                        depends less on what else the machine does
  proof_us_median       a proof together with the value; null for a store without proofs
  disk_bytes_per_entry  what the store's files take on the medium. NOMT's has a table of fixed size,
                        which is made for the entries at the end, and is allocated at once
  memory_bytes          growth of the process's resident set since before the store was opened, up to
                        the end of the phase. Pages of files that a store maps count, so for
                        ours it is more than it needs; standard error has the anonymous part too
  root                  the root after the phase's blocks"
)]
struct Args {
    /// Accounts loaded.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    entries: u64,
    /// Changes of a block.
    #[arg(long, value_name = "C", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(1..))]
    changes: u64,
    /// Blocks of each phase.
    #[arg(long, value_name = "B", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    blocks: u64,
    /// Threads of our store, NOMT's commit workers, and threads that hash keys for Firewood and NOMT. Firewood itself has
    /// 16 threads, and NOMT three more for its files.
    #[arg(long, value_name = "T", default_value_t = NonZeroUsize::new(2).expect("not zero"))]
    threads: NonZeroUsize,
    /// Hash with this implementation in our store [default: the fastest of this processor].
    #[arg(long, value_enum)]
    keccak: Option<Keccak>,
    /// Only these stores.
    #[arg(long, value_delimiter = ',', value_enum)]
    stores: Vec<RootStoreKind>,
    /// Where to put the stores' files, which stay there [default: a temporary folder in the working directory, removed
    /// at the end].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
    /// Measure one store in this process.
    #[arg(long, hide = true, requires = "dir")]
    child: bool,
}

/// An implementation of our Keccak-256.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Keccak {
    Avx512,
    Avx2,
    Portable,
}

impl Keccak {
    /// The name on the command line.
    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    const fn implementation(self) -> Implementation {
        match self {
            Self::Avx512 => Implementation::Avx512,
            Self::Avx2 => Implementation::Avx2,
            Self::Portable => Implementation::Portable,
        }
    }
}

/// Proofs after the blocks of a phase.
const PROOFS: u64 = 1_000;
/// Time between two lines about a load.
const PROGRESS: Duration = Duration::from_secs(10);

/// The measurements of a store in a phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Report {
    store: String,
    phase: Phase,
    entries: u64,
    root_ms_median: f64,
    root_ms_p99: f64,
    commit_ms_median: f64,
    commit_ms_p99: f64,
    commit_core_ms_median: f64,
    proof_us_median: Option<f64>,
    disk_bytes_per_entry: f64,
    memory_bytes: u64,
    root: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    exit_code(if args.child {
        child(&args)
    } else {
        parent(&args)
    })
}

fn parent(args: &Args) -> Result<(), StoreError> {
    let stores = if args.stores.is_empty() {
        RootStoreKind::ALL
    } else {
        &args.stores
    };
    let work = WorkFolder::create(args.dir.as_deref())?;
    let dir = work.path();
    let mut out = std::io::stdout().lock();
    if !args.json {
        write_header(&mut out)?;
    }
    let mut reports = Vec::new();
    for store in stores {
        let folder = dir.join(store.name());
        if folder.exists() {
            return Err(format!("{} is there already: remove it", folder.display()).into());
        }
        run(args, *store, dir, |report| {
            if args.json {
                serde_json::to_writer(&mut out, &report)?;
                writeln!(out)?;
            } else {
                write_line(&mut out, &report)?;
            }
            out.flush()?;
            reports.push(report);
            Ok(())
        })?;
        if matches!(work, WorkFolder::Temporary(_)) {
            std::fs::remove_dir_all(&folder)?;
        }
    }
    check_roots(&reports)
}

/// Ours and Firewood's roots must be the same.
fn check_roots(reports: &[Report]) -> Result<(), StoreError> {
    let root = |store: RootStoreKind, phase| {
        let mut reports = reports.iter();
        let found = reports.find(|it| it.store == store.name() && it.phase == phase);
        found.map(|report| &report.root)
    };
    for phase in Phase::ALL {
        let ours = root(RootStoreKind::Lockweave, phase);
        let firewood = root(RootStoreKind::Firewood, phase);
        if let (Some(ours), Some(firewood)) = (ours, firewood)
            && ours != firewood
        {
            let phase = phase.name();
            let what = format!("our root is {ours}, and Firewood's is {firewood}");
            return Err(format!("roots differ after {phase}: {what}").into());
        }
    }
    Ok(())
}

/// Measures a store in another process.
fn run(
    args: &Args,
    store: RootStoreKind,
    dir: &Path,
    mut take: impl FnMut(Report) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--entries", &args.entries.to_string()])
        .args(["--changes", &args.changes.to_string()])
        .args(["--blocks", &args.blocks.to_string()])
        .args(["--threads", &args.threads.to_string()])
        .args((args.keccak.iter()).flat_map(|it| ["--keccak".to_owned(), it.name()]))
        .args(["--stores", store.name(), "--child", "--dir"])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            take(serde_json::from_str(&line?)?)?;
        }
    }
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("{} failed: {status}", store.name()).into());
    }
    Ok(())
}

fn child(args: &Args) -> Result<(), StoreError> {
    let kind = *args.stores.first().ok_or("a child needs a store")?;
    let dir = args.dir.as_ref().ok_or("a child needs a folder")?;
    if let Some(keccak) = args.keccak {
        keccak.implementation().use_at_most();
    }
    let folder = dir.join(kind.name());
    let mut work = Work::new(args.entries, args.changes);
    let settings = Settings {
        threads: args.threads,
        entries: work.entries_after(args.blocks),
        cache_bytes: cache_bytes()?,
    };
    let before = machine::resident_mib()?;
    let mut store = kind.open(&folder, settings)?;
    let mut out = std::io::stdout().lock();
    for phase in Phase::ALL {
        let name = format!("{}, {}", kind.name(), phase.name());
        let started = Instant::now();
        let mut told = Instant::now();
        while let Some((number, delta)) = work.load(phase) {
            store.commit(number, &delta)?;
            if told.elapsed() > PROGRESS {
                note(&format!("{name}: {} entries so far", work.entries()))?;
                told = Instant::now();
            }
        }
        let load_s = round(started.elapsed().as_secs_f64());
        note(&format!("{name}: loaded in {load_s} s"))?;
        // What is left to write of the load is not the blocks' work.
        rustix::fs::sync();
        let started = Instant::now();
        let mut report = blocks(args, kind, &mut *store, &mut work, phase)?;
        report.proof_us_median = proofs(&*store, &mut work, phase)?;
        let after = machine::resident_mib()?;
        report.memory_bytes = bytes(after.0 - before.0);
        let disk = machine::disk_bytes(&folder)?;
        report.disk_bytes_per_entry = round(count(disk) / count(work.entries()));
        let anonymous = bytes(after.1 - before.1);
        let seconds = round(started.elapsed().as_secs_f64());
        let what =
            format!("blocks and proofs in {seconds} s, {anonymous} bytes of anonymous memory");
        note(&format!("{name}: {what}"))?;
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// Runs the blocks of a phase.
fn blocks(
    args: &Args,
    kind: RootStoreKind,
    store: &mut dyn RootStore,
    work: &mut Work,
    phase: Phase,
) -> Result<Report, StoreError> {
    let mut root_times = Histogram::<u64>::new(3)?;
    let mut commit_times = Histogram::<u64>::new(3)?;
    let mut core_times = Histogram::<u64>::new(3)?;
    let mut root = None;
    for _ in 0..args.blocks {
        let (number, delta) = work.block(phase);
        let before = core_time();
        let committed = store.commit(number, &delta)?;
        core_times.record(microseconds(core_time().saturating_sub(before))?)?;
        root_times.record(microseconds(committed.root_time)?)?;
        commit_times.record(microseconds(committed.commit_time)?)?;
        root = Some(committed.root);
    }
    Ok(Report {
        store: kind.name().to_owned(),
        phase,
        entries: work.entries(),
        root_ms_median: ms(root_times.value_at_quantile(0.5)),
        root_ms_p99: ms(root_times.value_at_quantile(0.99)),
        commit_ms_median: ms(commit_times.value_at_quantile(0.5)),
        commit_ms_p99: ms(commit_times.value_at_quantile(0.99)),
        commit_core_ms_median: ms(core_times.value_at_quantile(0.5)),
        proof_us_median: None,
        disk_bytes_per_entry: 0.0,
        memory_bytes: 0,
        root: root.ok_or("no block")?.to_string(),
    })
}

/// Makes proofs of random entries. Returns the median time in microseconds, if the store has proofs.
fn proofs(store: &dyn RootStore, work: &mut Work, phase: Phase) -> Result<Option<f64>, StoreError> {
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..PROOFS {
        let key = work.present(phase);
        let started = Instant::now();
        if !store.prove(&key)? {
            return Ok(None);
        }
        times.record(u64::try_from(started.elapsed().as_nanos())?)?;
    }
    Ok(Some(round(count(times.value_at_quantile(0.5)) / 1e3)))
}

fn write_header(out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<10} {:<9} {:>11} {:>9} {:>9} {:>10} {:>9} {:>9} {:>8} {:>10}  root",
        "store",
        "phase",
        "entries",
        "root ms",
        "p99 ms",
        "commit ms",
        "p99 ms",
        "proof us",
        "disk B/e",
        "memory MB",
    )
}

fn write_line(out: &mut dyn Write, report: &Report) -> std::io::Result<()> {
    let proof = report
        .proof_us_median
        .map_or_else(|| "-".to_owned(), |it| it.to_string());
    writeln!(
        out,
        "{:<10} {:<9} {:>11} {:>9} {:>9} {:>10} {:>9} {:>9} {:>8} {:>10.0}  {}",
        report.store,
        report.phase.name(),
        report.entries,
        report.root_ms_median,
        report.root_ms_p99,
        report.commit_ms_median,
        report.commit_ms_p99,
        proof,
        report.disk_bytes_per_entry,
        count(report.memory_bytes) / 1e6,
        report.root,
    )
}

/// Tells on standard error how far the run is.
fn note(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "{text}")
}

/// Processor time of this process so far.
fn core_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).expect("it is not negative")
}

fn microseconds(time: Duration) -> Result<u64, StoreError> {
    Ok(u64::try_from(time.as_micros())?)
}

/// Bytes of a growth in MiB; none if there was no growth.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures for people"
)]
const fn bytes(mib: f64) -> u64 {
    (mib.max(0.0) * 1_048_576.0) as u64
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
