//! Blocks as sequences of steps, with their environment and fork rules.
//!
//! * `block`: a block as a sequence of steps, and the environment of its steps.
//! * `step`: transactions ready to run, system calls and protocol credits.
//! * `receipt`: receipts in Ethereum's form.
//! * `chain`: fork schedules of chains.

#[expect(clippy::module_inception, reason = "the folder is named after it")]
mod block;
mod chain;
mod receipt;
mod step;

pub use block::{BlockContext, BlockInput, EvmBlock, EvmBlockError, Ommers};
pub use chain::{Activation, ChainSpec};
pub use receipt::{TypedReceipt, logs_bloom, receipts_root};
pub use step::{EvmTransaction, Step, SystemCall};
