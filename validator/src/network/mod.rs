//! A network of validators that agree on blocks, on commonware's Byzantine-fault-tolerant engine.
//!
//! ```text
//!  leader: pool ─► Replica::propose ─► block with access list ─┐            simplex: notarize, finalize
//!                                                              ▼                     │
//!  follower:            Replica::verify (by list, in parallel) ─► vote               ▼
//!  everybody:           marshal: final blocks in order, backfill from peers ─► Replica::finalize ─► head
//! ```
//!
//! * `runtime`: a node on sockets and files
//! * `engine`: the parts of one node put together
//! * `epochs`: one consensus engine after the other, each with its validators
//! * `addresses`: where the other nodes are
//! * `validators`: who validates, and evidence against those who vote twice
//! * `sync`: snapshots from peers
//! * `certificate`: proofs of finality
//! * `gossip`: transactions from node to node
//! * `application`: proposes, checks and commits through the node's `Replica`
//! * `proposal_size`: how large this node's proposals may be
//! * `status`: what the network is doing
//! * `codec`: a block with its list as commonware's block
//! * `config`: the network file of a node
//! * `keys`: a node's key, and its file
//! * `error`: why a node cannot join
//!
//! The simulator in `tests/` runs `engine` on commonware's deterministic runtime.

mod addresses;
mod application;
mod certificate;
mod codec;
pub mod config;
pub mod engine;
mod epochs;
mod error;
mod gossip;
pub mod keys;
mod proposal_size;
mod runtime;
mod status;
pub mod sync;
mod validators;

pub use application::{Chain, ChainEvent};
pub use config::{NetworkConfig, Peer, Timing};
pub use epochs::Track;
pub use error::NetworkError;
pub use runtime::{Connected, Network};
pub use status::{Named, NetworkStatus, PeerStatus, Status};
pub use validators::{
    evidence::{Evidence, EvidenceLog, Submission, Vote, VoteKind},
    lines::LinesError,
    members,
    sets::{Sets, SetsError},
};
