//! The state of a block whose transactions run one after another on one thread.
//!
//! * `sequential_state`: what has changed so far, in two maps;
//! * `place_map`: a map whose entries are kept in insertion order.

mod place_map;
mod sequential_state;

pub(crate) use sequential_state::PART_MIN;
pub use sequential_state::SequentialState;
