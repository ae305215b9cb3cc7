//! Memory that is shared between threads or kept from block to block.

pub mod prefetch;
mod shared_list;

pub(crate) use shared_list::{Appender, SharedList};
