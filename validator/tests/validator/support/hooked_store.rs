//! A chain in memory that tells when it is read and when it commits.

use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_runtime::{Account, Code, MemoryState, StateDelta, StateError, StateView};
use lockweave_validator::{
    chain::{ChainBlock, ChainParameters},
    store::{ChainStore, MemoryStore, PreparedCommit, Retention, StoreError, TransactionPlace},
};
use std::sync::Arc;

/// What is done at a commit of a block with this number, before it; an error is the commit's.
pub(crate) type OnCommit = Box<dyn Fn(u64) -> Result<(), StoreError> + Send + Sync>;
/// What is done before an account is read.
pub(crate) type OnRead = Arc<dyn Fn() + Send + Sync>;

pub(crate) struct HookedStore {
    inner: MemoryStore,
    on_commit: OnCommit,
    on_read: OnRead,
}

impl HookedStore {
    pub(crate) fn new(parameters: &ChainParameters, on_commit: OnCommit, on_read: OnRead) -> Self {
        let genesis = parameters.genesis_block().unwrap();
        let delta = parameters.genesis_delta();
        Self {
            inner: MemoryStore::new(Retention::default(), genesis, &delta),
            on_commit,
            on_read,
        }
    }
}

struct HookedView {
    inner: Arc<dyn StateView>,
    on_read: OnRead,
}

impl StateView for HookedView {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        (self.on_read)();
        self.inner.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, StateError> {
        self.inner.slot(address, slot)
    }

    fn code(&self, hash: B256) -> Result<Option<Arc<Code>>, StateError> {
        self.inner.code(hash)
    }

    fn block_hash(&self, number: u64) -> Result<Option<B256>, StateError> {
        self.inner.block_hash(number)
    }

    fn has_storage(&self, address: Address) -> Result<bool, StateError> {
        self.inner.has_storage(address)
    }
}

struct HookedCommit<'s> {
    inner: Box<dyn PreparedCommit + 's>,
    store: &'s HookedStore,
}

impl PreparedCommit for HookedCommit<'_> {
    fn commitment(&self) -> B256 {
        self.inner.commitment()
    }

    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError> {
        (self.store.on_commit)(block.number())?;
        self.inner.commit(block)
    }
}

impl ChainStore for HookedStore {
    fn head(&self) -> Arc<ChainBlock> {
        self.inner.head()
    }

    fn commitment(&self) -> B256 {
        self.inner.commitment()
    }

    fn oldest_block(&self) -> u64 {
        self.inner.oldest_block()
    }

    fn oldest_state(&self) -> u64 {
        self.inner.oldest_state()
    }

    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(Arc::new(HookedView {
            inner: self.inner.state_at(number)?,
            on_read: Arc::clone(&self.on_read),
        }))
    }

    fn whole_state_at(&self, number: u64) -> Result<MemoryState, StoreError> {
        self.inner.whole_state_at(number)
    }

    fn block(&self, number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError> {
        self.inner.block(number)
    }

    fn number_of(&self, hash: B256) -> Option<u64> {
        self.inner.number_of(hash)
    }

    fn transaction(&self, hash: B256) -> Option<TransactionPlace> {
        self.inner.transaction(hash)
    }

    fn bloom(&self, number: u64) -> Option<Bloom> {
        self.inner.bloom(number)
    }

    fn prepare(
        &self,
        number: u64,
        delta: StateDelta,
    ) -> Result<Box<dyn PreparedCommit + '_>, StoreError> {
        Ok(Box::new(HookedCommit {
            inner: self.inner.prepare(number, delta)?,
            store: self,
        }))
    }
}
