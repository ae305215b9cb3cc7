//! The open block: its transactions, their cells and outcomes, until it is sealed.
//!
//! * `seal`: ends a block's execution and gathers its changes;
//! * `suspended_credits`: takes credits off accounts while an earlier transaction runs;
//! * `private_effects`: transactions whose effects no other transaction can observe;
//! * `late_grants`: keys that running transactions get beyond their sets;
//! * `resolve`: fills the cells of the keys that a transaction introduces;
//! * `inferred_sets`: what is learnt of transactions whose sets are inferred;
//! * `open_block`: the block itself;
//! * `state_cells`: cells, and the memory that one block leaves to the next;
//! * `outcomes`: the outcomes, written by many threads.

mod inferred_sets;
mod late_grants;
mod open_block;
mod outcomes;
mod private_effects;
mod resolve;
mod seal;
mod state_cells;
mod suspended_credits;

pub(crate) use late_grants::Begun;
pub use open_block::OpenBlock;
pub use seal::{ExecutedBlock, RecycledBlock, SealError};
pub use state_cells::StateCells;
pub use suspended_credits::SuspendedCredits;
