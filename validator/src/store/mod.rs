//! Storage of the chain and its state.
//!
//! A [`ChainStore`] holds blocks, their index, and the state after each of the last blocks. [`MemoryStore`]
//! keeps everything in memory, for development; [`DurableStore`] keeps it on disk.

mod cache;
mod codec;
mod durable;
mod error;
mod index;
mod memory;
mod timed_storage;
mod versioned;

pub use codec::CodecError;
pub use durable::{Datadir, DatadirError, DurableStore};
pub use error::StoreError;
pub use index::{ChainIndex, IndexedBlock, TransactionPlace};
pub use memory::MemoryStore;
pub use versioned::{VersionedState, VersionedView};

pub(crate) use codec::{decode as decode_block, encode as encode_block};

use crate::{chain::ChainBlock, config::History};
use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_accounts_db::{AccountProof, StateItem};
use lockweave_runtime::{StateDelta, StateView};
use std::sync::Arc;

/// How much history a store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// States after this many of the last blocks can be read, besides the latest.
    pub state_blocks: u64,
    /// Bodies and receipts of this many of the last blocks are kept.
    pub body_blocks: u64,
    /// Transactions of the last blocks that can be found by hash, at most.
    pub transactions: usize,
    /// Memory of the state trie in bytes.
    pub trie_memory_bytes: usize,
}

impl Retention {
    /// Keeps all blocks and transactions.
    pub const fn everything() -> Self {
        Self {
            state_blocks: 256,
            body_blocks: u64::MAX,
            transactions: usize::MAX,
            trie_memory_bytes: 2 << 30,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::from(&History::default())
    }
}

impl From<&History> for Retention {
    fn from(history: &History) -> Self {
        Self {
            state_blocks: history.state_blocks,
            body_blocks: history.body_blocks,
            transactions: history.transactions,
            trie_memory_bytes: history.trie_memory << 20,
        }
    }
}

/// A chain: its blocks, and the state after each of the last ones.
///
/// Reads may come from any thread; one thread at a time commits blocks.
pub trait ChainStore: Send + Sync {
    /// The newest durable block.
    fn head(&self) -> Arc<ChainBlock>;

    /// The number of the oldest block whose body and receipts are kept.
    fn oldest_block(&self) -> u64;

    /// The number of the oldest block after which the state can be read.
    fn oldest_state(&self) -> u64;

    /// The state after a block, if it is still kept.
    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError>;

    /// Gives `visit` all accounts and slots of a state, in no order, until it returns `false`.
    fn visit_state(
        &self,
        number: u64,
        visit: &mut dyn FnMut(StateItem) -> bool,
    ) -> Result<(), StoreError>;

    /// Proves an account and some of its slots in the state after a block (EIP-1186).
    fn proof_at(
        &self,
        number: u64,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, StoreError>;

    /// The state root after some changes of the state after a block.
    fn root_after(&self, number: u64, delta: &StateDelta) -> Result<B256, StoreError>;

    /// A block; `None` if it does not exist yet. A block that is no longer kept is an error.
    fn block(&self, number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError>;

    /// The number of the block with this hash.
    fn number_of(&self, hash: B256) -> Option<u64>;

    /// The block of a transaction and its index there.
    fn transaction(&self, hash: B256) -> Option<TransactionPlace>;

    /// The bloom filter over a block's logs, without reading the block.
    fn bloom(&self, number: u64) -> Option<Bloom>;

    /// Prepares the commit of the next block with its changes, and computes the state root for its header.
    fn prepare(
        &self,
        number: u64,
        delta: StateDelta,
    ) -> Result<Box<dyn PreparedCommit + '_>, StoreError>;
}

/// A block whose changes are prepared.
pub trait PreparedCommit {
    /// The state root after the block.
    fn state_root(&self) -> B256;

    /// Makes the block durable and publishes it. After an error nothing of the block is stored, and the
    /// commit can be retried.
    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError>;
}
