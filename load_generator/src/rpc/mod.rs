//! JSON-RPC with the node.
//!
//! * `connection`: batches over HTTP or WebSocket
//! * `endpoint`: checked addresses
//! * `decode`: quantities, replies and receipts

mod connection;
mod decode;
mod endpoint;

pub use connection::Connection;
pub use endpoint::Endpoint;

pub(crate) use connection::Call;
pub(crate) use decode::{read_quantity, read_receipt};
