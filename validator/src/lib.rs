//! The validator: what wires the crates into a node, and the tools around it.
//!
//! Today that is `replay`: recorded blocks executed under locks and held against the serial oracle
//! and against what their headers say.

pub mod db;
pub mod recorded;
pub mod replay;
pub mod report;
pub mod senders;
