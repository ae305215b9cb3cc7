//! The cells that hold the current value of each key of an open block.

mod arena;
mod credit_buffer;

pub use arena::Cells;
pub(crate) use credit_buffer::CreditBuffer;
