//! A chain: its genesis, its blocks, the rules between them, and their execution.
//!
//! * `execution`: a given block, executed and checked
//! * `access_list`: blocks executed by their access list (EIP-7928)
//! * `genesis`: the first block, and the development chain
//! * `rules`: what follows from a parent: difficulty, fees, uncles; and the requests of a block
//! * `block`: a block with its results, and files of blocks
//! * `roots`: Merkle roots of states and receipts
//!
//! Each entry may use those below it.

pub mod block;
pub mod execution;
pub mod genesis;
mod roots;
mod rules;

pub use block::{
    ChainBlock, Envelope, Failure, ListedBlock, declaring, failure, listed_block, rlp_file,
};
pub use genesis::{ChainParameters, GenesisError, dev};
pub use roots::{ReceiptsSummary, receipts};
pub use rules::{difficulty, fees, header, ommers, requests};
