//! What Ethereum's own suites are run with: a reader of their archives, the engine on one case at a
//! time, and the closing count.

pub(crate) mod archive;
pub(crate) mod engine;
pub(crate) mod exception;
pub(crate) mod report;
pub(crate) mod state;
