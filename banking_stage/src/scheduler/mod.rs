//! The scheduler: decides which task may run next.
//!
//! It knows tasks, their accesses and the block order. It does not know threads, clocks or
//! channels, nor what a task does; so a test can drive it through every order of completions.
//!
//! Files, each using only those below it:
//!
//! * `state_machine`: [`Scheduler`], which feeds the lock table and hands out ready tasks;
//! * `ready`: the set of ready tasks, lowest position first.

mod ready;
mod state_machine;

pub use state_machine::RunStats;
pub use state_machine::{Fed, Scheduler, SchedulerStats, WINDOW_DEFAULT};

#[cfg(all(test, not(loom)))]
mod tests;
