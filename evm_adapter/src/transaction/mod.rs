//! Signed transactions: their types, encodings, senders, and the form in which they run.
//!
//! * `evm_transaction`: a transaction with its sender, ready to run.
//! * `recover`: senders from signatures.
//! * `envelope`: signed transactions of every type, Ethereum's and `0x44`.
//! * `declared_encoding`: RLP, signing hash and alloy's traits of type `0x44`.
//! * `declared`: transactions that sign the keys they access (type `0x44`).

mod declared;
mod declared_encoding;
#[cfg(test)]
mod declared_tests;
mod envelope;
mod evm_transaction;
mod recover;

pub use declared::{DECLARED_TX_TYPE, TxDeclared};
pub use envelope::{LockweaveTxEnvelope, LockweaveTxType};
pub use evm_transaction::EvmTransaction;
pub use recover::{
    RecoverError, SignatureFault, SignedTransaction, recover_sender, recover_senders,
};
