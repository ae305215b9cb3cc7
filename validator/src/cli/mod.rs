//! The subcommands, one per file.

pub(crate) mod completions;
pub(crate) mod config;
mod datadir;
pub(crate) mod db;
pub(crate) mod declare;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod keys;
pub(crate) mod network;
mod progress;
pub(crate) mod replay;
mod rpc;
pub(crate) mod run;
mod signals;
pub(crate) mod verify;
pub(crate) mod verify_certificate;

use lockweave_validator::{
    chain::{GenesisError, rlp_file::RlpFileError},
    config::ConfigError,
    import::ImportError,
    network::NetworkError,
    node::NodeError,
    operation::{LoggingError, MetricsError},
    replay::ReplayError,
    rpc::ServerError,
    store::{DatadirError, StoreError},
};
use std::io;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Blocks(#[from] RlpFileError),
    #[error("cannot open {path}: {source}")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Datadir(#[from] DatadirError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] lockweave_accounts_db::ReadError),
    #[error(
        "{path} holds no chain; make one with `lockweave-validator init` (with --genesis FILE or --dev), \
         or choose another --datadir"
    )]
    NoChain { path: String },
    #[error("{path} holds chain {id}, not the development chain; leave out --dev")]
    NotDevelopment { path: String, id: u64 },
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error(transparent)]
    NetworkCommand(#[from] network::NetworkFailure),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("cannot derive the development keys: {0}")]
    Keys(#[from] alloy_signer_local::LocalSignerError),
    #[error("cannot start the asynchronous runtime: {0}")]
    Runtime(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
    /// The accesses cannot be determined; the text gives the reason.
    #[error("{0}")]
    Declare(String),
    /// The node stopped making blocks; the text gives the reason.
    #[error("the node stopped: {0}")]
    Stopped(String),
}
