//! The harness of Ethereum's own suites: a reader of their archives, the engine on one case at a time, and the closing
//! count.

// Every suite is a separate program and uses a part of this.
#![allow(dead_code)]

pub(crate) mod archive;
pub(crate) mod block_exception;
pub(crate) mod blockchain;
pub(crate) mod chain;
pub(crate) mod durable;
pub(crate) mod engine;
pub(crate) mod exception;
pub(crate) mod fork;
pub(crate) mod next_block;
pub(crate) mod report;
pub(crate) mod state;
pub(crate) mod suite;
pub(crate) mod wrong_lists;
