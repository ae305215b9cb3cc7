//! The state commitment, a homomorphic hash of the state.
//!
//! * `lattice`: the sum of all elements of the state
//! * `xof`: BLAKE3's extendable output, added to that sum

pub mod lattice;
mod xof;

pub(crate) use lattice::{LATTICE_BYTES, Lattice, LatticeChange};
