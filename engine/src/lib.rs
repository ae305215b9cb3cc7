//! Executes EVM blocks under declared access: one type, [`Engine`], from recovered transactions to
//! receipts and state changes.
//!
//! ```
//! use alloy_consensus::Header;
//! use lockweave_engine::{Access, Engine, SharedState};
//! use lockweave_evm_adapter::{ChainSpec, LockweaveTxEnvelope, SpecId};
//! use lockweave_runtime::MemoryState;
//!
//! let engine = Engine::builder().threads(4).build()?;
//! let state = SharedState::new(MemoryState::new());
//! let chain = ChainSpec::single_fork(1, SpecId::BERLIN);
//! let header = Header { number: 1, gas_limit: 30_000_000, ..Header::default() };
//! let executed = engine
//!     .block(&chain, &header)
//!     .transactions::<LockweaveTxEnvelope>([])
//!     .access(Access::Inferred)
//!     .execute(&state)?;
//! state.commit(executed.changes());
//! assert_eq!(executed.gas_used(), 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! * [`Engine::block`] begins with a header and transactions; [`Engine::run`] begins with a block that
//!   is laid out in steps, and has more options: skip invalid transactions, keep access sets, build
//!   the access list (EIP-7928).
//! * [`Access`] says where the access sets come from: inferred, signed, recorded, or an access list.
//! * [`SerialRun`] is the oracle: one step after another, without locks. Every parallel execution has
//!   its result.
//!
//! **What it does not know:** files, sockets, consensus, the pool. The state comes in as a
//! [`StateView`](lockweave_runtime::StateView), and leaves as a
//! [`StateDelta`](lockweave_runtime::StateDelta).

#[cfg(feature = "alloy-evm")]
pub mod alloy_evm;

mod access;
mod block;
mod core;
mod engine;
mod error;
mod executed;
mod executor;
mod listed;
mod run;
mod serial;
mod state;
#[cfg(test)]
mod tests;

pub use access::{Access, RecordedAccess};
pub use block::NewBlock;
pub use engine::{Engine, EngineBuilder};
pub use error::{EngineError, InvalidAccessList};
pub use executed::{Executed, SkippedTransactions, Statistics};
pub use listed::{can_be_listed, check_access_list};
pub use run::Run;
pub use serial::{OracleState, RecordedRun, SerialRun};
pub use state::{SharedState, StateSource};
