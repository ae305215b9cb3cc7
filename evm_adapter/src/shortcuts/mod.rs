//! Transactions without the interpreter.
//!
//! * `transfer`: plain transfers, and the fee rules that traces share.

mod transfer;

pub(crate) use transfer::{Fee, TransferRules};
