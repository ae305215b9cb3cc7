//! What is known of a transaction before its turn, and what takes its effects back afterwards.
//!
//! * `simulated_state`: the state before the block, on which a transaction is simulated; the trait that finds access sets;
//! * `speculative_transaction`: what is known and kept of one transaction;
//! * `undo`: takes back the effects of a transaction;
//! * `simulation`: the outcome and effects of a simulation, and how an access set was found.

mod simulated_state;
mod simulation;
mod speculative_transaction;
mod undo;

pub use simulated_state::{Assumption, Contention, Infer, Next, SimulatedState};
pub use simulation::Inference;
pub(crate) use simulation::Simulation;
pub(crate) use speculative_transaction::{Inferred, SpeculativeTransaction};
pub(crate) use undo::Undo;
pub use undo::UndoRecord;
