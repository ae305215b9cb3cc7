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

mod block;
mod executor;
mod inference;
mod lists;
mod machine;
mod shortcuts;
mod traces;
mod transaction;

pub use block::{
    Activation, BlockContext, BlockInput, ChainSpec, EvmBlock, EvmBlockError, Ommers, Step,
    SystemCall, TypedReceipt, logs_bloom, receipts_root,
};
pub use executor::{
    BlockEffects, EffectsExecutor, EvmExecutor, InvalidStep, PlacedStep, StepEffects,
};
pub use inference::{
    EvmInferrer, InferredPlan, TemplateCache, TemplateCacheStats, TemplateScope, Templates,
};
pub use lists::{AccessListBuilder, ListedState, StateBefore};
pub use machine::EvmContext;
pub use revm;
pub use revm::primitives::hardfork::SpecId;
pub use traces::TRACE_AFTER;
pub use transaction::{
    DECLARED_TX_TYPE, EvmTransaction, LockweaveTxEnvelope, LockweaveTxType, RecoverError,
    SignatureFault, SignedTransaction, TxDeclared, recover_sender, recover_senders,
};
