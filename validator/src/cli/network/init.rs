//! `network init`: keys, genesis and configuration of a network.

use super::{
    error::NetworkFailure,
    folder::{DATA, GENESIS, KEY, NETWORK, create_folder},
    hosts::{self, Host},
};
use crate::cli::{Failure, keys};
use alloy_primitives::{Address, hex};
use alloy_signer_local::PrivateKeySigner;
use clap::Args;
use lockweave_finality::{VALIDATORS_MAX, contract};
use lockweave_validator::{
    chain::dev,
    network::{
        Peer, Timing,
        config::{NODES_MAX, NetworkFile, SNAPSHOT_AFTER},
        members::{EPOCH_BLOCKS_MIN, Member, genesis_account},
    },
};
use serde_json::json;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Blocks of an epoch, unless the command line says otherwise.
const EPOCH_BLOCKS: u64 = 1_000;

/// Make the keys, the genesis and the configuration of a network.
///
/// DIR gets genesis.json and a folder for each node: network.toml, node.key. On this machine `network up` starts all
/// nodes. With --hosts, copy each node's folder and genesis.json to its host, with the same layout.
///
/// The genesis is that of the development chain: ten funded accounts whose keys are public. For a network of value,
/// edit `alloc` in genesis.json before the first start.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Nodes that vote, 1 to 100. Of n validators, (n - 1) / 3 may fail: with 4, one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=VALIDATORS_MAX as i64))]
    validators: u16,
    /// Nodes without a vote, which serve JSON-RPC.
    #[arg(long, value_name = "M", default_value_t = 0)]
    followers: u16,
    /// The folder to make; it must be empty or absent.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// A file with a line `NAME IP:PORT [IP:RPC-PORT]` for each node, validators first. Without it, the nodes are on
    /// this machine.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// First port of nodes on this machine; each takes two. Without it, free ports are taken.
    #[arg(long, value_name = "PORT", conflicts_with = "hosts")]
    base_port: Option<u16>,
    /// Chain id.
    #[arg(long, value_name = "ID", default_value_t = dev::CHAIN_ID)]
    chain_id: u64,
    /// The account that adds and removes validators, by calls to the contract. Without it, the first funded account.
    #[arg(long, value_name = "ADDRESS")]
    owner: Option<Address>,
    /// Blocks of an epoch: changes of the validators take effect at its end.
    #[arg(long, value_name = "N", default_value_t = EPOCH_BLOCKS, value_parser = clap::value_parser!(u64).range(EPOCH_BLOCKS_MIN..))]
    epoch_blocks: u64,
    /// The account that receives the tips of all nodes' blocks; change it for each node in its network.toml.
    #[arg(long, value_name = "ADDRESS", default_value_t = Address::ZERO)]
    fee_recipient: Address,
    /// Print the nodes as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &InitArgs) -> Result<ExitCode, Failure> {
    let (validators, followers) = (usize::from(args.validators), usize::from(args.followers));
    let count = validators + followers;
    if count > NODES_MAX {
        let (nodes, max) = (count, NODES_MAX);
        return Err(NetworkFailure::TooManyNodes { nodes, max }.into());
    }
    let hosts = match &args.hosts {
        Some(path) => hosts::read(path, count)?,
        None => hosts::local(validators, followers, args.base_port)?,
    };
    make_empty(&args.dir)?;
    let mut peers = Vec::with_capacity(count);
    for host in &hosts {
        let folder = args.dir.join(&host.name);
        create_folder(&folder)?;
        peers.push(Peer {
            name: host.name.clone(),
            key: keys::create(&folder.join(KEY))?,
            address: host.address,
        });
    }
    write_genesis(args, &peers[..validators])?;
    for host in &hosts {
        let file = NetworkFile {
            genesis: Path::new("..").join(GENESIS),
            key: KEY.into(),
            datadir: DATA.into(),
            listen: host.listen,
            rpc: host.rpc,
            fee_recipient: args.fee_recipient,
            snapshot_after: SNAPSHOT_AFTER,
            timing: Timing::default(),
            peers: peers.clone(),
        };
        file.write(&args.dir.join(&host.name).join(NETWORK))?;
    }
    report(args, &hosts, &peers)?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &InitArgs, hosts: &[Host], peers: &[Peer]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let dir = args.dir.display();
    if args.json {
        let nodes = hosts.iter().zip(peers).map(|(host, peer)| {
            json!({
                "name": host.name,
                "key": peer.key,
                "address": host.address.to_string(),
                "rpc": format!("http://{}", host.rpc),
            })
        });
        let nodes: Vec<_> = nodes.collect();
        return writeln!(out, "{}", json!({ "dir": dir.to_string(), "nodes": nodes }));
    }
    let (validators, followers) = (args.validators, args.followers);
    writeln!(
        out,
        "Made {validators} validators and {followers} followers in {dir}"
    )?;
    if validators < 4 {
        writeln!(
            io::stderr(),
            "warning: fewer than 4 validators tolerate no failure: if one is down, nothing becomes final"
        )?;
    }
    if args.hosts.is_some() {
        return writeln!(
            out,
            "Copy genesis.json and each node's folder to its host, and run there: lockweave-validator run \
             --network NODE/network.toml"
        );
    }
    writeln!(
        out,
        "Start them with: lockweave-validator network up --dir {dir}"
    )
}

/// Makes a folder, which may exist if it is empty.
fn make_empty(dir: &Path) -> Result<(), NetworkFailure> {
    fs::create_dir_all(dir).map_err(|source| cannot_write(dir, source))?;
    let mut entries = fs::read_dir(dir).map_err(|source| NetworkFailure::Read {
        path: dir.display().to_string(),
        source,
    })?;
    if entries.next().is_some() {
        let path = dir.display().to_string();
        return Err(NetworkFailure::NotEmpty { path });
    }
    Ok(())
}

/// Writes the genesis of the development chain, with the contract of these validators.
fn write_genesis(args: &InitArgs, validators: &[Peer]) -> Result<(), Failure> {
    let signers = dev::signers()?;
    let funded: Vec<Address> = signers.iter().map(PrivateKeySigner::address).collect();
    let owner = args.owner.unwrap_or(funded[0]);
    let mut genesis = dev::genesis(funded, dev::now());
    genesis.config.chain_id = args.chain_id;
    let members = validators.iter().map(|peer| {
        let key = hex::decode_to_array(&peer.key);
        Member {
            key: key.expect("a public key was just written"),
            account: owner,
            address: Some(peer.address),
        }
    });
    let members: Vec<_> = members.collect();
    (genesis.alloc).insert(contract::ADDRESS, genesis_account(owner, &members));
    let own = json!({ "epochBlocks": args.epoch_blocks });
    (genesis.config.extra_fields).insert("lockweave".to_owned(), own);
    let path = args.dir.join(GENESIS);
    let text = serde_json::to_string_pretty(&genesis).expect("a genesis is JSON");
    fs::write(&path, text).map_err(|source| cannot_write(&path, source))?;
    Ok(())
}

fn cannot_write(path: &Path, source: io::Error) -> NetworkFailure {
    NetworkFailure::Write {
        path: path.display().to_string(),
        source,
    }
}
