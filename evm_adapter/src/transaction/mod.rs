//! Signed transactions: their types, encodings and senders.
//!
//! * `recover`: senders from signatures.
//! * `envelope`: signed transactions of every type, Ethereum's and `0x44`.
//! * `declared`: transactions that sign the keys they access (type `0x44`).

mod declared;
mod envelope;
mod recover;

pub use declared::{DECLARED_TX_TYPE, TxDeclared};
pub use envelope::{LockweaveTxEnvelope, LockweaveTxType};
pub use recover::{
    RecoverError, SignatureFault, SignedTransaction, recover_sender, recover_senders,
};
