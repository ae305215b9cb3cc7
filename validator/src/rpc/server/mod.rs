//! The server: HTTP and WebSocket on one port.
//!
//! * `syncing`: what a node answers while it fetches a snapshot
//! * `http`: connections and HTTP requests
//! * `ws`: WebSocket connections
//! * `limits`: how many calls run at the same time, and on which threads
//! * `dispatch`: from a request to a response
//! * `request_body`: reads a body up to a limit

mod dispatch;
mod http;
mod limits;
mod request_body;
mod syncing;
mod ws;

pub use http::{RpcServer, ServerError};
pub use syncing::SyncingServer;
