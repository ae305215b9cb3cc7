//! Whole measurements.
//!
//! * `find_max`: the highest rate that a node sustains, by several runs
//! * `run`: one run

mod find_max;
mod run;

pub use find_max::{Search, Trial, best_trial, find_max};
pub use run::{NoObserver, Observer, Options, run};
