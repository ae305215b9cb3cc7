//! The open block: its transactions, their cells and outcomes, until it is sealed.

mod late_grants;
mod open_block;
mod outcomes;
mod private_effects;
mod state_cells;
mod suspended_credits;

pub(crate) use late_grants::Begun;
pub use open_block::{ExecutedBlock, OpenBlock, RecycledBlock, SealError, SealedBlock};
pub(crate) use state_cells::{AccountCell, Credits, LastAccount, Origin, StateCell};
pub use state_cells::{StateCells, StateRules};
pub use suspended_credits::SuspendedCredits;
