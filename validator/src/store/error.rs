//! Why a store cannot serve a request or keep a block.

use std::sync::Arc;
use thiserror::Error;

/// Why a store cannot serve a request or keep a block.
#[derive(Clone, Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum StoreError {
    #[error(
        "the state of block {number} is not available: states are kept from block {oldest} on; \
         start the node with a larger --history.state-blocks"
    )]
    StatePruned { number: u64, oldest: u64 },
    #[error(
        "block {number} is no longer available: blocks are kept from {oldest} on; \
         start the node with a larger --history.body-blocks"
    )]
    BlockPruned { number: u64, oldest: u64 },
    #[error("block {number} does not exist: the newest is {head}")]
    UnknownBlock { number: u64, head: u64 },
    #[error("block {number} does not follow block {head}")]
    NotNext { number: u64, head: u64 },
    /// The storage failed; retrying does not help.
    #[error("the chain's storage failed: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// The storage failed; the operation may be retried.
    #[error("the chain's storage failed: {0}")]
    Backend(Arc<dyn std::error::Error + Send + Sync>),
}
