//! The stage on virtual workers: a discrete-event simulation of runs on more cores than there are.
//!
//! Every decision is the stage's own: the simulation drives the same `Core` that threads drive, with its
//! scheduler, lock table, batches and free tasks. Simulated are time and, with it, which worker takes the
//! lock when: how long tasks take is given, and [`SimulatedCosts`] says what turns, locks and messages cost.
//! There is no randomness; the same costs give the same answer.
//!
//! It leaves out caches and memory that cores share. Where those are the limit, it promises too much.
//!
//! Files, each using only those below it:
//!
//! * `simulation`: [`simulate`];
//! * `costs`: [`SimulatedCosts`], [`SimulatedTask`], [`SimulatedRun`].

mod costs;
mod simulation;

pub use costs::{SimulatedCosts, SimulatedRun, SimulatedTask};
pub use simulation::simulate;

#[cfg(test)]
mod tests;
