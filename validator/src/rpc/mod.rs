//! JSON-RPC over HTTP and WebSocket, on one port.
//!
//! | folder or file | role |
//! | --- | --- |
//! | `server` | connections, their limits, and the way from a request to a response |
//! | `subscriptions` | `eth_subscribe` and `eth_unsubscribe` |
//! | `debug` | `debug_*` and `trace_*` |
//! | `txpool` | `txpool_*` |
//! | `lockweave` | `lockweave_*`: access sets and schedules |
//! | `eth` | `eth_*`, `net_*`, `web3_*` and `rpc_*` |
//! | `scratch` | execution on a scratch state, on plain revm |
//! | `format` | blocks, transactions, receipts and logs as JSON |
//! | `method` | what a method is, what it costs, and how it is called |
//! | `context` | what every method can use: node, limits, installed filters |
//! | `message` | JSON-RPC messages and errors |
//!
//! Each entry may use those below it.
//!
//! A request is parsed without copying its parameters. Methods are plain functions. Long ones run on
//! blocking threads; their number and the time of each call are limited.

mod context;
mod debug;
mod eth;
mod format;
mod lockweave;
mod message;
mod method;
mod scratch;
mod server;
mod subscriptions;
mod txpool;

pub use context::RpcConfig;
pub use server::{RpcServer, ServerError, SyncingServer};
