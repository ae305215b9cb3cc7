//! `run`: the node.

use super::{Failure, threads};
use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use clap::Args;
use lockweave_validator::{
    chain::{ChainParameters, dev},
    node::{
        Node, NodeConfig,
        consensus::{SoloConfig, SoloConsensus},
    },
    pool::PoolConfig,
    rpc::{RpcConfig, RpcServer},
    store::{MemoryStore, Retention},
};
use std::{
    io::{self, Write},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Run a node: transactions in over JSON-RPC, blocks out.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A development chain: chain id 1337, ten funded accounts with keys everybody knows.
    #[arg(long, conflicts_with = "genesis")]
    dev: bool,
    /// The chain: a genesis file in geth's format.
    #[arg(long, value_name = "FILE", required_unless_present = "dev")]
    genesis: Option<PathBuf>,
    /// Address of HTTP and WebSocket.
    #[arg(
        long = "http.addr",
        value_name = "ADDRESS",
        default_value = "127.0.0.1"
    )]
    http_address: IpAddr,
    /// Port of HTTP and WebSocket; 0 takes a free one.
    #[arg(long = "http.port", value_name = "PORT", default_value = "8545")]
    http_port: u16,
    /// Milliseconds between blocks; 0 makes a block as soon as there is a transaction.
    #[arg(long, value_name = "MS", default_value = "400")]
    block_time: u64,
    /// After this many milliseconds without a block an empty one is made; 0 makes none.
    #[arg(long, value_name = "MS", default_value = "0")]
    empty_block_time: u64,
    /// Worker threads that execute transactions [default: the cores there are].
    #[arg(long, value_name = "N", value_parser = threads::parse)]
    threads: Option<NonZeroUsize>,
    /// Who gets the tips.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "0x0000000000000000000000000000000000000000"
    )]
    beneficiary: Address,
}

/// Runs the command.
pub(crate) fn run(args: RunArgs) -> Result<ExitCode, Failure> {
    let signers = if args.dev {
        dev::signers()?
    } else {
        Vec::new()
    };
    let parameters = if let Some(path) = &args.genesis {
        ChainParameters::read(path)?
    } else {
        let funded = signers.iter().map(PrivateKeySigner::address);
        ChainParameters::new(dev::genesis(funded, dev::now()))?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(serve(args, parameters, signers))
}

async fn serve(
    args: RunArgs,
    parameters: ChainParameters,
    signers: Vec<PrivateKeySigner>,
) -> Result<ExitCode, Failure> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let genesis = parameters.genesis_block()?;
    let delta = parameters.genesis_delta();
    let store = Arc::new(MemoryStore::new(Retention::default(), genesis, &delta));
    let config = NodeConfig {
        threads: args.threads.unwrap_or(cores),
        signature_threads: cores,
        pool: PoolConfig {
            allow_unprotected: args.dev,
            ..PoolConfig::default()
        },
        extra_data: b"lockweave".to_vec(),
    };
    let consensus = SoloConsensus::new(SoloConfig {
        block_time: Duration::from_millis(args.block_time),
        empty_block_time: (args.empty_block_time > 0)
            .then(|| Duration::from_millis(args.empty_block_time)),
        beneficiary: args.beneficiary,
    });
    let chain_id = parameters.spec.chain_id;
    let node = Node::start(parameters, config, store, Box::new(consensus))?;
    let address = SocketAddr::new(args.http_address, args.http_port);
    let server = RpcServer::start(RpcConfig::new(address), Arc::clone(&node)).await?;
    banner(&signers, chain_id, server.address())?;
    wait_for_signal().await.map_err(Failure::Runtime)?;
    server.stop().await;
    let stopping = tokio::task::spawn_blocking(move || node.stop());
    let _ = stopping.await;
    Ok(ExitCode::SUCCESS)
}

/// Who has what, and where to call.
fn banner(signers: &[PrivateKeySigner], chain_id: u64, address: SocketAddr) -> io::Result<()> {
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
    writeln!(out, "Listening on http://{address} and ws://{address}")?;
    out.flush()
}

/// Returns at the first SIGINT or SIGTERM; a second one ends the process at once.
async fn wait_for_signal() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}
