//! Why a snapshot is not accepted.

use alloy_primitives::{Address, B256};
use lockweave_accounts_db::{CheckpointError, CommitError, OpenError};
use std::io;
use thiserror::Error;

/// What a peer sent is not a snapshot of the chain.
#[derive(Debug, Error, PartialEq, Eq)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum InvalidSnapshot {
    #[error("a chunk is invalid: {0}")]
    Chunk(&'static str),
    #[error("a chunk has root {computed}, and not {root}")]
    Root { computed: B256, root: B256 },
    #[error("the list of chunks is invalid: {0}")]
    Manifest(&'static str),
    #[error(
        "the chunks of the accounts have root {computed}, but the header's stateRoot is {stated}"
    )]
    StateRoot { computed: B256, stated: B256 },
    #[error("the slots of {address} have root {computed}, and not {root}")]
    StorageRoot {
        address: Address,
        computed: B256,
        root: B256,
    },
    #[error("the block is invalid: {0}")]
    Block(String),
    #[error("its finality is not proven: {0}")]
    Finality(String),
}

/// Why a snapshot cannot be made or put into a data folder.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum SnapshotError {
    #[error(transparent)]
    Invalid(#[from] InvalidSnapshot),
    #[error("{path}: {source}")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
}
