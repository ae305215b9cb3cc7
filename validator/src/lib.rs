//! A validator: the crates of Lockweave wired into a node, and the tools around it.
//!
//! | module | role |
//! | --- | --- |
//! | `verify` | executes a chain on disk again and checks it |
//! | `replay` | executes recorded blocks in parallel and compares with serial execution |
//! | `report` | the output of replay |
//! | `recorded` | recorded blocks of Ethereum |
//! | `operation` | logs, metrics, health |
//! | `rpc` | JSON-RPC over HTTP and WebSocket |
//! | `node` | from the bytes of a transaction to a durable block |
//! | `pool` | transactions that wait for a block |
//! | `store` | blocks and states, in memory or on disk |
//! | `chain` | genesis, rules, blocks and their execution |
//! | `signatures` | senders and authorities from signatures |
//! | `config` | flags, environment, file, defaults |
//!
//! A module may use those below it. The exception is `chain::import`, which adds blocks to a `store`.

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
