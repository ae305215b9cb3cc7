//! The first block of a chain.
//!
//! * `dev`: the genesis of the development chain
//! * `parameters`: a genesis file in geth's format, and what follows from it

pub mod dev;
mod parameters;

pub use parameters::{ChainParameters, GenesisError};
