//! A validator: the crates of Lockweave wired into a node, and the tools around it.
//!
//! | module | role |
//! | --- | --- |
//! | `verify` | executes a chain on disk again and checks it |
//! | `replay` | executes recorded blocks in parallel and compares with serial execution |
//! | `recorded` | recorded blocks of Ethereum |
//! | `operation` | logs, metrics, health |
//! | `rpc` | JSON-RPC over HTTP and WebSocket |
//! | `network` | agreement between validators |
//! | `import` | adds blocks of other clients and exported ones to a store |
//! | `snapshot` | the state after a block, in chunks that can be checked one by one |
//! | `node` | from the bytes of a transaction to a durable block |
//! | `pool` | transactions that wait for a block |
//! | `store` | blocks and states, in memory or on disk |
//! | `chain` | genesis, rules, blocks and their execution |
//! | `signatures` | makes alloy recover signatures with the newest libsecp256k1 |
//! | `config` | flags, environment, file, defaults |
//!
//! A module may use those below it.

pub mod chain;
pub mod config;
pub mod import;
pub mod network;
pub mod node;
pub mod operation;
pub mod pool;
pub mod recorded;
pub mod replay;
pub mod rpc;
pub mod signatures;
pub mod snapshot;
pub mod store;
pub mod verify;

#[cfg(test)]
mod test_deltas;
