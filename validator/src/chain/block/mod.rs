//! A block with its results.
//!
//! * `rlp_file`: blocks in a file, as geth exports them
//! * `chain_block`: a block of the chain, with receipts and access sets
//! * `failure`: why transactions of type 0x44 were stopped

mod chain_block;
pub mod failure;
pub mod rlp_file;

pub use chain_block::{ChainBlock, Envelope, declaring};
pub use failure::Failure;
