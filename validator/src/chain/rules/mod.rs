//! The rules of a block as the child of its parent, without its execution.
//!
//! * `ommers`: uncles
//! * `header`: headers
//! * `difficulty`: the difficulty before the merge
//! * `fees`: base fees and blob fees
//! * `requests`: requests to the consensus layer (EIP-7685)

pub mod difficulty;
pub mod fees;
pub mod header;
pub mod ommers;
pub mod requests;
