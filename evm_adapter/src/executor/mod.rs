//! revm as the executor of a block's steps.
//!
//! * `executor`: the executor of steps.
//! * `outcome`: revm's results and errors in the runtime's form.
//! * `handler`: Ethereum's handler, except that the fee is a credit.
//! * `credits`: credits that the protocol hands out.
//! * `effects`: the accounts and slots that steps touch, and their changes.
//! * `error`: why a step is invalid.

mod credits;
mod effects;
mod error;
#[expect(clippy::module_inception, reason = "the folder is named after it")]
mod executor;
mod handler;
mod outcome;
#[cfg(test)]
mod tests;

pub use effects::StepEffects;
pub use error::InvalidStep;
pub use executor::EvmExecutor;
