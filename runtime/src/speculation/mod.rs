//! What is known of a transaction before its turn, and what takes it back afterwards.

mod infer;
mod inference;
mod simulated_state;
mod simulation;
mod speculative_transaction;
mod undo;

pub use infer::{Infer, Next};
pub use inference::Inference;
pub use simulated_state::{Assumption, Contention, SimulatedState};
pub(crate) use simulation::Simulation;
pub(crate) use speculative_transaction::{Draft, Inferred};
pub(crate) use undo::Undo;
pub use undo::UndoRecord;
