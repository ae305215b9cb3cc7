//! Why a store cannot serve a request or keep a block.

use std::sync::Arc;
use thiserror::Error;

/// Why a store cannot serve a request or keep a block.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// The state after this block is no longer kept.
    #[error(
        "the state of block {number} is not available: states are kept from block {oldest} on; \
         start the node with a larger --history.state-blocks"
    )]
    StatePruned {
        /// The requested block.
        number: u64,
        /// The oldest block whose state is kept.
        oldest: u64,
    },
    /// The block's body and receipts are no longer kept.
    #[error(
        "block {number} is no longer available: blocks are kept from {oldest} on; \
         start the node with a larger --history.body-blocks"
    )]
    BlockPruned {
        /// The requested block.
        number: u64,
        /// The oldest block that is kept.
        oldest: u64,
    },
    /// There is no such block yet.
    #[error("block {number} does not exist: the newest is {head}")]
    UnknownBlock {
        /// The requested block.
        number: u64,
        /// The newest.
        head: u64,
    },
    /// A block that does not follow the newest one.
    #[error("block {number} does not follow block {head}")]
    NotNext {
        /// The block's number.
        number: u64,
        /// The newest.
        head: u64,
    },
    /// The state is too large for the request.
    #[error(
        "the state has more than {limit} entries, too many to walk through; proofs are for smaller chains"
    )]
    StateTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The storage failed; retrying does not help.
    #[error("the chain's storage failed: {0}")]
    Failed(Arc<dyn std::error::Error + Send + Sync>),
    /// The storage failed; the operation may be retried.
    #[error("the chain's storage failed: {0}")]
    Backend(Arc<dyn std::error::Error + Send + Sync>),
}
