//! Blocks as sequences of steps, with their environment and fork rules.
//!
//! * `block`: a block as a sequence of steps.
//! * `step`: one step: a transaction, a system call or protocol credits.
//! * `context`: the environment of a block's steps.
//! * `chain`: chains and their fork schedules.
//! * `receipt`: receipts in Ethereum's form.

#[expect(clippy::module_inception, reason = "the folder is named after it")]
mod block;
mod chain;
mod context;
mod receipt;
mod step;

pub use block::{BlockInput, EvmBlock, EvmBlockError, Ommers, parent_hash_slot};
pub use chain::{Activation, ChainSpec};
pub use context::BlockContext;
pub use receipt::{TypedReceipt, logs_bloom, receipts_root};
pub use step::{Step, SystemCall};
