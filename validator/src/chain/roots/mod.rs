//! Merkle roots, as headers of Ethereum have them.
//!
//! * `receipts`: root and bloom filter of receipts

pub mod receipts;

pub use receipts::ReceiptsSummary;
