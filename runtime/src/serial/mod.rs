//! Execution without locks: the serial oracle, the recording of access sets, and a state in memory.

mod memory_state;
mod recording;
mod serial_state;

pub use memory_state::MemoryState;
pub use recording::Recording;
pub use serial_state::{BlockError, SerialState, execute_serially};
