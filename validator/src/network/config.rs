//! The network file of a node: who it is, who the others are, and how fast the network goes.

use super::{
    error::NetworkError,
    keys,
    validators::members::{self, Member},
};
use crate::chain::ChainParameters;
use alloy_primitives::{Address, hex};
use commonware_cryptography::ed25519::{PrivateKey, PublicKey};
use lockweave_finality::ValidatorSet;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Nodes of a network, at most.
pub const NODES_MAX: usize = 256;

/// A node of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Peer {
    /// Its name, for people.
    pub name: String,
    /// Its public key.
    pub key: String,
    /// Where the other nodes reach it.
    pub address: SocketAddr,
}

/// How fast the network goes, in milliseconds. All validators should have the same values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timing {
    /// Time between blocks, at least.
    pub block_time: u64,
    /// Time without transactions after which a leader proposes an empty block.
    pub empty_block_time: u64,
    /// Time to wait for a leader's proposal.
    pub leader_timeout: u64,
    /// Time to wait until a proposal has the votes of a quorum.
    pub certification_timeout: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            block_time: 50,
            empty_block_time: 200,
            leader_timeout: 750,
            certification_timeout: 1_500,
        }
    }
}

impl Timing {
    /// The least time between blocks.
    pub(super) const fn block(&self) -> Duration {
        Duration::from_millis(self.block_time)
    }

    /// The time after which an empty block is proposed.
    pub(super) const fn empty(&self) -> Duration {
        Duration::from_millis(self.empty_block_time)
    }

    fn check(&self) -> Result<(), NetworkError> {
        if self.block_time.max(self.empty_block_time) >= self.leader_timeout {
            return Err(NetworkError::Timing {
                option: "leader-timeout",
                value: self.leader_timeout,
                why: "but must be more than block-time and empty-block-time",
            });
        }
        if self.leader_timeout >= self.certification_timeout {
            return Err(NetworkError::Timing {
                option: "certification-timeout",
                value: self.certification_timeout,
                why: "but must be more than leader-timeout",
            });
        }
        Ok(())
    }
}

/// Blocks that a node may be behind before it fetches a snapshot, unless its file says otherwise.
pub const SNAPSHOT_AFTER: u64 = 10_000;

const fn snapshot_after() -> u64 {
    SNAPSHOT_AFTER
}

/// The contents of a network file. Paths are relative to its folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkFile {
    /// The genesis file, which names the validators.
    pub genesis: PathBuf,
    /// The node's key file.
    pub key: PathBuf,
    /// The node's data folder.
    pub datadir: PathBuf,
    /// Where the node listens for others.
    pub listen: SocketAddr,
    /// Where it serves JSON-RPC, unless flags or the environment say otherwise.
    pub rpc: SocketAddr,
    /// The account that receives the tips of its blocks.
    #[serde(default)]
    pub fee_recipient: Address,
    /// A node that is more blocks behind fetches a snapshot of the state instead of the blocks. For a node without
    /// blocks, 1,000 if this is more.
    #[serde(default = "snapshot_after")]
    pub snapshot_after: u64,
    /// The pace of the network.
    #[serde(default)]
    pub timing: Timing,
    /// All nodes, this one included.
    pub peers: Vec<Peer>,
}

/// A node's place in its network, checked.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// The chain.
    pub parameters: ChainParameters,
    /// The node's name.
    pub name: String,
    /// Its key.
    pub key: PrivateKey,
    /// Those who vote in the first epoch.
    pub validators: ValidatorSet,
    /// The same, as the contract has them.
    pub members: Vec<Member>,
    /// All nodes with their keys.
    pub peers: Vec<(PublicKey, Peer)>,
    /// Where it listens for others.
    pub listen: SocketAddr,
    /// Where it serves JSON-RPC.
    pub rpc: SocketAddr,
    /// The data folder.
    pub datadir: PathBuf,
    /// The account that receives the tips of its blocks.
    pub fee_recipient: Address,
    /// Blocks that it may be behind before it fetches a snapshot.
    pub snapshot_after: u64,
    /// The pace of the network.
    pub timing: Timing,
}

impl NetworkFile {
    /// Reads a network file.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let name = || path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| NetworkError::Read {
            path: name(),
            source,
        })?;
        toml::from_str(&text).map_err(|source| NetworkError::Parse {
            path: name(),
            source: Box::new(source),
        })
    }

    /// Writes it to a new file.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let text = toml::to_string(self).expect("a network file is TOML");
        fs::write(path, text).map_err(|source| NetworkError::Write {
            path: path.display().to_string(),
            source,
        })
    }
}

impl NetworkConfig {
    /// Reads a network file with its genesis and its key, and checks them.
    pub fn read(path: &Path) -> Result<Self, NetworkError> {
        let file = NetworkFile::read(path)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let genesis = folder.join(&file.genesis);
        let parameters = ChainParameters::read(&genesis)?;
        let validators =
            members::genesis_set(&parameters)?.ok_or_else(|| NetworkError::NoValidators {
                path: genesis.display().to_string(),
            })?;
        let key_path = folder.join(&file.key);
        let key = keys::read(&key_path)?;
        file.timing.check()?;
        let members = members::genesis_members(&parameters);
        let peers = check_peers(file.peers, &members)?;
        let own = keys::public(&key);
        let own = peers.iter().find(|(_, peer)| peer.key == own);
        let (_, own) = own.ok_or_else(|| NetworkError::NotAPeer {
            path: key_path.display().to_string(),
        })?;
        Ok(Self {
            name: own.name.clone(),
            parameters,
            key,
            validators,
            members,
            listen: file.listen,
            rpc: file.rpc,
            datadir: folder.join(&file.datadir),
            fee_recipient: file.fee_recipient,
            snapshot_after: file.snapshot_after,
            timing: file.timing,
            peers,
        })
    }

    /// What connections of this network begin with: nodes with another genesis do not connect.
    pub fn namespace(&self) -> Result<Vec<u8>, NetworkError> {
        let genesis = self.parameters.genesis_block()?.hash;
        Ok([&self.validators.namespace()[..], genesis.as_slice()].concat())
    }

    /// Where evidence against validators is kept.
    pub fn evidence_path(&self) -> PathBuf {
        self.datadir.join("evidence.jsonl")
    }

    /// Where the validator sets are kept.
    pub fn sets_path(&self) -> PathBuf {
        self.datadir.join("validators.jsonl")
    }
}

/// Decodes the peers' keys; each name, key and address must be there once, and every validator must have an address.
fn check_peers(
    peers: Vec<Peer>,
    members: &[Member],
) -> Result<Vec<(PublicKey, Peer)>, NetworkError> {
    if peers.len() > NODES_MAX {
        return Err(NetworkError::TooMany {
            what: "nodes",
            count: peers.len(),
            max: NODES_MAX,
        });
    }
    let mut checked: Vec<(PublicKey, Peer)> = Vec::with_capacity(peers.len());
    for peer in peers {
        let key = keys::from_text(&peer.key).ok_or_else(|| NetworkError::PublicKey {
            key: peer.key.clone(),
        })?;
        for (known, other) in &checked {
            let twice = [
                ("name", other.name == peer.name, peer.name.clone()),
                ("key", *known == key, peer.key.clone()),
                (
                    "address",
                    other.address == peer.address,
                    peer.address.to_string(),
                ),
            ];
            if let Some((what, _, value)) = twice.into_iter().find(|(_, is_same, _)| *is_same) {
                return Err(NetworkError::Twice { what, value });
            }
        }
        checked.push((key, peer));
    }
    for member in members.iter().filter(|member| member.address.is_none()) {
        let key = hex::encode(member.key);
        if !checked.iter().any(|(_, peer)| peer.key == key) {
            return Err(NetworkError::NoAddress { key });
        }
    }
    Ok(checked)
}
