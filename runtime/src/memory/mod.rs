//! Memory that threads share or that is kept from block to block. Knows nothing of blocks.
//!
//! * `shared_list`: a list that several threads fill side by side;
//! * [`prefetch`]: asks the processor for memory before it is needed.

pub mod prefetch;
mod shared_list;

pub(crate) use shared_list::{Appender, SharedList};
