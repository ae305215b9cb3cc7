//! What a chain is made of: its rules, its genesis, its blocks and what a block costs.

pub mod block;
pub mod dev;
pub mod difficulty;
pub mod execution;
pub mod failure;
pub mod fees;
pub mod genesis;
pub mod header;
pub mod import;
pub mod merkle;
pub mod merkle_state;
pub mod ommers;
pub mod receipts;
pub mod requests;
pub mod rlp_file;

pub use block::{ChainBlock, Envelope};
pub use failure::Failure;
pub use genesis::{ChainParameters, GenesisError};
pub use receipts::ReceiptsSummary;
