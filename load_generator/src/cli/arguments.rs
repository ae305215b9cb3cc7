//! Flags of the commands that send load.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use lockweave_load_generator::{
    Account, Declarations, Endpoint, Hotness, LoadError, Options, Pace, Stage, read_duration,
    read_stage,
};

#[derive(Clone, Debug, Args)]
pub(super) struct LoadArguments {
    /// A TOML file whose keys are the names of these flags; flags on the command line override it.
    #[arg(long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// URL of the node: `http://HOST:PORT` or `ws://HOST:PORT`. Over ws, the announcement of each block is timed too.
    /// With several nodes of a network, the connections are spread over them; blocks are read from the first.
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:8545"
    )]
    rpc: Vec<String>,
    /// Allow a node that is not on this machine. Use it only for nodes that you may load.
    #[arg(long)]
    allow_remote: bool,
    /// The scenario; `lockweave-loadgen scenarios` lists them.
    #[arg(long, default_value = "transfers")]
    scenario: String,
    #[command(flatten)]
    pace: PaceArguments,
    /// Largest number of transactions of a run. They are signed ahead of time and take 500 bytes to some kilobytes
    /// each.
    #[arg(long, default_value_t = 1_000_000)]
    max_transactions: usize,
    /// Seed of the senders and of every random choice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of sending accounts.
    #[arg(long, default_value_t = 256)]
    senders: u32,
    #[command(flatten)]
    conflicts: ConflictArguments,
    /// How transactions declare their accesses. Signed sets are specific to Lockweave.
    #[arg(long, value_enum, default_value_t)]
    declare: Declarations,
    #[command(flatten)]
    funder: FunderArguments,
    /// The fees stay sufficient while the base fee grows by at most this factor.
    #[arg(long, default_value_t = 10)]
    fee_headroom: u32,
    /// Number of connections that send; a sender always uses the same connection.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Largest number of transactions in one JSON-RPC batch.
    #[arg(long, default_value_t = 100)]
    batch: usize,
    /// Number of threads that sign ahead of time. Default: the number of cores.
    #[arg(long)]
    signing_threads: Option<usize>,
    /// How long to wait for inclusion after the last send, and for deployment and funding.
    #[arg(long, default_value = "30s", value_parser = read_duration)]
    drain: Duration,
    /// Resend a refused transaction after this time, doubled with each try.
    #[arg(long, default_value = "250ms", value_parser = read_duration)]
    refused_after: Duration,
    /// After this time without progress, ask the node whether it knows a sender's oldest transaction. Use several block
    /// times.
    #[arg(long, default_value = "5s", value_parser = read_duration)]
    silent_after: Duration,
    /// Resends of refused transactions while load is sent, at most this share of the rate.
    #[arg(long, default_value_t = 0.1)]
    repeat_share: f64,
}

/// Rates and duration.
#[derive(Clone, Debug, Args)]
struct PaceArguments {
    /// Open loop: transactions per second, independent of the node's answers. Default: 100.
    #[arg(long, value_name = "TPS", conflicts_with_all = ["stages", "in_flight"])]
    rate: Option<f64>,
    /// Open loop in stages: RATE:DURATION is a step, FROM-TO:DURATION a ramp, for example 500:10s,500-2000:30s.
    #[arg(long, value_name = "STAGE,…", value_delimiter = ',', value_parser = read_stage, conflicts_with = "in_flight")]
    stages: Vec<Stage>,
    /// Closed loop: number of transactions in flight. A closed loop hides stalls; prefer --rate.
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Duration of sending without --stages: 500ms, 10s, 2m.
    #[arg(long, default_value = "10s", value_parser = read_duration)]
    duration: Duration,
    /// Closed loop: largest number of transactions.
    #[arg(long, default_value_t = 20_000)]
    count: usize,
}

/// How often transactions access the same items.
#[derive(Clone, Debug, Args)]
struct ConflictArguments {
    /// Number of recipients, pools, markets, proposals …. Default: depends on the scenario.
    #[arg(long, alias = "recipients", value_name = "N")]
    items: Option<usize>,
    /// Share of the transactions that access the hot set, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    hot_share: f64,
    /// Size of the hot set.
    #[arg(long, default_value_t = 1)]
    hot_items: usize,
    /// Zipf exponent of the choices outside the hot set; 0 for uniform choices.
    #[arg(long, default_value_t = 0.0)]
    zipf: f64,
    /// This many successive transactions choose the same item.
    #[arg(long, default_value_t = 1)]
    chain_length: usize,
    /// Parts of `mixed` with their weights, for example transfers=4,swaps=1.
    #[arg(long, value_name = "NAME=WEIGHT,…", value_delimiter = ',', value_parser = read_part)]
    mix: Vec<(String, u32)>,
    /// Trace file for `replay`: JSON lines, printed by `lockweave-validator declare`.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// The account that funds the senders.
#[derive(Clone, Debug, Args)]
struct FunderArguments {
    /// Mnemonic of the funding account. Default: the mnemonic of development chains.
    #[arg(
        long = "funder-mnemonic",
        env = "LOCKWEAVE_FUNDER_MNEMONIC",
        hide_env_values = true,
        default_value = "test test test test test test test test test test test junk"
    )]
    mnemonic: String,
    /// Index of the funding account of the mnemonic.
    #[arg(long = "funder-index", default_value_t = 0)]
    index: u32,
    /// Hexadecimal key of the funding account; overrides the mnemonic.
    #[arg(
        long = "funder-key",
        env = "LOCKWEAVE_FUNDER_KEY",
        hide_env_values = true
    )]
    key: Option<String>,
}

fn read_part(text: &str) -> Result<(String, u32), String> {
    let (name, weight) = text.split_once('=').ok_or("a part is NAME=WEIGHT")?;
    let weight = weight
        .parse()
        .map_err(|_| format!("{weight} is not a weight"))?;
    Ok((name.to_owned(), weight))
}

/// Transactions per second if no flag says otherwise.
const DEFAULT_RATE: f64 = 100.0;

impl PaceArguments {
    fn pace(&self) -> Pace {
        match (self.in_flight, self.stages.is_empty()) {
            (Some(in_flight), _) => Pace::Closed {
                in_flight: in_flight.max(1),
                duration: self.duration,
                count: self.count,
            },
            (None, false) => Pace::Open(self.stages.clone()),
            (None, true) => Pace::constant(self.rate.unwrap_or(DEFAULT_RATE), self.duration),
        }
    }
}

impl LoadArguments {
    /// Checks the flags and resolves defaults.
    pub(super) fn options(&self) -> Result<Options, LoadError> {
        let funder = match &self.funder.key {
            Some(key) => Account::from_hex(key)?,
            None => Account::from_mnemonic(&self.funder.mnemonic, self.funder.index)?,
        };
        let cores = || std::thread::available_parallelism().map_or(1, Into::into);
        Ok(Options {
            endpoints: (self.rpc.iter())
                .map(|url| Endpoint::new(url, self.allow_remote))
                .collect::<Result<_, _>>()?,
            scenario: self.scenario.clone(),
            pace: self.pace.pace(),
            seed: self.seed,
            senders: self.senders,
            items: self.conflicts.items,
            hotness: Hotness {
                hot_share: self.conflicts.hot_share,
                hot_items: self.conflicts.hot_items,
                zipf: self.conflicts.zipf,
                chain_length: self.conflicts.chain_length,
            },
            mix: self.conflicts.mix.clone(),
            trace: self.conflicts.trace.clone(),
            declarations: self.declare,
            funder,
            fee_headroom: self.fee_headroom,
            connections: self.connections,
            batch: self.batch,
            max_transactions: self.max_transactions,
            signing_threads: self.signing_threads.unwrap_or_else(cores),
            drain: self.drain,
            refused_after: self.refused_after,
            silent_after: self.silent_after,
            repeat_share: self.repeat_share,
        })
    }
}
