//! Senders and authorities from signatures.
//!
//! * `senders`: senders of transactions, on many threads
//! * `libsecp256k1`: makes alloy recover signatures with the newest libsecp256k1

mod libsecp256k1;
pub mod senders;

pub use libsecp256k1::install as install_libsecp256k1;
