//! The subcommands, one a file.

pub(crate) mod replay;
pub(crate) mod run;
mod threads;

use lockweave_validator::{
    chain::GenesisError, node::NodeError, replay::ReplayError, rpc::ServerError,
};
use std::io;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Replay(#[from] ReplayError),
    #[error(transparent)]
    Genesis(#[from] GenesisError),
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
}
