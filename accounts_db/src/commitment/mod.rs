pub mod lattice;
pub(crate) mod xof;
