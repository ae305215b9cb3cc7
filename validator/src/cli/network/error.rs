//! What goes wrong with the commands of a network.

use std::{io, net::SocketAddr};

/// Why a command of a network ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkFailure {
    #[error("{path} is not empty; choose another --dir, so that no key is lost")]
    NotEmpty { path: String },
    #[error("cannot write {path}: {source}")]
    Write { path: String, source: io::Error },
    #[error("cannot read {path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path}, line {line}: {problem}; a line is `NAME IP:PORT [IP:RPC-PORT]`")]
    Host {
        path: String,
        line: usize,
        problem: String,
    },
    #[error("{problem}")]
    Node { problem: String },
    #[error("{path} has {what} already; choose another")]
    Taken { path: String, what: String },
    #[error(
        "{path} names {found} hosts, but the network has {wanted} nodes; give a line for each node"
    )]
    HostCount {
        path: String,
        found: usize,
        wanted: usize,
    },
    #[error(
        "the ports from {base} on do not suffice for {nodes} nodes; each needs two, below 65536"
    )]
    Ports { base: u16, nodes: usize },
    #[error("no free port was found on this machine: {0}")]
    NoPort(io::Error),
    #[error("a network has at most {max} nodes, not {nodes}; leave out some followers")]
    TooManyNodes { nodes: usize, max: usize },
    #[error(
        "{path} holds no network; make one with `lockweave-validator network init --dir {path} --validators 4`"
    )]
    NoNetwork { path: String },
    #[error("{path} has no node `{name}`; it has {known}")]
    NoNode {
        path: String,
        name: String,
        known: String,
    },
    #[error("cannot start {name}: {source}")]
    Start { name: String, source: io::Error },
    #[error("{name} ended ({status}) before it answered on {rpc}; its log {log} ends with: {last}")]
    Ended {
        name: String,
        status: String,
        rpc: String,
        log: String,
        last: String,
    },
    #[error("{name} {what} after {seconds} s; its log is {log}")]
    Timeout {
        name: String,
        what: &'static str,
        seconds: u64,
        log: String,
    },
    #[error("the RPC address {address} of {name} answers already: is the node running?")]
    Running { name: String, address: SocketAddr },
    #[error("the process that started this node is gone")]
    Orphan,
    #[error("cannot become the node: {source}")]
    Exec { source: io::Error },
}
