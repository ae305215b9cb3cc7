//! Declared-access execution for the EVM: account and slot locks, revm on worker threads.
//!
//! Every transaction states, before it runs, which accounts and storage slots it will read and
//! write. A banking stage grants locks on sets that do not overlap and fans the transactions out to
//! worker threads; the block ends as if they had run one after another.
//!
//! ```text
//!  transactions        lock table            workers            sealed block
//!  with access sets ─► per key a queue ─►  revm on cells  ─►  receipts, changes
//!                      (banking stage)      (runtime)
//! ```
//!
//! This crate only re-exports:
//!
//! * [`engine`] (feature `evm`, on by default): [`Engine`], from recovered transactions to receipts and
//!   state changes. Begin here.
//! * [`runtime`]: keys, access sets, states, cells, blocks, the serial oracle;
//! * [`banking_stage`]: lock table, scheduler, worker threads; also for an embedder's own keys and values;
//! * [`accounts_db`] (feature `accounts-db`, on by default): state that is durable block by block;
//! * [`evm`] (feature `evm`): revm as the executor.
//!
//! The feature `alloy-evm` adds executors for code written for alloy-evm's block executors
//! (`engine::alloy_evm`). With `default-features = false` neither revm nor anything it needs is built. See `examples/` for
//! both ways of embedding.
//!
//! ```
//! use lockweave::{AccessMode, AccessSet, StateKey};
//! use alloy_primitives::Address;
//!
//! // A plain transfer: the sender's nonce and balance change, the recipient's balance only grows.
//! let (sender, recipient) = (Address::repeat_byte(1), Address::repeat_byte(2));
//! let set = AccessSet::build(|set| {
//!     set.insert(StateKey::account(sender), AccessMode::Write);
//!     set.insert(StateKey::account(recipient), AccessMode::Credit);
//! })?;
//! assert!(set.allows(&StateKey::account(recipient), AccessMode::Credit));
//! assert!(!set.allows(&StateKey::account(recipient), AccessMode::Read));
//! # Ok::<(), lockweave::runtime::AccessSetError>(())
//! ```

#[cfg(feature = "accounts-db")]
pub use lockweave_accounts_db as accounts_db;
pub use lockweave_banking_stage as banking_stage;
#[cfg(feature = "evm")]
pub use lockweave_engine as engine;
#[cfg(feature = "evm")]
pub use lockweave_evm_adapter as evm;
pub use lockweave_runtime as runtime;

pub use banking_stage::{BankingStage, StageConfig};
#[cfg(feature = "evm")]
pub use engine::{
    Access, Engine, EngineBuilder, EngineError, Executed, RecordedAccess, SharedState, StateSource,
};
#[cfg(feature = "evm")]
pub use evm::{ChainSpec, EvmBlock, EvmExecutor, EvmInferrer, EvmTransaction, Step};
pub use runtime::{
    AccessMode, AccessSet, Executor, MemoryState, OpenBlock, Sanitized, SealedBlock, StateKey,
    StateView,
};
