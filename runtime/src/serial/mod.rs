//! Execution without locks or cells.
//!
//! * `serial_state`: the serial oracle, against which every parallel run is checked;
//! * `recording`: records the access set of a transaction that runs;
//! * `memory_state`: a state in hash maps.

mod memory_state;
mod recording;
mod serial_state;

pub use memory_state::MemoryState;
pub use recording::Recording;
pub use serial_state::{BlockError, SerialState, execute_serially};
