//! revm as the executor of declared-access transactions.
//!
//! An [`EvmBlock`] lays a block out in [`Step`]s: system calls, transactions, withdrawals and
//! rewards. An [`EvmExecutor`] runs steps one at a time on whatever state it is given through
//! [`StateAccess`](lockweave_runtime::StateAccess): the serial oracle's, a recording one, or the
//! granted cells of an open block. It never asks who else is running.
//!
//! Three things differ from revm as it comes, and none of them can be told from the outcome:
//!
//! * an account's code is loaded without looking at its nonce and balance;
//! * ether sent to an account nobody looked at leaves as a credit: fees to the beneficiary above all, and what
//!   contracts pay to contracts and to accounts that were in use before the block;
//! * EIP-7610's creation rule (no creation over storage) is checked, which revm leaves out.
//!
//! **Architecture invariant:** no threads and no files here. Signature recovery is a function of
//! transactions; who spreads it over cores is the caller's business.

pub mod access_list;
pub mod block;
pub mod chain;
mod code_cache;
pub mod declared;
pub mod effects;
pub mod envelope;
pub mod error;
pub mod executor;
mod hashes;
pub mod infer;
mod journal;
pub mod listed_state;
mod precompiles;
pub mod receipt;
pub mod recover;
pub mod step;
pub mod templates;
mod traces;
mod transfer;

pub use access_list::AccessListBuilder;
pub use block::{BlockContext, BlockInput, EvmBlock, EvmBlockError, Ommers};
pub use chain::{Activation, ChainSpec};
pub use declared::{DECLARED_TX_TYPE, TxDeclared};
pub use effects::{BlockEffects, NotingExecutor, PlacedStep, StepEffects};
pub use envelope::{LockweaveTxEnvelope, LockweaveTxType};
pub use error::InvalidStep;
pub use executor::EvmExecutor;
pub use infer::{EvmInferrer, InferredPlan, TemplateScope};
pub use listed_state::{ListedState, StateBefore};
pub use receipt::{TypedReceipt, logs_bloom, receipts_root};
pub use recover::{
    RecoverError, SignatureFault, SignedTransaction, recover_sender, recover_senders,
};
pub use revm::primitives::hardfork::SpecId;
pub use step::{EvmTransaction, Step, SystemCall};
pub use templates::{TemplateCache, TemplateCacheStats, Templates};
pub use traces::TRACE_AFTER;
