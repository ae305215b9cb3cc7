//! Inference of access sets.

use super::{simulated_state::SimulatedState, simulation::Inference};
use crate::model::{Sanitized, StateError, StateView};

/// Finds out what a transaction touches.
pub trait Infer<T>: 'static {
    /// Infers what a transaction touches, and leaves in `state` every access it is expected to make, either
    /// by running it there or by [naming keys](SimulatedState::expect).
    ///
    /// A wrong answer costs time, never correctness. An error comes from the state only: a transaction that
    /// cannot run is left to its execution, which reports why.
    fn infer(
        &mut self,
        transaction: &T,
        state: &mut SimulatedState,
    ) -> Result<Inference, StateError>;

    /// Announces transactions that will be inferred or will run next, so that the state can be told which
    /// keys will be read.
    fn announce(&mut self, transactions: &[Sanitized<T>], next: Next, view: &dyn StateView) {
        let _ = (transactions, next, view);
    }

    /// Reports that a transaction left the set that was found for it by
    /// [template](Inference::Template), so that the template is not used again. `state` is that before
    /// the block.
    fn reject_template(&mut self, transaction: &T, state: &mut SimulatedState) {
        let _ = (transaction, state);
    }
}

/// What will be done with transactions next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Their sets are inferred.
    Infer,
    /// They run.
    Run,
}
