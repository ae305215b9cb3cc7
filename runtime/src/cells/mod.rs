//! The cells that hold the current value of each key of an open block.

mod arena;
mod cell;
mod credit_buffer;
mod credits;
mod key_cells;

pub use arena::Cells;
pub(crate) use cell::{AccountCell, LastAccount, Origin, StateCell};
pub(crate) use credit_buffer::CreditBuffer;
pub(crate) use credits::Credits;
pub(crate) use key_cells::KeyCells;
