//! What can stop a run.

use std::path::PathBuf;

/// Why a run could not be made, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The endpoint is not an address that this tool can speak to.
    #[error("{url} is not an endpoint: {why}; give http://HOST:PORT or ws://HOST:PORT")]
    Endpoint {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The endpoint is not on this machine, and nobody said that it may be loaded.
    #[error("{0} is not a loopback address; add --allow-remote if this endpoint may be loaded")]
    NotLoopback(String),
    /// The connection broke, timed out or could not be made.
    #[error("transport: {0}")]
    Transport(String),
    /// What came back is not JSON-RPC, or not what the method promises.
    #[error("{method} answered something unexpected: {what}")]
    Protocol {
        /// The method that was called.
        method: String,
        /// What came.
        what: String,
    },
    /// The node answered with an error.
    #[error("{method}: the node says {message} (code {code})")]
    Rpc {
        /// The method that was called.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// The node's words.
        message: String,
    },
    /// A mnemonic, key or seed is not usable.
    #[error("key: {0}")]
    Key(String),
    /// The options contradict each other or exceed a bound.
    #[error("{0}")]
    Options(String),
    /// The senders could not be given ether.
    #[error("funding: {0}")]
    Funding(String),
    /// A scenario's contracts could not be put in place.
    #[error("deployment: {0}")]
    Deployment(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A report could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}
