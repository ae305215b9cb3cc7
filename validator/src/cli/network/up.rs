//! `network up` and `network start`: nodes as processes on this machine.

use super::{
    folder,
    processes::{self, LOOK_EVERY, Process},
    table::table,
};
use crate::cli::{Failure, signals::Signals};
use clap::Args;
use serde_json::json;
use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

/// Start all nodes of a network on this machine, and stop them at Ctrl-C or SIGTERM.
///
/// A node that dies stays dead; `network start` starts it again. Logs are in DIR/NODE/node.log.
#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The network's folder, as `network init` made it.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Print one line when all answer: {"nodes": [{"name", "rpc", "pid"}]}.
    #[arg(long)]
    json: bool,
}

/// Start one node of a network again, and stop it at Ctrl-C or SIGTERM.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The network's folder, as `network init` made it.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The node's name.
    #[arg(long, value_name = "NAME")]
    node: String,
    /// Print one line when it answers: {"nodes": [{"name", "rpc", "pid"}]}.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &UpArgs) -> Result<ExitCode, Failure> {
    let members = folder::members(&args.dir)?;
    let is_whole = members.len() > 1;
    supervise(members, args.json, is_whole)
}

pub(super) fn start(args: &StartArgs) -> Result<ExitCode, Failure> {
    let member = folder::member(&args.dir, &args.node)?;
    supervise(vec![member], args.json, false)
}

/// Runs nodes until a signal comes, or until all have ended. With `is_final` they count as up when a block is final.
fn supervise(
    members: Vec<folder::Member>,
    is_json: bool,
    is_final: bool,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        let mut signals = Signals::new().map_err(Failure::Runtime)?;
        let mut running = Vec::with_capacity(members.len());
        let started = start_all(members, &mut running, is_final, &mut signals).await;
        let result = match started {
            Ok(true) => {
                report(&running, is_json)?;
                watch(&mut running, &mut signals).await
            }
            Ok(false) => Ok(ExitCode::SUCCESS),
            Err(failure) => Err(failure),
        };
        processes::stop(&mut running);
        result
    })
}

/// Starts nodes and waits for them; `false` if a signal came meanwhile.
async fn start_all(
    members: Vec<folder::Member>,
    running: &mut Vec<Process>,
    is_final: bool,
    signals: &mut Signals,
) -> Result<bool, Failure> {
    for member in members {
        running.push(Process::start(member)?);
    }
    // Nodes that are started again wait for the others, so they need not have a new block.
    let mut waiting = std::mem::take(running);
    let stop = Arc::new(AtomicBool::new(false));
    let (started, seen) = (Instant::now(), Arc::clone(&stop));
    let waited = tokio::task::spawn_blocking(move || {
        let result = waiting
            .iter_mut()
            .try_for_each(|process| process.wait_until_up(is_final, started, &seen));
        (waiting, result)
    });
    let mut waited = std::pin::pin!(waited);
    let (waiting, result) = loop {
        tokio::select! {
            done = &mut waited => break done.map_err(|error| Failure::Runtime(error.into()))?,
            () = signals.next() => stop.store(true, Relaxed),
        }
    };
    *running = waiting;
    if stop.load(Relaxed) {
        return Ok(false);
    }
    result?;
    Ok(true)
}

/// Waits for a signal, or until all nodes have ended.
async fn watch(running: &mut [Process], signals: &mut Signals) -> Result<ExitCode, Failure> {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = signals.next() => return Ok(ExitCode::SUCCESS),
            _ = looks.tick() => {
                let mut alive = 0;
                for process in running.iter_mut() {
                    alive += usize::from(!process.has_ended()?);
                }
                if alive == 0 {
                    return Ok(ExitCode::from(1));
                }
            }
        }
    }
}

fn report(running: &[Process], is_json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_json {
        let nodes = running.iter().map(|process| {
            let member = &process.member;
            json!({ "name": member.name, "rpc": member.url(), "pid": process.pid() })
        });
        let nodes: Vec<_> = nodes.collect();
        writeln!(out, "{}", json!({ "nodes": nodes }))?;
    } else {
        let rows = running.iter().map(|process| {
            let member = &process.member;
            [member.name.clone(), member.url(), process.pid().to_string()]
        });
        let rows: Vec<_> = rows.collect();
        write!(out, "{}", table(["node", "rpc", "pid"], &rows))?;
        writeln!(out, "Ctrl-C stops them.")?;
    }
    out.flush()
}
