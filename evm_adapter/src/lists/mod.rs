//! Block access lists (EIP-7928).

mod access_list;
mod listed_state;

pub use access_list::AccessListBuilder;
pub use listed_state::{ListedState, StateBefore};
