//! The state as a thread sees it while it holds a grant.
//!
//! * `transfer`: plain transfers in one go;
//! * `state_access`: the state that a transaction sees;
//! * `simulation`: simulations that are taken as executions;
//! * `effects`: applies effects to cells;
//! * `granted_state`: a worker's view of an open block, and the keys that a grant covers.

mod effects;
mod granted_state;
mod simulation;
mod state_access;
mod transfer;

pub use granted_state::GrantedState;
