//! Our engine beside the best sequential revm, on the same blocks.
//!
//! * [`block`]: a block that can run repeatedly, and our paths;
//! * [`yardstick`]: plain revm on one thread, on a [`flat_state`];
//! * [`workload`]: the blocks, by the name of their workload;
//! * [`agreement`]: checks that all results are equal;
//! * [`measure`], [`report`], [`chart`]: pairs of runs, and their reports;
//! * [`phases`]: a run's instructions by phase;
//! * [`schedulers`]: schedulers alone; [`model`]: ours on more [workers](virtual_workers) than cores, from
//!   the [costs of its own work](costs).

pub mod agreement;
pub mod block;
pub mod chart;
pub mod costs;
pub mod flat_state;
pub mod measure;
pub mod model;
pub mod phases;
pub mod report;
pub mod schedulers;
pub mod virtual_workers;
pub mod workload;
pub mod yardstick;
