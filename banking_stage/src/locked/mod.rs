//! Executes blocks with known sets in parallel, under locks.
//!
//! Files, each using only those below it:
//!
//! * `run`: [`LockedPath`], the open block as a workload;
//! * `numbering`: gives the keys of a block's sets their numbers, on all workers;
//! * `seal`: [`seal_block`], which seals a block on all workers.

mod numbering;
mod run;
mod seal;

pub(crate) use numbering::number;
pub(crate) use run::LockedPath;
pub use seal::seal_block;
