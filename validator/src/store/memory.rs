//! A chain in memory: for development. It ends with the process.

use super::{
    ChainStore, PreparedCommit, Retention, StoreError,
    index::{ChainIndex, TransactionPlace},
    versioned::VersionedState,
};
use crate::chain::{ChainBlock, merkle::WholeState, merkle_state::MerkleState};
use alloy_primitives::{B256, Bloom};
use lockweave_runtime::{StateDelta, StateView};
use parking_lot::{Mutex, RwLock};
use std::{collections::VecDeque, sync::Arc};

/// A chain in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    state: Arc<VersionedState>,
    /// The latest state once more, for its trie root.
    latest: Mutex<MerkleState>,
    chain: RwLock<Chain>,
}

#[derive(Debug)]
struct Chain {
    /// Kept blocks, oldest first; never empty.
    blocks: VecDeque<Arc<ChainBlock>>,
    index: ChainIndex,
}

impl MemoryStore {
    /// A chain of one block.
    pub fn new(retention: Retention, genesis: ChainBlock, delta: &StateDelta) -> Self {
        let number = genesis.number();
        let state = VersionedState::new(number);
        state.apply(number, genesis.hash, delta, number);
        let latest = MerkleState::new(delta);
        let mut index = ChainIndex::starting_at(number);
        index.add(&genesis);
        Self {
            retention,
            state: Arc::new(state),
            latest: Mutex::new(latest),
            chain: RwLock::new(Chain {
                blocks: VecDeque::from([Arc::new(genesis)]),
                index,
            }),
        }
    }

    fn check_state(&self, number: u64) -> Result<(), StoreError> {
        let (oldest, head) = (self.state.oldest(), self.head().number());
        if number > head {
            return Err(StoreError::UnknownBlock { number, head });
        }
        if number < oldest {
            return Err(StoreError::StatePruned { number, oldest });
        }
        Ok(())
    }
}

impl ChainStore for MemoryStore {
    fn head(&self) -> Arc<ChainBlock> {
        let chain = self.chain.read();
        Arc::clone(chain.blocks.back().expect("a chain has a block"))
    }

    fn oldest_block(&self) -> u64 {
        let chain = self.chain.read();
        chain.blocks.front().map_or(0, |block| block.number())
    }

    fn oldest_state(&self) -> u64 {
        self.state.oldest()
    }

    fn state_at(&self, number: u64) -> Result<Arc<dyn StateView>, StoreError> {
        self.check_state(number)?;
        Ok(Arc::new(self.state.at(number)))
    }

    fn whole_state_at(&self, number: u64) -> Result<Arc<dyn WholeState + Send + Sync>, StoreError> {
        self.check_state(number)?;
        Ok(Arc::new(self.state.at(number)))
    }

    fn block(&self, number: u64) -> Result<Option<Arc<ChainBlock>>, StoreError> {
        let chain = self.chain.read();
        let oldest = chain.blocks.front().map_or(0, |block| block.number());
        let Some(position) = number.checked_sub(oldest) else {
            return Err(StoreError::BlockPruned { number, oldest });
        };
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        Ok(chain.blocks.get(position).cloned())
    }

    fn number_of(&self, hash: B256) -> Option<u64> {
        self.chain.read().index.number_of(hash)
    }

    fn transaction(&self, hash: B256) -> Option<TransactionPlace> {
        self.chain.read().index.transaction(hash)
    }

    fn bloom(&self, number: u64) -> Option<Bloom> {
        self.chain.read().index.bloom(number)
    }

    fn prepare(
        &self,
        number: u64,
        delta: StateDelta,
    ) -> Result<Box<dyn PreparedCommit + '_>, StoreError> {
        let head = self.head().number();
        if number != head + 1 {
            return Err(StoreError::NotNext { number, head });
        }
        let mut after = self.latest.lock().clone();
        after.apply(&delta);
        Ok(Box::new(Prepared {
            store: self,
            commitment: after.root(),
            delta,
        }))
    }
}

/// A block's changes and the root after them.
struct Prepared<'s> {
    store: &'s MemoryStore,
    commitment: B256,
    delta: StateDelta,
}

impl PreparedCommit for Prepared<'_> {
    fn commitment(&self) -> B256 {
        self.commitment
    }

    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError> {
        let store = self.store;
        let (number, head) = (block.number(), store.head().number());
        if number != head + 1 {
            return Err(StoreError::NotNext { number, head });
        }
        let kept_since = |blocks: u64| number.saturating_sub(blocks);
        let oldest = kept_since(store.retention.state_blocks).max(store.state.oldest());
        store.state.apply(number, block.hash, &self.delta, oldest);
        store.latest.lock().apply(&self.delta);
        let mut chain = store.chain.write();
        chain.index.add(&block);
        chain.blocks.push_back(block);
        while chain.blocks.len() > 1
            && chain.blocks[0].number() < kept_since(store.retention.body_blocks)
        {
            if let Some(oldest) = chain.blocks.pop_front() {
                chain.index.remove_oldest(&oldest);
            }
        }
        Ok(())
    }
}
