//! Transactions before they are sent: accounts, declared accesses, signatures.
//!
//! * `signing`: plans become signed transactions
//! * `accounts`: keys and addresses
//! * `access`: accessed slots and how they are declared

mod access;
mod accounts;
mod signing;

pub use access::{Access, Declarations, Slots};
pub use accounts::{Account, recipients, senders};
pub use signing::{Plan, Signed, Terms, sign};

pub(crate) use access::{address_key, mapping_slot, number_key, slot};
pub(crate) use signing::{TRANSFER_GAS, sign_all};
