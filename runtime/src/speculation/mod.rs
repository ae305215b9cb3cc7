//! What is known of a transaction before its turn, and what takes it back afterwards.

mod simulated_state;
mod speculation;
mod undo;

pub use simulated_state::{Assumption, Contention, Infer, Inference, Next, SimulatedState};
pub(crate) use speculation::{Draft, Inferred, Simulation};
pub(crate) use undo::Undo;
pub use undo::UndoRecord;
