//! The `lockweave-loadgen` command.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use lockweave_load_generator::{
    LoadError, Options, Report, accounts::Account, client::Endpoint, pacing::Pace, run,
    scenario::Scenario,
};

/// Honest load for any EVM JSON-RPC endpoint.
///
/// Latencies count from the intended send time, every transaction is accounted for, and a seed decides what is sent.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends load and reports what became of it. Exit code 0: all accounted for and the invariant holds; 1: not so;
    /// 2: the run could not be made.
    Run(Box<RunArguments>),
    /// Says what each scenario does, conflicts on and checks.
    Scenarios,
}

#[derive(Debug, Args)]
struct RunArguments {
    /// The node: `http://HOST:PORT` or `ws://HOST:PORT`.
    #[arg(long, default_value = "http://127.0.0.1:8545")]
    rpc: String,
    /// Allow a node that is not on this machine. Only aim at what you may load.
    #[arg(long)]
    allow_remote: bool,
    /// What to send; `lockweave-loadgen scenarios` lists them.
    #[arg(long, default_value = "transfers", value_parser = read_scenario)]
    scenario: Scenario,
    /// Open loop: transactions a second, whatever the node answers.
    #[arg(
        long,
        value_name = "TPS",
        required_unless_present = "in_flight",
        conflicts_with = "in_flight"
    )]
    rate: Option<f64>,
    /// Closed loop: transactions on their way at a time. Hides stalls by nature; prefer --rate.
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// For how long to send: 500ms, 10s, 2m.
    #[arg(long, default_value = "10s", value_parser = read_duration)]
    duration: Duration,
    /// Closed loop: most transactions.
    #[arg(long, default_value_t = 20_000, requires = "in_flight")]
    count: usize,
    /// Bound on the transactions of a run (signed ahead of time, about 500 bytes each).
    #[arg(long, default_value_t = 1_000_000)]
    max_transactions: usize,
    /// Decides senders and recipients.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of sending accounts.
    #[arg(long, default_value_t = 256)]
    senders: u32,
    /// Number of receiving addresses; 1 makes all transfers meet in one account.
    #[arg(long, default_value_t = 1024)]
    recipients: u32,
    /// Mnemonic of the account that funds the senders. Default: the one of development chains.
    #[arg(
        long,
        env = "LOCKWEAVE_FUNDER_MNEMONIC",
        hide_env_values = true,
        default_value = "test test test test test test test test test test test junk"
    )]
    funder_mnemonic: String,
    /// Which account of the mnemonic.
    #[arg(long, default_value_t = 0)]
    funder_index: u32,
    /// Key of the funding account, in hexadecimal digits, instead of a mnemonic.
    #[arg(long, env = "LOCKWEAVE_FUNDER_KEY", hide_env_values = true)]
    funder_key: Option<String>,
    /// Connections that send; a sender's transactions keep to one of them.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Most transactions in one JSON-RPC batch; 1 sends each on its own.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Threads that sign ahead of time. Default: all cores.
    #[arg(long)]
    signing_threads: Option<usize>,
    /// How long to wait for blocks after the last send.
    #[arg(long, default_value = "30s", value_parser = read_duration)]
    drain: Duration,
    /// Offer a refused transaction again after this time.
    #[arg(long, default_value = "250ms", value_parser = read_duration)]
    refused_after: Duration,
    /// Send a transaction again that has not shown up in a block after this time; take several block times.
    #[arg(long, default_value = "5s", value_parser = read_duration)]
    silent_after: Duration,
    /// Write the summary to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn read_scenario(text: &str) -> Result<Scenario, String> {
    Scenario::ALL
        .into_iter()
        .find(|scenario| scenario.name() == text)
        .ok_or_else(|| "no such scenario; `lockweave-loadgen scenarios` lists them".to_owned())
}

fn read_duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0)];
    let (digits, scale) = units
        .into_iter()
        .find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))
        .ok_or("a duration ends in ms, s or m")?;
    let number: f64 = digits
        .parse()
        .map_err(|_| "a duration begins with a number")?;
    // A day bounds every wait.
    Duration::try_from_secs_f64(number * scale)
        .ok()
        .filter(|duration| *duration <= Duration::from_hours(24))
        .ok_or_else(|| "a duration is between 0 and a day".to_owned())
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Scenarios => {
            for scenario in Scenario::ALL {
                println!("{}\n    {}", scenario.name(), scenario.describe());
            }
            ExitCode::SUCCESS
        }
        Command::Run(arguments) => match make_run(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(1),
            Err(error) => {
                eprintln!("lockweave-loadgen: {error}");
                ExitCode::from(2)
            }
        },
    }
}

fn make_run(arguments: &RunArguments) -> Result<bool, LoadError> {
    let funder = match &arguments.funder_key {
        Some(key) => Account::from_hex(key)?,
        None => Account::from_mnemonic(&arguments.funder_mnemonic, arguments.funder_index)?,
    };
    let pace = match (arguments.rate, arguments.in_flight) {
        (Some(rate), _) => Pace::Open {
            rate,
            duration: arguments.duration,
        },
        (None, in_flight) => Pace::Closed {
            in_flight: in_flight.unwrap_or(1).max(1),
            duration: arguments.duration,
            count: arguments.count,
        },
    };
    let options = Options {
        endpoint: Endpoint::new(&arguments.rpc, arguments.allow_remote)?,
        scenario: arguments.scenario,
        pace,
        seed: arguments.seed,
        senders: arguments.senders,
        recipients: arguments.recipients,
        funder,
        connections: arguments.connections,
        batch: arguments.batch,
        max_transactions: arguments.max_transactions,
        signing_threads: arguments
            .signing_threads
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)),
        drain: arguments.drain,
        refused_after: arguments.refused_after,
        silent_after: arguments.silent_after,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::Options(format!("no threads to run on: {error}")))?;
    let report = runtime.block_on(run(&options, |time, counts| {
        eprintln!(
            "{:6.1} s  sent {}  included {}  waiting {}  refused {}",
            time.as_secs_f64(),
            counts.sent,
            counts.included,
            counts.waiting,
            counts.refused
        );
    }))?;
    tell(&report);
    let json = serde_json::to_string(&report.summary).expect("numbers are always JSON");
    println!("{json}");
    if let Some(path) = &arguments.json {
        std::fs::write(path, json).map_err(|source| LoadError::Write {
            path: path.clone(),
            source,
        })?;
    }
    Ok(report.is_sound())
}

fn tell(report: &Report) {
    let summary = &report.summary;
    eprintln!(
        "funded {} senders, signed {:.0} a second",
        report.funded, report.signed_per_second
    );
    eprintln!(
        "sent {}, included {}, failed {} ({} reverted), lost {}, handed over again {}",
        summary.sent,
        summary.included,
        summary.failed,
        report.reverted,
        summary.lost,
        report.repeats
    );
    eprintln!(
        "{:.1} transactions and {:.0} gas a second",
        summary.tps, summary.gas_per_s
    );
    for (what, latency) in [
        ("accepted", &report.accepted_ms),
        ("included", &summary.latency_ms),
    ] {
        eprintln!(
            "{what} after, in ms: p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
            latency.p50, latency.p90, latency.p99, latency.p999, latency.max
        );
    }
    for (kind, times) in &report.refusals {
        eprintln!("the node said no {times} times: {kind}");
    }
    match &report.invariant {
        Ok(true) => eprintln!("invariant holds"),
        Ok(false) => eprintln!("invariant not checked: transactions are still open"),
        Err(what) => eprintln!("invariant broken: {what}"),
    }
}
