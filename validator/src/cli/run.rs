//! `run`: the node.

use super::{
    Failure,
    config::Source,
    datadir::{self, Opened, development},
    import,
    signals::Signals,
};
use alloy_signer_local::PrivateKeySigner;
use clap::{ArgGroup, Args};
use lockweave_banking_stage::StageConfig;
use lockweave_validator::{
    chain::{ChainParameters, dev},
    config::Config,
    network::{Connected, Network, NetworkConfig, NetworkError, sync::SyncError},
    node::{
        Node, NodeConfig,
        consensus::{Consensus, Idle, SoloConfig, SoloConsensus},
    },
    operation::{OperationServer, start_logging},
    pool::PoolConfig,
    rpc::{RpcConfig, RpcServer, SyncingServer},
    store::{Datadir, Retention},
};
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tracing::{info, warn};

/// Run a node: transactions in over JSON-RPC, blocks out.
///
/// Name a chain: --dev, --genesis, or a data folder that holds one. Options without a flag come from the
/// environment, then the configuration file, then the defaults; `config` prints the result.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("chain").args(["dev", "genesis", "datadir", "network"]).required(true).multiple(true),
    after_help = "Examples:\n  lockweave-validator run --dev\n  \
                  lockweave-validator run --dev --datadir data --block-time 0\n  \
                  lockweave-validator run --genesis genesis.json --datadir data --metrics\n  \
                  lockweave-validator run --network network.toml"
)]
pub(crate) struct RunArgs {
    /// A development chain: chain id 1337, ten funded accounts with public keys.
    #[arg(long, conflicts_with = "genesis")]
    dev: bool,
    /// The chain: a genesis file in geth's format. Not needed if the data folder holds a chain.
    #[arg(long, value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// The data folder. Without one the chain is in memory and ends with the process.
    #[arg(long, value_name = "DIR", env = "LOCKWEAVE_DATADIR")]
    datadir: Option<PathBuf>,
    /// Add the blocks of this file (RLP, as other clients export them) before the node starts.
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
    /// A node of a network: its network file, as `network init` makes it. The file names genesis, key and data folder.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dev", "genesis", "datadir", "import"])]
    network: Option<PathBuf>,
    #[command(flatten)]
    source: Source,
}

pub(crate) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    if let Some(file) = &args.network {
        return run_network(file, args.source);
    }
    let protection_stated = args.source.states_protection();
    let mut config = args.source.load(args.datadir.as_deref())?;
    if args.dev && !protection_stated {
        config.pool.allow_unprotected = true;
    }
    start_logging(&config.log)?;
    let (wanted, signers) = match &args.genesis {
        Some(path) => (Some(ChainParameters::read(path)?), Vec::new()),
        None if args.dev => {
            let (parameters, signers) = development()?;
            (Some(parameters), signers)
        }
        None => (None, Vec::new()),
    };
    let retention = Retention::from(&config.history);
    let opened = match (&args.datadir, wanted) {
        (Some(path), wanted) => datadir::open(path, wanted.as_ref(), args.dev, retention)?,
        (None, Some(wanted)) => datadir::in_memory(wanted, retention)?,
        (None, None) => unreachable!("one of the three is required"),
    };
    if let Some(blocks) = &args.import {
        import::add_blocks(&opened, blocks, false)?;
    }
    let datadir = args.datadir.as_deref();
    run_to_end(async {
        let signals = Signals::new().map_err(Failure::Runtime)?;
        serve(&config, datadir, opened, &signers, None, signals).await
    })
}

/// Runs a node of a network.
fn run_network(file: &Path, source: Source) -> Result<ExitCode, Failure> {
    let network = NetworkConfig::read(file)?;
    let source = source.with_rpc(network.rpc);
    let config = source.load(Some(&network.datadir))?;
    start_logging(&config.log)?;
    run_to_end(join(&config, network))
}

/// Connects a node to its network, fetches a snapshot if it is far behind, and runs it.
async fn join(config: &Config, network: NetworkConfig) -> Result<ExitCode, Failure> {
    // From here on a signal ends the node in order, even one that comes before its address is known.
    let mut signals = Signals::new().map_err(Failure::Runtime)?;
    let retention = Retention::from(&config.history);
    let open = || {
        let wanted = Some(&network.parameters);
        datadir::open(&network.datadir, wanted, false, retention)
    };
    let mut opened = open()?;
    let head = opened.store.head().number();
    let connected = Arc::new(Connected::new(&network)?);
    let asking = Arc::clone(&connected);
    let newest = in_background(move || asking.far_behind(head));
    let newest = tokio::select! {
        newest = newest => newest?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    if let Some(highest) = newest {
        drop(opened);
        let address = RpcConfig::from(&config.http).address;
        let chain_id = network.parameters.spec.chain_id;
        let server = SyncingServer::start(address, Arc::clone(&connected), chain_id, head).await?;
        let datadir = Datadir::open(&network.datadir)?;
        let fetching = Arc::clone(&connected);
        let memory = retention.trie_memory_bytes;
        let fetched =
            in_background(move || fetching.fetch_snapshot(datadir, head, highest, memory));
        let fetched = tokio::select! {
            fetched = fetched => fetched,
            () = signals.next() => return Ok(ExitCode::SUCCESS),
        };
        server.stop().await;
        match fetched {
            Ok(_) => {}
            Err(NetworkError::Sync(error @ SyncError::NoPeer)) => {
                warn!(target: "node", %error, "fetches all blocks instead");
            }
            Err(error) => return Err(error.into()),
        }
        opened = open()?;
    }
    let connected = Arc::into_inner(connected).expect("the server and the fetch have ended");
    let datadir = Some(&*network.datadir);
    serve(config, datadir, opened, &[], Some(connected), signals).await
}

/// Runs work that takes a thread for a while.
async fn in_background<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.expect("the work does not panic, and the runtime lives as long as the node")
}

/// Runs a node until it has stopped.
fn run_to_end(
    serving: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    let result = runtime.block_on(serving);
    // Calls that still run only read, and their clients are gone. Waiting for them could take as long as
    // their timeout and would ignore a second signal.
    runtime.shutdown_background();
    result
}

async fn serve(
    config: &Config,
    datadir: Option<&Path>,
    opened: Opened,
    signers: &[PrivateKeySigner],
    network: Option<Connected>,
    signals: Signals,
) -> Result<ExitCode, Failure> {
    let Opened { parameters, store } = opened;
    let chain_id = parameters.spec.chain_id;
    let (node, network) = if let Some(connected) = network {
        let finalization = datadir.map(Datadir::finalization).transpose()?.flatten();
        let (node, replica) = Node::replicated(parameters, node_config(config, datadir), store)?;
        let threads = config.producer.threads;
        let network = Network::start(connected, replica, finalization, threads)?;
        (node, Some(Arc::new(network)))
    } else {
        let consensus: Box<dyn Consensus> = if config.producer.produce {
            Box::new(SoloConsensus::new(solo(config)))
        } else {
            Box::new(Idle)
        };
        let node = Node::start(parameters, node_config(config, datadir), store, consensus)?;
        (node, None)
    };
    let operation = if config.metrics.enabled {
        let address = SocketAddr::new(config.metrics.addr, config.metrics.port);
        Some(OperationServer::start(address, Arc::clone(&node), network.clone()).await?)
    } else {
        None
    };
    let rpc = RpcConfig::from(&config.http);
    let server = RpcServer::start(rpc, Arc::clone(&node), network.clone()).await?;
    banner(signers, chain_id, server.address(), operation.as_ref())?;
    wait_for_end(&node, signals).await;
    info!(target: "node", "stopping");
    server.stop().await;
    let stopped = Arc::clone(&node);
    let stop = move || {
        if let Some(network) = network {
            network.stop();
        }
        stopped.stop();
    };
    let _ = tokio::task::spawn_blocking(stop).await;
    match node.failure() {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) => Err(Failure::Stopped(failure)),
    }
}

fn node_config(config: &Config, datadir: Option<&Path>) -> NodeConfig {
    NodeConfig {
        stage: StageConfig::with_threads(config.producer.threads),
        signature_threads: config.producer.threads,
        pool: PoolConfig::from(&config.pool),
        extra_data: config.producer.extra_data.clone().into_bytes(),
        journal: (!config.pool.journal.is_empty()).then(|| {
            let folder = datadir.unwrap_or_else(|| Path::new("."));
            folder.join(&config.pool.journal)
        }),
    }
}

fn solo(config: &Config) -> SoloConfig {
    let empty = config.producer.empty_block_time;
    SoloConfig {
        block_time: Duration::from_millis(config.producer.block_time),
        empty_block_time: (empty > 0).then(|| Duration::from_millis(empty)),
        beneficiary: config.producer.beneficiary,
    }
}

/// Prints accounts and addresses.
fn banner(
    signers: &[PrivateKeySigner],
    chain_id: u64,
    address: SocketAddr,
    operation: Option<&OperationServer>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if !signers.is_empty() {
        writeln!(
            out,
            "Development accounts, 10000 ether each (the keys are public: never use them elsewhere)"
        )?;
        for (index, signer) in signers.iter().enumerate() {
            let key = signer.to_bytes();
            writeln!(out, "  ({index}) {}  {key}", signer.address())?;
        }
        writeln!(out, "Mnemonic: {}", dev::MNEMONIC)?;
    }
    writeln!(out, "Chain id: {chain_id}")?;
    if let Some(operation) = operation {
        let address = operation.address();
        writeln!(
            out,
            "Metrics on http://{address}/metrics, health on http://{address}/health"
        )?;
    }
    writeln!(out, "Listening on http://{address} and ws://{address}")?;
    out.flush()
}

/// How often to check whether the node still makes blocks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Returns at the first SIGINT or SIGTERM, or when no more blocks are made; a later signal ends the process
/// immediately.
async fn wait_for_end(node: &Node, mut signals: Signals) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = signals.next() => break,
            _ = looks.tick() => if node.failure().is_some() {
                break;
            },
        }
    }
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
}
