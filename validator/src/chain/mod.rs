//! What a chain is made of: its rules, its genesis, its blocks and what a block costs.

pub mod block;
pub mod dev;
pub mod fees;
pub mod genesis;
pub mod merkle;

pub use block::{ChainBlock, Envelope};
pub use genesis::{ChainParameters, GenesisError};
