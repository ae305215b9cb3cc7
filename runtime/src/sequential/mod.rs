//! The state of a block whose transactions run one after another on one thread.

mod place_map;
mod sequential_state;

pub(crate) use sequential_state::PART_MIN;
pub use sequential_state::SequentialState;
