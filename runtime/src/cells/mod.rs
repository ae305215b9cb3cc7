//! The cells that hold the current value of each key of an open block.
//!
//! A cell is reached by plain reference. Exclusive access comes from a grant, so the functions that reach a cell are `unsafe`, and
//! their contracts say which grant is needed.
//!
//! * `held_cells`: the cells that a thread holds, and credits that it sums up before they reach cells;
//! * `key_cells`: the cells of a block's keys, over the state before the block;
//! * `cell`: account, code and slot cells, and the values before the block;
//! * `credits`: balance increases that threads add side by side;
//! * `arena`: the arena that all cells live in.

mod arena;
mod cell;
mod credits;
mod held_cells;
mod key_cells;

pub use arena::Cells;
pub(crate) use cell::{AccountCell, LastAccount, Origin, SlotCell, StateCell};
pub(crate) use credits::Credits;
pub(crate) use held_cells::{CreditBuffer, HeldCells};
pub(crate) use key_cells::KeyCells;
