//! Block access lists (EIP-7928).
//!
//! * `access_list`: builds a block's list from the effects of its steps.
//! * `listed_state`: the state before each transaction, from a block's list.

mod access_list;
mod listed_state;

pub use access_list::AccessListBuilder;
pub use listed_state::{ListedState, StateBefore};
