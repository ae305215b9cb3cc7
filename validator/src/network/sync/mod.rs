//! Snapshots from peers: a node that is new, or too far behind, fetches a state instead of replaying all blocks.
//!
//! ```text
//! client ── Head? ──► all peers               how far behind am I?
//!        ── Offer? ──► one peer               it makes a snapshot of a final block
//!        ── Offer of block N? ──► the others  they make the same one
//!        ── Chunk i of N? ──► all that have it, some at a time
//! ```
//!
//! The client checks the offer against a certificate of the validators, and each chunk against the offer. A peer that
//! sent something wrong is not asked again. What was committed stays over a restart. Nothing here stops a node that
//! serves: it makes a snapshot from a state that it keeps, on a thread of its own.
//!
//! * `client`: fetches a snapshot
//! * `server`: makes snapshots and sends them
//! * `message`: what they say
//! * `progress`: how far the client is

mod client;
mod message;
mod progress;
mod server;

pub use client::{Client, SyncError};
pub use progress::{Progress, SyncStatus};
pub(super) use server::{Server, ServerConfig};
