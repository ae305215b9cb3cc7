//! Senders and authorities from signatures.
//!
//! * `senders`: senders of transactions, on many threads
//! * `libsecp256k1`: the library that alloy's recoveries use

mod libsecp256k1;
pub mod senders;

pub use libsecp256k1::install as install_libsecp256k1;
