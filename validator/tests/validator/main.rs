//! The node and the tools of the command line, from outside.
//!
//! One binary, because linking the node takes longer than running the tests.

mod accounting;
mod committing;
mod db_cli;
mod durable;
mod hostile;
mod inference;
mod intake;
mod membership;
mod operation;
mod production;
mod replay_cli;
mod rpc_protocol;
mod simulate;
mod subscriptions;
mod support;
mod transactions;
