//! The open block: its transactions, their cells and outcomes, until it is sealed.

mod fill_state;
mod inferred_sets;
mod late_grant_list;
mod late_grants;
mod open_block;
mod outcomes;
mod private_effects;
mod resolve;
mod seal;
mod settled_cells;
mod state_cells;
mod suspended_credits;

pub(crate) use late_grants::Begun;
pub use open_block::OpenBlock;
pub use seal::{ExecutedBlock, RecycledBlock, SealError};
pub use state_cells::StateCells;
pub use suspended_credits::SuspendedCredits;
