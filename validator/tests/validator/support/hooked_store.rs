//! A chain in memory that tells when it is read and when it commits.

use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_accounts_db::{AccountProof, StateItem};
use lockweave_runtime::{Account, Code, StateDelta, StateError, StateView};
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
    fn read(&self, _address: Address) {}

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

/// Methods that call those of `inner`.
macro_rules! pass_on {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)*) => {
        $(fn $name(&self, $($arg: $ty),*) -> $out {
            self.inner.$name($($arg),*)
        })*
    };
}

impl StateView for HookedView {
    pass_on! {
        slot(address: Address, slot: U256) -> Result<U256, StateError>;
        code(hash: B256) -> Result<Option<Arc<Code>>, StateError>;
        block_hash(number: u64) -> Result<Option<B256>, StateError>;
        has_storage(address: Address) -> Result<bool, StateError>;
    }

    fn account(&self, address: Address) -> Result<Option<Account>, StateError> {
        self.hooks.read(address);
        let account = self.inner.account(address);
        self.hooks.was_read();
        account
    }
}

struct HookedCommit<'s> {
    inner: Box<dyn PreparedCommit + 's>,
    store: &'s HookedStore,
}

impl PreparedCommit for HookedCommit<'_> {
    fn state_root(&self) -> B256 {
        self.inner.state_root()
    }

    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError> {
        self.store.hooks.commit(block.number())?;
        self.inner.commit(block)
    }
}

impl ChainStore for HookedStore {
    pass_on! {
        head() -> Arc<ChainBlock>;
        oldest_block() -> u64;
        oldest_state() -> u64;
        visit_state(number: u64, visit: &mut dyn FnMut(StateItem) -> bool) -> Result<(), StoreError>;
        proof_at(number: u64, address: Address, slots: &[U256]) -> Result<AccountProof, StoreError>;
        root_after(number: u64, delta: &StateDelta) -> Result<B256, StoreError>;
        block(number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError>;
        number_of(hash: B256) -> Option<u64>;
        transaction(hash: B256) -> Option<TransactionPlace>;
        bloom(number: u64) -> Option<Bloom>;
    }

    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        Ok(Arc::new(HookedView {
            inner: self.inner.state_at(number)?,
            hooks: Arc::clone(&self.hooks),
        }))
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
