//! The files of a network: `genesis.json`, and a folder for each node.

use super::error::NetworkFailure;
use lockweave_validator::network::config::NetworkFile;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A network's genesis.
pub(super) const GENESIS: &str = "genesis.json";
/// A node's network file.
pub(super) const NETWORK: &str = "network.toml";
/// A node's key.
pub(super) const KEY: &str = "node.key";
/// A node's data folder.
pub(super) const DATA: &str = "data";
/// A node's log.
const LOG: &str = "node.log";

/// A node of a network on this machine.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its network file.
    pub(super) file: PathBuf,
    /// Its log.
    pub(super) log: PathBuf,
    /// Where it serves JSON-RPC.
    pub(super) rpc: SocketAddr,
}

impl Member {
    /// Its RPC address as a URL.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.rpc)
    }
}

/// The nodes of a network, in the order of its network files.
pub(super) fn members(dir: &Path) -> Result<Vec<Member>, crate::cli::Failure> {
    let read = |source| NetworkFailure::Read {
        path: dir.display().to_string(),
        source,
    };
    if !dir.join(GENESIS).exists() {
        return Err(no_network(dir).into());
    }
    let mut members = Vec::new();
    let mut order = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let folder = entry.map_err(read)?.path();
        let file = folder.join(NETWORK);
        let (true, Some(name)) = (file.exists(), folder.file_name()) else {
            continue;
        };
        let content = NetworkFile::read(&file)?;
        members.push(Member {
            name: name.to_string_lossy().into_owned(),
            log: folder.join(LOG),
            rpc: content.rpc,
            file,
        });
        order = content.peers.into_iter().map(|peer| peer.name).collect();
    }
    if members.is_empty() {
        return Err(no_network(dir).into());
    }
    let place = |member: &Member| order.iter().position(|name| *name == member.name);
    members.sort_by_key(|member| place(member).unwrap_or(usize::MAX));
    Ok(members)
}

/// One node of a network.
pub(super) fn member(dir: &Path, name: &str) -> Result<Member, crate::cli::Failure> {
    let members = members(dir)?;
    let names: Vec<_> = members.iter().map(|member| member.name.clone()).collect();
    let found = members.into_iter().find(|member| member.name == name);
    let no_node = || NetworkFailure::NoNode {
        path: dir.display().to_string(),
        name: name.to_owned(),
        known: names.join(", "),
    };
    Ok(found.ok_or_else(no_node)?)
}

/// Makes a folder that must not exist.
pub(super) fn create_folder(folder: &Path) -> Result<(), NetworkFailure> {
    fs::create_dir(folder).map_err(|source| NetworkFailure::Write {
        path: folder.display().to_string(),
        source,
    })
}

fn no_network(dir: &Path) -> NetworkFailure {
    NetworkFailure::NoNetwork {
        path: dir.display().to_string(),
    }
}
