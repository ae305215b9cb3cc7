//! Why a node cannot join its network.

use super::members::EPOCH_BLOCKS_MIN;
use crate::chain::GenesisError;
use std::{io, net::SocketAddr};
use thiserror::Error;

/// Why a node cannot join a network.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum NetworkError {
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("{path} is not a network file: {source}")]
    Parse {
        path: String,
        source: Box<toml::de::Error>,
    },
    #[error("cannot read the key file {path}: {source}")]
    ReadKey { path: String, source: io::Error },
    #[error("cannot write the key file {path}: {source}")]
    WriteKey { path: String, source: io::Error },
    #[error("others can read the key file {path} (mode {mode:o}); run `chmod 600 {path}`")]
    OpenKey { path: String, mode: u32 },
    #[error("{path} is not a key file: it must have 64 hexadecimal digits")]
    MalformedKey { path: String },
    #[error("`{key}` is not a public key: it must have 64 hexadecimal digits")]
    PublicKey { key: String },
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    #[error(
        "{path} is not the genesis of a network: it has no config.lockweave; make it with `network init`"
    )]
    NoValidators { path: String },
    #[error("config.lockweave of the genesis cannot be read: {0}")]
    GenesisField(serde_json::Error),
    #[error(
        "config.lockweave.epochBlocks of the genesis is {0}, but must be at least {EPOCH_BLOCKS_MIN}"
    )]
    EpochBlocks(u64),
    #[error(
        "the genesis has no contract for validators at {}; make it with `network init`",
        lockweave_finality::contract::ADDRESS
    )]
    NoContract,
    #[error(transparent)]
    Sets(#[from] super::validators::sets::SetsError),
    #[error(transparent)]
    Lines(#[from] super::validators::lines::LinesError),
    #[error("the validators of the genesis make no set: {0}")]
    Validators(#[from] lockweave_finality::InvalidSet),
    #[error("the network has {count} {what}, more than {max}")]
    TooMany {
        what: &'static str,
        count: usize,
        max: usize,
    },
    #[error("{what} `{value}` appears twice in the network file")]
    Twice { what: &'static str, value: String },
    #[error("the key of {path} is not that of a peer in the network file")]
    NotAPeer { path: String },
    #[error("validator {key} of the genesis has no address, neither there nor in the network file")]
    NoAddress { key: String },
    #[error("a network needs a genesis at Cancun or later, because blocks go with an access list")]
    Fork,
    #[error("{option} is {value} ms, {why}")]
    Timing {
        option: &'static str,
        value: u64,
        why: &'static str,
    },
    #[error("cannot fetch a snapshot: {0}")]
    Sync(#[from] super::sync::SyncError),
    #[error("cannot start the consensus thread: {0}")]
    Thread(io::Error),
    #[error("cannot listen on {address}: {source}; another node may run with this network file")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
}
