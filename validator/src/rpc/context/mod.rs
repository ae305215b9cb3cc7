//! What every method can use.
//!
//! * `rpc_context`: the node, the limits and the filters; blocks and states by id
//! * `config`: limits of the server
//! * `filters`: the filters that clients installed

mod config;
mod filters;
mod rpc_context;

pub use config::RpcConfig;
pub(crate) use filters::{FilterKind, Filters, Poll, random_id};
pub(crate) use rpc_context::RpcContext;
