//! revm as the executor of declared-access transactions.
//!
//! A block is a sequence of [`Step`]s: system calls, transactions, withdrawals and rewards. An [`EvmExecutor`] runs one
//! step at a time on the state that it is given through [`StateAccess`](lockweave_runtime::StateAccess): the serial
//! oracle's, a recording one, or the granted cells of an open block.
//!
//! # Execute a block serially
//!
//! ```
//! use alloy_consensus::Header;
//! use lockweave_evm_adapter::{
//!     BlockInput, ChainSpec, EvmBlock, EvmExecutor, EvmTransaction, Ommers, SpecId,
//! };
//! use lockweave_runtime::{MemoryState, SerialState, execute_serially};
//! use std::sync::Arc;
//!
//! // The chain's forks, and a block of recovered transactions.
//! let chain = ChainSpec::single_fork(1, SpecId::LONDON);
//! let transactions: Vec<EvmTransaction> = Vec::new();
//! let header = Header { number: 1, base_fee_per_gas: Some(7), ..Header::default() };
//! let block = EvmBlock::new(&chain, BlockInput {
//!     header,
//!     transactions,
//!     ommers: Ommers::Count(0),
//!     withdrawals: Vec::new(),
//! })?;
//!
//! // The state before the block, and revm on it.
//! let view = Arc::new(MemoryState::new());
//! let mut state = SerialState::new(view, block.context().rules());
//! let mut executor = EvmExecutor::new(block.context());
//! let sealed = execute_serially(&mut executor, &mut state, block.steps())?;
//! assert!(sealed.receipts()?.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Further on
//!
//! * [`recover_senders`] recovers the senders of a batch of transactions.
//! * [`EvmExecutor::with_shortcuts`] runs plain transfers and known calls without the interpreter.
//! * [`EvmExecutor::with_precompiles`] adds precompiled contracts, and [`EvmExecutor::execute_inspected`] runs a step with
//!   an inspector, both through revm's own types.
//! * [`EvmInferrer`] infers the access sets of transactions that declare none; [`TxDeclared`] signs its own.
//! * [`AccessListBuilder`] builds a block's access list (EIP-7928), and [`ListedState`] is the state before each
//!   transaction of a block with a list.
//! * [`receipts_root`] and [`logs_bloom`] give the header's fields.
//!
//! # Differences from revm
//!
//! Results are those of revm. Inside, three things differ:
//!
//! * an account's code is loaded without reading its nonce and balance;
//! * ether for an account that the transaction has not read becomes a credit: fees, and payments to contracts and to
//!   accounts that were in use before the block;
//! * the creation rule of EIP-7610 (no creation over storage) is checked, which revm omits.
//!
//! **Architecture invariant:** no threads and no files here. Signature recovery is a pure function of transactions; the
//! caller distributes it over cores.

mod block;
mod executor;
mod inference;
mod lists;
mod machine;
mod shortcuts;
#[cfg(test)]
mod test_state;
mod traces;
mod transaction;

pub use block::{
    Activation, BlockContext, BlockInput, ChainSpec, EvmBlock, EvmBlockError, Ommers, Step,
    SystemCall, TypedReceipt, logs_bloom, parent_hash_slot, receipts_root,
};
pub use executor::{EvmExecutor, InvalidStep, StepEffects};
pub use inference::{
    EvmInferrer, InferredPlan, TemplateCache, TemplateCacheStats, TemplateScope, Templates,
};
pub use lists::{AccessListBuilder, ListedState, StateBefore};
pub use machine::EvmContext;
/// The version of revm whose types appear in this crate.
pub use revm;
pub use revm::primitives::hardfork::SpecId;
pub use traces::TRACE_AFTER;
pub use transaction::{
    DECLARED_TX_TYPE, EvmTransaction, LockweaveTxEnvelope, LockweaveTxType, RecoverError,
    SignatureFault, SignedTransaction, TxDeclared, recover_sender, recover_senders,
};
