//! Our engine beside the best sequential revm, on the same blocks.
//!
//! * [`block`]: a block that can be run again and again, and our ways to run it;
//! * [`yardstick`]: revm on one thread, with nothing of ours around it, on a [`flat_state`];
//! * [`workload`]: the blocks, by the name of their workload;
//! * [`agreement`]: that all of them come to the same;
//! * [`measure`], [`report`], [`chart`]: pairs of runs, and what is said of them;
//! * [`phases`]: where a run's instructions go;
//! * [`schedulers`]: schedulers alone; [`model`]: ours on more workers than there are cores, by what
//!   [its own work costs](costs).

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
pub mod workload;
pub mod yardstick;
