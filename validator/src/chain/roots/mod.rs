//! Merkle roots, as headers of Ethereum have them.
//!
//! * `merkle_state`: a state with its root
//! * `merkle`: roots and proofs of a state
//! * `receipts`: root and bloom filter of receipts

pub mod merkle;
pub mod merkle_state;
pub mod receipts;

pub use receipts::ReceiptsSummary;
