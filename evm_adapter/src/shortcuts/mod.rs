//! Plain transfers without the interpreter.

mod transfer;

pub(crate) use transfer::{Fee, TransferRules};
