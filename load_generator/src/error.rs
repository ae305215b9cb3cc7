//! Errors that stop a run.

use std::path::PathBuf;

/// An error that prevents or stops a run.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The endpoint is not a supported URL.
    #[error("{url} is not a supported endpoint: {why}; use http://HOST:PORT or ws://HOST:PORT")]
    Endpoint {
        /// The text as given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The endpoint is not on this machine, and `--allow-remote` is not set.
    #[error("{0} is not a loopback address; add --allow-remote if you may load this endpoint")]
    NotLoopback(String),
    /// The connection broke, timed out or could not be made.
    #[error("transport: {0}")]
    Transport(String),
    /// The answer is not JSON-RPC, or not what the method returns.
    #[error("{method}: unexpected answer: {what}")]
    Protocol {
        /// The called method.
        method: String,
        /// The received answer.
        what: String,
    },
    /// The node answered with an error.
    #[error("{method}: the node answered with error {code}: {message}")]
    Rpc {
        /// The called method.
        method: String,
        /// JSON-RPC error code.
        code: i64,
        /// The node's message.
        message: String,
    },
    /// A mnemonic or key is not valid.
    #[error("key: {0}")]
    Key(String),
    /// The options contradict each other or exceed a bound.
    #[error("{0}")]
    Options(String),
    /// The senders could not be funded.
    #[error("funding: {0}")]
    Funding(String),
    /// The contracts of a scenario could not be deployed.
    #[error("deployment: {0}")]
    Deployment(String),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// A report could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
}
