//! Execution on a scratch state, on plain revm: nothing of it reaches the chain.
//!
//! * `rerun`: executes a block of the chain again, transaction by transaction
//! * `protocol`: system calls, rewards and withdrawals on a scratch state
//! * `overrides`: block and state overrides of a call
//! * `scene`: rules, block and scratch state of a call
//! * `precompiles`: precompiled contracts that a call may move

mod overrides;
mod precompiles;
mod protocol;
mod rerun;
mod scene;

pub(crate) use precompiles::MovablePrecompiles;
pub(crate) use rerun::Rerun;
pub(crate) use scene::{CallResult, Deadline, Scene, ViewError, halted, refused, state_failed};
