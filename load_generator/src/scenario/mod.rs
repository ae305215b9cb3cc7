//! What can be sent.
//!
//! A scenario does no I/O. It states its deployment, its calls and its queries; other folders carry them to the
//! chain. Each scenario can therefore be tested without a node and run against any node.
//!
//! * `catalogue`: all scenarios by name
//! * `mixed`: several scenarios by weight
//! * `workloads`: the other scenarios, one file each
//! * `model`: the `Scenario` trait and its types
//! * `script`: deployments

mod catalogue;
mod mixed;
mod model;
mod script;
#[cfg(test)]
mod tests;
mod workloads;

pub use catalogue::CATALOGUE;
pub use model::Description;

pub(crate) use catalogue::make;
pub(crate) use model::{Action, Answers, Query, Scenario, Settings};
pub(crate) use script::{Script, Step};
