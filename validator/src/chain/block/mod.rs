//! A block with its results.
//!
//! * `rlp_file`: blocks in a file, as geth exports them
//! * `listed_block`: a block with its access list, as validators send it to each other
//! * `body_roots`: the roots by which a header commits to its body
//! * `chain_block`: a block of the chain, with receipts and access sets
//! * `failure`: why transactions of type 0x44 were stopped

mod body_roots;
mod chain_block;
pub mod failure;
pub mod listed_block;
pub mod rlp_file;

pub use body_roots::{RootMismatch, check_roots};
pub use chain_block::{ChainBlock, Envelope, declaring};
pub use failure::Failure;
pub use listed_block::ListedBlock;
