//! Snapshots: the state after a final block, in chunks that can be checked one by one.
//!
//! A chunk holds the accounts, or the slots of one account, whose hashed keys begin with the same nibbles. That is a
//! subtree of the state trie, so the chunk has a root. The manifest lists paths and roots of all chunks; above them it
//! is the top of the trie, and must have the state root of the block's header.
//!
//! ```text
//! Offer ── headers ──► the next block, which is final (checked by the network)
//!   │         └──────► the block with its receipts ──► stateRoot
//!   └── manifest ── roots of chunks ────────────────────┘
//!                        └──► chunk: accounts with codes and slots
//! ```
//!
//! * `restore`: chunks into a data folder
//! * `offer`: the description of a snapshot
//! * `create`: the chunks of a state
//! * `manifest`: the list of chunks
//! * `chunk`: a chunk and its root
//! * `error`: why a snapshot is not accepted
//!
//! Each entry may use those below it.

mod chunk;
mod create;
mod error;
mod manifest;
mod offer;
mod restore;
#[cfg(test)]
mod tests;

pub use create::Chunks;
pub use error::{InvalidSnapshot, SnapshotError};
pub use manifest::Manifest;
pub use offer::{Offer, Snapshot};
pub use restore::{CheckedChunk, Restore};
