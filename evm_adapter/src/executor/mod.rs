//! The executor of a block's steps.

mod effects;
mod error;
#[expect(clippy::module_inception, reason = "the folder is named after it")]
mod executor;

pub use effects::{BlockEffects, NotingExecutor, PlacedStep, StepEffects};
pub(crate) use error::DbError;
pub use error::InvalidStep;
pub(crate) use executor::EvmContext;
pub use executor::EvmExecutor;
