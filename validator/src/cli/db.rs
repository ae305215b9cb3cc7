//! `db`: figures, checks and snapshots of a node's accounts database.

use alloy_primitives::B256;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lockweave_accounts_db::{Damage, Db, OpenError, Options, ReadError, Sharing, SnapshotError};
use serde::Serialize;
use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    path::PathBuf,
    process::ExitCode,
};
use thiserror::Error;

/// Inspect and check an accounts database, and take and restore snapshots.
///
/// The database must not be in use. Only `restore` writes: it creates a new database.
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
    /// Check every checksum, compare the index with the log, and compute the state commitment from the whole
    /// state.
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
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The snapshot was not made or not restored.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The result cannot be printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl DbError {
    /// Whether the database is damaged, rather than inaccessible.
    const fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Open(OpenError::Damaged(_) | OpenError::Missing { .. })
                | Self::Read(ReadError::Damaged(_))
                | Self::Snapshot(
                    SnapshotError::Damaged(_)
                        | SnapshotError::Commitment { .. }
                        | SnapshotError::Read(ReadError::Damaged(_))
                        | SnapshotError::Open(OpenError::Damaged(_) | OpenError::Missing { .. })
                )
        )
    }
}

/// The results of a command.
#[derive(Debug, Default, Serialize)]
struct Findings {
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commitment: Option<B256>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    figures: Option<Figures>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    scrubbed: Option<Scrubbed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Figures {
    keys: u64,
    index_bytes: u64,
    segments: u64,
    log_bytes: u64,
    live_bytes: u64,
    payloads: u64,
    redone_records: u64,
}

#[derive(Debug, Serialize)]
struct State {
    accounts: u64,
    slots: u64,
}

#[derive(Debug, Serialize)]
struct Scrubbed {
    bytes: u64,
    records: u64,
    entries: u64,
    damages: Vec<Damaged>,
}

#[derive(Debug, Serialize)]
struct Damaged {
    file: String,
    offset: u64,
    what: String,
}

impl From<Damage> for Damaged {
    fn from(damage: Damage) -> Self {
        Self {
            file: damage.file,
            offset: damage.offset,
            what: damage.what,
        }
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
            let mut findings = summary(&db);
            findings.snapshot = Some(to.clone());
            (common, findings)
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
    };
    let is_sound = (findings.scrubbed.as_ref()).is_none_or(|scrubbed| scrubbed.damages.is_empty());
    print(common, &findings)?;
    Ok(is_sound)
}

fn open(common: &Common) -> Result<Db, OpenError> {
    Db::open(&common.folder(), Options::read_only())
}

fn summary(db: &Db) -> Findings {
    let latest = db.latest();
    Findings {
        latest: latest.as_ref().map(|block| block.number),
        oldest: db.oldest(),
        commitment: latest.map(|block| block.commitment),
        ..Findings::default()
    }
}

fn stats(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let stats = db.stats();
    Ok(Findings {
        figures: Some(Figures {
            keys: stats.keys,
            index_bytes: stats.index_bytes,
            segments: stats.segments,
            log_bytes: stats.log_bytes,
            live_bytes: stats.live_bytes,
            payloads: stats.payloads,
            redone_records: db.recovery().records,
        }),
        ..summary(&db)
    })
}

fn verify(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let bar = bar(common);
    let verified = db.verify(|done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(Findings {
        state: Some(State {
            accounts: verified.state.accounts,
            slots: verified.state.slots,
        }),
        scrubbed: Some(scrubbed(verified.scrubbed)),
        ..summary(&db)
    })
}

fn scrub(common: &Common) -> Result<Findings, DbError> {
    let db = open(common)?;
    let bar = bar(common);
    let report = db.scrub(|done, total| {
        show(&bar, done, total);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    Ok(Findings {
        scrubbed: Some(scrubbed(report)),
        ..summary(&db)
    })
}

fn scrubbed(report: lockweave_accounts_db::ScrubReport) -> Scrubbed {
    Scrubbed {
        bytes: report.bytes,
        records: report.records,
        entries: report.entries,
        damages: report.damages.into_iter().map(Damaged::from).collect(),
    }
}

/// A progress bar on standard error, if that is a terminal.
fn bar(common: &Common) -> ProgressBar {
    if common.json || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}

fn print(common: &Common, findings: &Findings) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if common.json {
        serde_json::to_writer(&mut out, findings)?;
        writeln!(out)?;
        return out.flush();
    }
    let mut line = |name: &str, value: String| writeln!(out, "{name:<18} {value}");
    if let Some(latest) = findings.latest {
        line("newest block", latest.to_string())?;
    } else {
        line("newest block", "none yet".to_owned())?;
    }
    if let Some(oldest) = findings.oldest {
        line("oldest readable", oldest.to_string())?;
    }
    if let Some(commitment) = findings.commitment {
        line("state commitment", commitment.to_string())?;
    }
    if let Some(figures) = &findings.figures {
        line("keys", figures.keys.to_string())?;
        line("index bytes", figures.index_bytes.to_string())?;
        line("segments", figures.segments.to_string())?;
        line("log bytes", figures.log_bytes.to_string())?;
        line("live bytes", figures.live_bytes.to_string())?;
        line("payloads", figures.payloads.to_string())?;
        line("records redone", figures.redone_records.to_string())?;
    }
    if let Some(state) = &findings.state {
        line("accounts", state.accounts.to_string())?;
        line("slots", state.slots.to_string())?;
    }
    if let Some(scrubbed) = &findings.scrubbed {
        line("bytes checked", scrubbed.bytes.to_string())?;
        line("records checked", scrubbed.records.to_string())?;
        line("entries checked", scrubbed.entries.to_string())?;
        line("damages", scrubbed.damages.len().to_string())?;
        for damage in &scrubbed.damages {
            line(
                "  damaged",
                format!("{} at byte {}: {}", damage.file, damage.offset, damage.what),
            )?;
        }
    }
    if let Some(snapshot) = &findings.snapshot {
        line("snapshot", snapshot.display().to_string())?;
    }
    out.flush()
}
