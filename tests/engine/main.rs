//! The engine as a whole: blocks in parallel, compared with the serial oracle and with plain revm.
//!
//! One binary, because linking revm takes longer than running the tests.

mod accounts_db_state;
mod alloy_evm;
mod differential_revm;
mod inferred_access;
mod mainnet_blocks;
mod own_fixtures;
mod paid_accounts;
mod payments;
mod serial_equivalence;
mod short_transfers;
mod signed_access;
mod skipped;
mod support;
mod templates;
mod traces;
mod undeclared_access;
mod undo;
