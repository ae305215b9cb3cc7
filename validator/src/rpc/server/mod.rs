//! The server: HTTP and WebSocket on one port.
//!
//! * `http`: connections and HTTP requests
//! * `ws`: WebSocket connections
//! * `limits`: how many calls run at the same time, and on which threads
//! * `dispatch`: from a request to a response
//! * `request_body`: reads a body up to a limit

mod dispatch;
mod http;
mod limits;
mod request_body;
mod ws;

pub use http::{RpcServer, ServerError};
