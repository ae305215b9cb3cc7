//! The state commitment, a homomorphic hash of the state: the sum of all its elements.

pub mod lattice;

pub(crate) use lattice::{LATTICE_BYTES, Lattice, LatticeChange};
