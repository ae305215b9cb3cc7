//! JSON-RPC over HTTP and WebSocket, on one port.
//!
//! | file | what |
//! | --- | --- |
//! | `server`, `ws` | connections and their limits |
//! | `dispatch`, `message`, `error` | from a request's text to a response's |
//! | `context` | what every method has at hand |
//! | `evm` | calls that leave no trace, on plain revm |
//! | the others | methods, by what they are about |
//!
//! A request is parsed without copying its parameters. Methods are plain functions; those that take
//! long run on blocking threads, a bounded number at a time and within a time each.

mod block_access_list;
mod blocks;
mod calls;
mod config;
mod context;
mod dispatch;
mod error;
mod evm;
mod fees;
mod filters;
mod fork_config;
pub(crate) mod format;
mod lockweave;
mod logs;
mod message;
mod misc;
mod overrides;
mod precompiles;
mod protocol;
mod request_body;
mod rerun;
mod send;
mod server;
mod simulate;
mod state;
mod subscriptions;
mod trace;
mod txpool;
mod ws;

pub use config::RpcConfig;
pub use context::RpcContext;
pub use error::RpcError;
pub use server::{RpcServer, ServerError};
