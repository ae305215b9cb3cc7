//! A chain in memory that tells when it is read and when it commits.

use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_runtime::{Account, Code, MemoryState, StateDelta, StateError, StateView};
use lockweave_validator::{
    chain::{ChainBlock, ChainParameters},
    store::{ChainStore, MemoryStore, PreparedCommit, Retention, StoreError, TransactionPlace},
};
use std::sync::Arc;

/// What is done at what.
pub(crate) trait Hooks: Send + Sync + 'static {
    /// Before a block with this number is prepared.
    fn prepare(&self, _number: u64) {}

    /// Before a block with this number is committed; an error is the commit's.
    fn commit(&self, _number: u64) -> Result<(), StoreError> {
        Ok(())
    }

    /// Before an account is read.
    fn read(&self) {}

    /// After an account was read.
    fn was_read(&self) {}
}

pub(crate) struct HookedStore {
    inner: MemoryStore,
    hooks: Arc<dyn Hooks>,
}

impl HookedStore {
    pub(crate) fn new(parameters: &ChainParameters, hooks: Arc<dyn Hooks>) -> Self {
        let genesis = parameters.genesis_block().unwrap();
        let delta = parameters.genesis_delta();
        Self {
            inner: MemoryStore::new(Retention::default(), genesis, &delta),
            hooks,
        }
    }
}

struct HookedView {
    inner: Arc<dyn StateView>,
    hooks: Arc<dyn Hooks>,
}

impl StateView for HookedView {
    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.hooks.read();
        let account = self.inner.account(address);
        self.hooks.was_read();
        account
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
        self.store.hooks.commit(block.number())?;
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
            hooks: Arc::clone(&self.hooks),
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
        self.hooks.prepare(number);
        Ok(Box::new(HookedCommit {
            inner: self.inner.prepare(number, delta)?,
            store: self,
        }))
    }
}
