//! `network add`: the files of one more node.

use super::{
    error::NetworkFailure,
    folder::{self, DATA, GENESIS, KEY, NETWORK, create_folder},
    hosts::{self, Host},
};
use crate::cli::{Failure, keys};
use alloy_primitives::{Address, hex};
use clap::Args;
use lockweave_finality::contract;
use lockweave_validator::network::{
    Peer,
    config::{NODES_MAX, NetworkFile},
    members::{Member, add_call},
};
use serde_json::json;
use std::{
    io::{self, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Make the key and the configuration of one more node of a network.
///
/// DIR must have genesis.json and the folder of at least one node. The new node gets a folder beside it, with the same
/// peers and timing. It becomes a validator when the owner of the contract for validators sends the call that this command
/// prints; at the end of the epoch it votes. The other nodes need no change: they learn of it from the contract. Without
/// the call it is a follower, and the other nodes let it in if their network.toml names it.
#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The network's folder.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The node's name, and that of its folder.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Where the other nodes reach it. Without it, the node is on this machine, with free ports.
    #[arg(long, value_name = "IP:PORT")]
    address: Option<SocketAddr>,
    /// Where it serves JSON-RPC. Without it, port 8545 on the loopback address; on this machine, a free port.
    #[arg(long, value_name = "IP:PORT")]
    rpc: Option<SocketAddr>,
    /// The account that may change its address in the contract, beside the owner.
    #[arg(long, value_name = "ADDRESS", default_value_t = Address::ZERO)]
    account: Address,
    /// Print the node and the call as JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &AddArgs) -> Result<ExitCode, Failure> {
    let members = folder::members(&args.dir)?;
    let template = NetworkFile::read(&members[0].file)?;
    let mut host = hosts::one(&args.name, args.address)?;
    host.rpc = args.rpc.unwrap_or(host.rpc);
    check(args, &host, &template)?;
    let folder = args.dir.join(&host.name);
    create_folder(&folder)?;
    let key = keys::create(&folder.join(KEY))?;
    let peer = Peer {
        name: host.name.clone(),
        key: key.clone(),
        address: host.address,
    };
    let mut file = NetworkFile {
        genesis: Path::new("..").join(GENESIS),
        key: KEY.into(),
        datadir: DATA.into(),
        listen: host.listen,
        rpc: host.rpc,
        ..template
    };
    file.peers.push(peer);
    file.write(&folder.join(NETWORK))?;
    report(args, &host, &key)?;
    Ok(ExitCode::SUCCESS)
}

/// Says what is wrong with a node before anything is written.
fn check(args: &AddArgs, host: &Host, template: &NetworkFile) -> Result<(), NetworkFailure> {
    if template.peers.len() >= NODES_MAX {
        return Err(NetworkFailure::TooManyNodes {
            nodes: template.peers.len() + 1,
            max: NODES_MAX,
        });
    }
    let twice = |what: &str| NetworkFailure::Taken {
        path: args.dir.display().to_string(),
        what: what.to_owned(),
    };
    if args.dir.join(&host.name).exists()
        || template.peers.iter().any(|peer| peer.name == host.name)
    {
        return Err(twice(&format!("a node `{}`", host.name)));
    }
    if let Some(peer) = template
        .peers
        .iter()
        .find(|peer| peer.address == host.address)
    {
        return Err(twice(&format!("`{}` at {}", peer.name, peer.address)));
    }
    Ok(())
}

fn report(args: &AddArgs, host: &Host, key: &str) -> io::Result<()> {
    let member = Member {
        key: hex::decode_to_array(key).expect("a public key was just written"),
        account: args.account,
        address: Some(host.address),
    };
    let (to, data) = (contract::ADDRESS, add_call(&member));
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "name": host.name,
            "key": key,
            "address": host.address.to_string(),
            "rpc": format!("http://{}", host.rpc),
            "to": to,
            "data": data,
        });
        return writeln!(out, "{line}");
    }
    let folder = args.dir.join(&host.name);
    writeln!(out, "Made {} with the key {key}", folder.display())?;
    writeln!(
        out,
        "Start it with: lockweave-validator run --network {}",
        folder.join(NETWORK).display()
    )?;
    writeln!(
        out,
        "To make it a validator, the owner of the contract sends:\n  to   {to}\n  data {data}"
    )
}
