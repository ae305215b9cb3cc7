//! Kills a writing process again and again, and checks the database after each kill.

use alloy_primitives::{Address, B256, Bytes, U256};
use clap::Parser;
use lockweave_accounts_db::{Db, Options};
use lockweave_peers::{store::StoreError, workload::mix};
use lockweave_runtime::{Account, Code, StateDelta};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Kill a writing process with SIGKILL again and again, and check that no acknowledged block is lost and no partial
/// block is visible.
///
/// The writer derives blocks from their numbers, so every byte expected after a kill is known: state, state
/// state root, payload and the readable history.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// How long.
    #[arg(long, value_name = "S", default_value_t = 60)]
    seconds: u64,
    /// Stop after this many kills.
    #[arg(long, value_name = "N")]
    kills: Option<u64>,
    /// Of the moments of the kills.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where to put the database [default: a temporary folder in the working directory].
    #[arg(long)]
    folder: Option<PathBuf>,
    /// One JSON object instead of a sentence.
    #[arg(long)]
    json: bool,
    #[arg(long, hide = true)]
    write: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    kills: u64,
    blocks: u64,
    /// Blocks that were durable but not acknowledged before the kill.
    unacknowledged: u64,
    /// Records that a kill left unfinished.
    unfinished: u64,
    reopen_ms_max: f64,
    lost: u64,
}

/// Accounts and slots the writer uses.
const ACCOUNTS: u64 = 64;
const SLOTS: u64 = 400;
const CHANGES: u64 = 600;

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        shard_bits: 6,
        history_blocks: 16,
        checkpoint_bytes: 2 << 20,
        payload_blocks: 64,
        space_amplification: 1.3,
        ..Options::default()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.write {
        write(&args)
    } else {
        kill_again_and_again(&args)
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(2)
        }
    }
}

/// The changes and the payload of a block.
fn block(number: u64) -> (StateDelta, Vec<u8>) {
    let mut delta = StateDelta::default();
    let mut slots = BTreeMap::new();
    let mut seed = mix(number ^ 0xb10c);
    for _ in 0..CHANGES {
        seed = mix(seed);
        let address = account(seed % ACCOUNTS);
        let slot = U256::from((seed >> 8) % SLOTS);
        let value = if seed >> 61 == 0 {
            U256::ZERO
        } else {
            U256::from(mix(seed))
        };
        slots.insert((address, slot), value);
    }
    // Some blocks destroy an account with its storage.
    if number % 7 == 3 {
        let gone = account(number % ACCOUNTS);
        delta.cleared.push(gone);
        delta.accounts.push((gone, None));
        slots.retain(|(address, _), _| *address != gone);
    }
    let code = Arc::new(Code::new(Bytes::from(seed.to_le_bytes().to_vec())));
    let address = account((number + 1) % ACCOUNTS);
    let account = Account {
        nonce: number,
        balance: U256::from(seed),
        code_hash: code.hash(),
    };
    delta.accounts.push((address, Some(account)));
    delta.codes.push(code);
    delta.slots = slots
        .into_iter()
        .map(|((address, slot), value)| (address, slot, value))
        .collect();
    let payload = number
        .to_le_bytes()
        .repeat(usize::try_from(1 + seed % 4000).unwrap_or(1));
    (delta, payload)
}

fn account(index: u64) -> Address {
    Address::left_padding_from(&(index + 1).to_be_bytes())
}

fn hash(number: u64) -> B256 {
    B256::from(U256::from(mix(number)))
}

/// Commits block after block until it is killed, and acknowledges each on standard output.
fn write(args: &Args) -> Result<u64, StoreError> {
    let folder = args.folder.clone().ok_or("the writer needs a folder")?;
    let db = Db::open(&folder, options())?;
    let mut out = std::io::stdout().lock();
    let mut number = db.latest().map_or(0, |latest| latest.number + 1);
    loop {
        let (delta, payload) = block(number);
        let prepared = db.prepare(number, &delta)?;
        db.commit_prepared(prepared, hash(number), &payload)?;
        writeln!(out, "{number}")?;
        out.flush()?;
        number += 1;
    }
}

/// The expected state.
#[derive(Default)]
struct Model {
    next: u64,
    accounts: BTreeMap<Address, Account>,
    slots: BTreeMap<(Address, U256), U256>,
}

impl Model {
    fn advance(&mut self, to: u64) {
        while self.next <= to {
            let (delta, _) = block(self.next);
            for gone in &delta.cleared {
                self.slots.retain(|(address, _), _| address != gone);
            }
            for (address, account) in delta.accounts {
                match account {
                    Some(account) => self.accounts.insert(address, account),
                    None => self.accounts.remove(&address),
                };
            }
            for (address, slot, value) in delta.slots {
                if value.is_zero() {
                    self.slots.remove(&(address, slot));
                } else {
                    self.slots.insert((address, slot), value);
                }
            }
            self.next += 1;
        }
    }

    fn check(&self, db: &Db) -> Result<(), StoreError> {
        let verified = db.verify(|_, _| ControlFlow::Continue(()), |_, _| {})?;
        if verified.state.accounts != self.accounts.len() as u64
            || verified.state.slots != self.slots.len() as u64
        {
            return Err("the state has another number of accounts or slots".into());
        }
        let reader = db.reader_latest()?;
        for (address, account) in &self.accounts {
            if reader.account(*address)? != Some(*account) {
                return Err(format!("account {address} is wrong").into());
            }
            if reader.code(account.code_hash)?.is_none() {
                return Err(format!("code of account {address} is missing").into());
            }
        }
        for ((address, slot), value) in &self.slots {
            if reader.slot(*address, *slot)? != *value {
                return Err(format!("slot {slot} of {address} is wrong").into());
            }
        }
        Ok(())
    }
}

struct Writer {
    child: Child,
    acknowledged: BufReader<std::process::ChildStdout>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(folder: &Path) -> Result<Writer, StoreError> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--write", "--folder"])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("the writer has no output")?;
    let acknowledged = BufReader::new(output);
    Ok(Writer {
        child,
        acknowledged,
    })
}

fn kill_again_and_again(args: &Args) -> Result<u64, StoreError> {
    let temporary = match &args.folder {
        Some(_) => None,
        None => Some(tempfile::tempdir_in(".")?),
    };
    let folder = (args.folder.clone())
        .or_else(|| temporary.as_ref().map(|it| it.path().join("db")))
        .ok_or("no folder")?;
    let started = Instant::now();
    let mut report = Report::default();
    let mut model = Model::default();
    let mut random = args.seed;
    while started.elapsed() < Duration::from_secs(args.seconds)
        && args.kills.is_none_or(|kills| report.kills < kills)
    {
        random = mix(random);
        let acknowledged = run_and_kill(&folder, Duration::from_micros(random % 400_000))?;
        report.kills += 1;
        let opening = Instant::now();
        let db = Db::open(&folder, options())?;
        let reopen_ms = opening.elapsed().as_secs_f64() * 1e3;
        report.reopen_ms_max = report
            .reopen_ms_max
            .max((reopen_ms * 100.0).round() / 100.0);
        report.unfinished += u64::from(db.recovery().unfinished.is_some());
        let found = db.latest().map(|latest| latest.number);
        if found < acknowledged {
            report.lost += 1;
            let what = format!("block {acknowledged:?} was acknowledged, {found:?} is the newest");
            return Err(format!("kill {}: {what}", report.kills).into());
        }
        let Some(found) = found else { continue };
        report.unacknowledged += u64::from(acknowledged != Some(found));
        report.blocks = found + 1;
        model.advance(found);
        model
            .check(&db)
            .map_err(|error| format!("kill {}: {error}", report.kills))?;
        if db.payload(found)?.unwrap_or_default()[..] != block(found).1[..] {
            return Err(format!(
                "kill {}: the payload of block {found} is wrong",
                report.kills
            )
            .into());
        }
    }
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(
            out,
            "{} kills, {} blocks: {} lost; {} found that were not acknowledged yet, {} unfinished \
             records put aside; reopened in at most {} ms",
            report.kills,
            report.blocks,
            report.lost,
            report.unacknowledged,
            report.unfinished,
            report.reopen_ms_max
        )?;
    }
    Ok(report.lost)
}

/// Lets a writer run for some time after its first block, kills it, and returns the last block it acknowledged.
fn run_and_kill(folder: &Path, time: Duration) -> Result<Option<u64>, StoreError> {
    let mut writer = start(folder)?;
    let mut line = String::new();
    let mut acknowledged = None;
    // Another thread kills the writer, so that the kill comes at any point.
    let killer = std::thread::scope(|scope| -> Result<(), StoreError> {
        let pid = writer.child.id();
        scope.spawn(move || {
            std::thread::sleep(time);
            if let Some(pid) = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        });
        while writer.acknowledged.read_line(&mut line)? > 0 {
            // A line without an end is not an acknowledgement.
            if line.ends_with('\n') {
                acknowledged = Some(line.trim().parse::<u64>()?);
            }
            line.clear();
        }
        Ok(())
    });
    killer?;
    let status = writer.child.wait()?;
    if status.code().is_some() {
        return Err(format!("the writer ended by itself: {status}").into());
    }
    Ok(acknowledged)
}
