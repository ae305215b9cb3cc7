//! `db`: figures, checks and snapshots of a node's accounts database.

use super::progress::{self, show};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use lockweave_accounts_db::{
    Db, OpenError, Options, ReadError, RebuildError, ScrubReport, Sharing, SnapshotError,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};
use thiserror::Error;

/// Inspect and check an accounts database, and take and restore snapshots.
///
/// The database must not be in use. Only `restore`, which creates a new database, and `rebuild-trie` write.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 all is well, 1 the database is damaged, 2 it cannot be used."
)]
pub(crate) struct DbArgs {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Print statistics.
    Stats(Common),
    /// Check every checksum, compare the index with the log, and compute the state root from all accounts.
    Verify(Common),
    /// Copy the database to another folder; full segments are shared if the file system supports it.
    Snapshot {
        #[command(flatten)]
        common: Common,
        /// The new folder.
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
        /// Copy every byte instead of sharing files.
        #[arg(long)]
        copy: bool,
    },
    /// Check a snapshot and copy it into the data folder.
    Restore {
        #[command(flatten)]
        common: Common,
        /// The snapshot's folder.
        #[arg(long, value_name = "FOLDER")]
        from: PathBuf,
    },
    /// Check every checksum and list what is damaged.
    Scrub(Common),
    /// Make the state trie again from the accounts; after a kill, the next call continues.
    RebuildTrie {
        #[command(flatten)]
        common: Common,
        /// Memory of the trie's nodes in MiB.
        #[arg(long, value_name = "MIB", default_value_t = 2048)]
        trie_memory: usize,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The database's folder, or a node's data folder.
    #[arg(long, value_name = "DIR")]
    datadir: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

impl Common {
    /// A node keeps its database in a folder of its data folder.
    fn folder(&self) -> PathBuf {
        if self.datadir.join("genesis.json").exists() {
            self.datadir.join("state")
        } else {
            self.datadir.clone()
        }
    }
}

/// Why a command about the database ended early.
#[derive(Debug, Error)]
enum DbError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl DbError {
    /// Whether the database is damaged, rather than inaccessible.
    const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Open(OpenError::Damaged(_) | OpenError::Trie(_) | OpenError::Missing { .. })
                | Self::Read(ReadError::Damaged(_) | ReadError::Trie(_))
                | Self::Rebuild(RebuildError::StateRoot { .. })
                | Self::Snapshot(
                    SnapshotError::Damaged(_)
                        | SnapshotError::StateRoot { .. }
                        | SnapshotError::Read(ReadError::Damaged(_) | ReadError::Trie(_))
                        | SnapshotError::Open(
                            OpenError::Damaged(_) | OpenError::Trie(_) | OpenError::Missing { .. }
                        )
                )
        )
    }
}

/// A result of a command: its key in JSON, its name for people, and its value.
type Finding = (&'static str, &'static str, Value);

/// The results of a command, in the order in which they are printed.
#[derive(Debug)]
struct Findings(Vec<Finding>);

impl Findings {
    fn with(mut self, more: impl IntoIterator<Item = Finding>) -> Self {
        self.0.extend(more);
        self
    }
}

impl Serialize for Findings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = self.0.iter().filter(|(_, _, value)| !value.is_null());
        serializer.collect_map(known.map(|(key, _, value)| (key, value)))
    }
}

/// Runs the command. The exit code separates damage from a database that cannot be used.
pub(crate) fn run(args: &DbArgs) -> ExitCode {
    match execute(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // The reader of the output closed it.
        Err(DbError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(if error.is_damage() { 1 } else { 2 })
        }
    }
}

/// Runs a command; returns whether the database is undamaged.
fn execute(args: &DbArgs) -> Result<bool, DbError> {
    let (common, findings) = match &args.command {
        DbCommand::Stats(common) => (common, stats(common)?),
        DbCommand::Verify(common) => (common, verify(common)?),
        DbCommand::Snapshot { common, to, copy } => {
            let sharing = if *copy {
                Sharing::Copies
            } else {
                Sharing::Links
            };
            let db = open(common)?;
            let bar = bar(common);
            db.snapshot(to, sharing, |done, total| show(&bar, done, total))?;
            bar.finish_and_clear();
            let copied = ("snapshot", "snapshot", json!(to));
            (common, summary(&db).with([copied]))
        }
        DbCommand::Restore { common, from } => {
            let bar = bar(common);
            let db = Db::restore(from, &common.folder(), |done, total| {
                show(&bar, done, total);
            })?;
            bar.finish_and_clear();
            (common, summary(&db))
        }
        DbCommand::Scrub(common) => (common, scrub(common)?),
        DbCommand::RebuildTrie {
            common,
            trie_memory,
        } => {
            let options = Options {
                trie_memory_bytes: trie_memory << 20,
                ..Options::default()
            };
            let bar = progress::bar(common.json, "state trie {bar:30} {percent}% {elapsed}", 0);
            Db::rebuild_trie(&common.folder(), options, |done, total| {
                show(&bar, done, total);
            })?;
            bar.finish_and_clear();
            (common, summary(&open(common)?))
        }
    };
    let mut damages = (findings.0.iter()).filter_map(|(_, _, value)| value.as_array());
    let is_sound = damages.all(Vec::is_empty);
    print(common, &findings)?;
    Ok(is_sound)
}

fn open(common: &Common) -> Result<Db, OpenError> {
    Db::open(&common.folder(), Options::read_only())
}

fn summary(db: &Db) -> Findings {
    let latest = db.latest();
    let number = latest.as_ref().map(|block| block.number);
    let state_root = latest.map(|block| block.state_root);
    Findings(vec![
        ("latest", "newest block", json!(number)),
        ("oldest", "oldest readable", json!(db.oldest())),
        ("state_root", "state root", json!(state_root)),
    ])
}

fn stats(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let stats = db.stats();
    let figures = [
        ("keys", "keys", stats.keys),
        ("index_bytes", "index bytes", stats.index_bytes),
        ("segments", "segments", stats.segments),
        ("log_bytes", "log bytes", stats.log_bytes),
        ("live_bytes", "live bytes", stats.live_bytes),
        ("payloads", "payloads", stats.payloads),
        (
            "trie_memory_bytes",
            "trie memory bytes",
            stats.trie_memory_bytes,
        ),
        ("trie_bytes", "trie file bytes", stats.trie_bytes),
        ("trie_used_bytes", "trie node bytes", stats.trie_used_bytes),
        ("redone_records", "records redone", db.recovery().records),
    ];
    Ok(summary(&db).with(figures.map(|(key, name, figure)| (key, name, json!(figure)))))
}

fn verify(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let bar = bar(common);
    let state_bar = progress::bar(common.json, "state root {bar:30} {percent}% {elapsed}", 0);
    let verified = db.verify(
        |done, total| {
            show(&bar, done, total);
            ControlFlow::Continue(())
        },
        |done, total| show(&state_bar, done, total),
    )?;
    bar.finish_and_clear();
    state_bar.finish_and_clear();
    let state = [
        ("accounts", "accounts", json!(verified.state.accounts)),
        ("slots", "slots", json!(verified.state.slots)),
    ];
    Ok(summary(&db).with(state).with(scrubbed(&verified.scrubbed)))
}

fn scrub(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let bar = bar(common);
    let report = db.scrub(|done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(summary(&db).with(scrubbed(&report)))
}

fn scrubbed(report: &ScrubReport) -> [Finding; 4] {
    let damages = report
        .damages
        .iter()
        .map(|damage| json!({ "file": damage.file, "offset": damage.offset, "what": damage.what }));
    [
        ("bytes", "bytes checked", json!(report.bytes)),
        ("records", "records checked", json!(report.records)),
        ("entries", "entries checked", json!(report.entries)),
        ("damages", "damages", damages.collect()),
    ]
}

fn bar(common: &Common) -> ProgressBar {
    progress::bar(common.json, "{bar:30} {bytes}/{total_bytes} {eta}", 0)
}

fn print(common: &Common, findings: &Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if common.json {
        serde_json::to_writer(&mut out, findings)?;
        writeln!(out)?;
        return out.flush();
    }
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18} {value}");
    for (key, name, value) in &findings.0 {
        match value {
            Value::Null if *key == "latest" => line(name, "none yet".to_owned())?,
            Value::Null => {}
            Value::String(text) => line(name, text.clone())?,
            Value::Array(damages) => {
                line(name, damages.len().to_string())?;
                for damage in damages {
                    let text = |field: &str| damage[field].as_str().unwrap_or_default();
                    let (file, what, offset) = (text("file"), text("what"), &damage["offset"]);
                    line("  damaged", format!("{file} at byte {offset}: {what}"))?;
                }
            }
            other => line(name, other.to_string())?,
        }
    }
    out.flush()
}
