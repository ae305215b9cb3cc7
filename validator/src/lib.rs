//! The validator: what wires the crates into a node, and the tools around it.
//!
//! | module | what |
//! | --- | --- |
//! | `chain` | rules, genesis, blocks |
//! | `db` | the tools for a database on disk |
//! | `config` | flags, environment, file, defaults |
//! | `pool` | transactions that wait for a block |
//! | `node` | from a transaction's bytes to a durable block |
//! | `operation` | logs, metrics, health |
//! | `rpc` | JSON-RPC over HTTP and WebSocket |
//! | `store` | blocks and states, in memory or on disk |
//! | `verify` | a chain on disk, executed again |
//! | `senders`, `libsecp256k1` | senders from signatures |
//! | `recorded`, `replay`, `report`, `declare` | recorded blocks: against the serial oracle; what they touch |

pub mod chain;
pub mod config;
pub mod node;
pub mod operation;
pub mod pool;
pub mod recorded;
pub mod replay;
pub mod report;
pub mod rpc;
pub mod signatures;
pub mod store;
pub mod verify;

pub use signatures::senders;
