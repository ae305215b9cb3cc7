//! A chain in memory, for development. It ends with the process.

use super::{
    ChainStore, PreparedCommit, Retention, StoreError,
    index::{ChainIndex, TransactionPlace},
    versioned::VersionedState,
};
use crate::chain::ChainBlock;
use alloy_primitives::{Address, B256, Bloom, U256};
use lockweave_accounts_db::{AccountProof, StateItem};
use lockweave_runtime::{StateDelta, StateView};
use lockweave_state_trie::{MemoryTrie, PreparedDelta, TrieError};
use parking_lot::RwLock;
use std::{collections::VecDeque, sync::Arc};

/// A chain in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    state: Arc<VersionedState>,
    /// The trie of the newest state.
    trie: RwLock<MemoryTrie>,
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
        let trie = MemoryTrie::of(delta).expect("a delta names every key once");
        let mut index = ChainIndex::starting_at(number);
        index.add(&(&genesis).into());
        Self {
            retention,
            state: Arc::new(state),
            trie: RwLock::new(trie),
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

    fn visit_state(
        &self,
        number: u64,
        visit: &mut dyn FnMut(StateItem) -> bool,
    ) -> Result<(), StoreError> {
        self.check_state(number)?;
        self.state.at(number).visit(visit);
        Ok(())
    }

    fn proof_at(
        &self,
        number: u64,
        address: Address,
        slots: &[U256],
    ) -> Result<AccountProof, StoreError> {
        // The lock keeps the newest block where it is.
        let trie = self.trie.read();
        self.check_state(number)?;
        let proof = if number == self.head().number() {
            trie.proof(address, slots)
        } else {
            let back = self.state.at(number).changes_since();
            trie.proof_after(&back, address, slots)
        };
        proof.map_err(failed)
    }

    fn root_after(&self, number: u64, delta: &StateDelta) -> Result<B256, StoreError> {
        let trie = self.trie.read();
        self.check_state(number)?;
        let back = self.state.at(number).changes_since();
        let prepared = trie.prepare(&back.followed_by(delta));
        Ok(prepared.map_err(failed)?.root())
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
        let prepared = self.trie.read().prepare(&delta).map_err(failed)?;
        Ok(Box::new(Prepared {
            store: self,
            state_root: prepared.root(),
            trie: Some(prepared),
            delta,
        }))
    }
}

fn failed(error: TrieError) -> StoreError {
    StoreError::Failed(Arc::new(error))
}

/// A block's changes and the trie after them.
struct Prepared<'s> {
    store: &'s MemoryStore,
    state_root: B256,
    /// Taken by the first attempt to commit.
    trie: Option<PreparedDelta>,
    delta: StateDelta,
}

impl PreparedCommit for Prepared<'_> {
    fn state_root(&self) -> B256 {
        self.state_root
    }

    fn commit(&mut self, block: Arc<ChainBlock>) -> Result<(), StoreError> {
        let store = self.store;
        let (number, head) = (block.number(), store.head().number());
        if number != head + 1 {
            return Err(StoreError::NotNext { number, head });
        }
        // Proofs see the state and its trie change together.
        let mut trie = store.trie.write();
        let kept_since = |blocks: u64| number.saturating_sub(blocks);
        let oldest = kept_since(store.retention.state_blocks).max(store.state.oldest());
        store.state.apply(number, block.hash, &self.delta, oldest);
        let prepared = match self.trie.take() {
            Some(prepared) => prepared,
            None => trie.prepare(&self.delta).map_err(failed)?,
        };
        trie.install(prepared).map_err(failed)?;
        let mut chain = store.chain.write();
        chain.index.add(&(&*block).into());
        chain.blocks.push_back(block);
        while chain.blocks.len() > 1
            && (chain.blocks[0].number() < kept_since(store.retention.body_blocks)
                || chain.index.transactions() > store.retention.transactions)
        {
            if let Some(oldest) = chain.blocks.pop_front() {
                chain.index.remove_oldest(&oldest);
            }
        }
        Ok(())
    }
}
