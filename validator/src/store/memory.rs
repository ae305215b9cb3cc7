//! A chain in memory, for development. It ends with the process.

use super::{
    ChainStore, PreparedCommit, Retention, StoreError,
    index::{ChainIndex, TransactionPlace},
    versioned::{VersionedState, VersionedView},
};
use crate::chain::ChainBlock;
use ahash::AHashSet;
use alloy_primitives::{B256, Bloom, U256};
use lockweave_accounts_db::lattice::{Lattice, LatticeChange};
use lockweave_runtime::{MemoryState, StateDelta, StateView};
use parking_lot::{Mutex, RwLock};
use rayon::prelude::*;
use std::{collections::VecDeque, sync::Arc};

/// A chain in memory.
#[derive(Debug)]
pub struct MemoryStore {
    retention: Retention,
    state: Arc<VersionedState>,
    /// The lattice sum over the latest state, from which the commitment is computed.
    lattice: Mutex<Lattice>,
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
        let empty = VersionedState::new(number);
        let mut lattice = Lattice::default();
        lattice.apply(&lattice_change(&Arc::new(empty).at(number), delta));
        let mut index = ChainIndex::starting_at(number);
        index.add(&(&genesis).into());
        Self {
            retention,
            state: Arc::new(state),
            lattice: Mutex::new(lattice),
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

    fn commitment(&self) -> B256 {
        self.lattice.lock().commitment()
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

    fn whole_state_at(&self, number: u64) -> Result<MemoryState, StoreError> {
        self.check_state(number)?;
        Ok(self.state.at(number).to_memory())
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
        let mut lattice = self.lattice.lock().clone();
        lattice.apply(&lattice_change(&self.state.at(head), &delta));
        Ok(Box::new(Prepared {
            store: self,
            commitment: lattice.commitment(),
            lattice,
            delta,
        }))
    }
}

/// Keys that one thread sums up at a time.
const LATTICE_CHUNK: usize = 128;

/// The change of the lattice sum over a state.
fn lattice_change(before: &VersionedView, delta: &StateDelta) -> LatticeChange {
    let accounts = delta.accounts.par_chunks(LATTICE_CHUNK).map(|chunk| {
        let mut change = LatticeChange::default();
        for (address, after) in chunk {
            change.account(
                *address,
                before.account_at(*address).as_ref(),
                after.as_ref(),
            );
        }
        change
    });
    let slots = delta.slots.par_chunks(LATTICE_CHUNK).map(|chunk| {
        let mut change = LatticeChange::default();
        for (address, slot, after) in chunk {
            let old = before.slot_at(*address, *slot);
            change.slot(*address, (*slot).into(), old, *after);
        }
        change
    });
    let merge = |mut left: LatticeChange, right: LatticeChange| {
        left.merge(&right);
        left
    };
    let mut sum = accounts.chain(slots).reduce(LatticeChange::default, merge);
    for address in &delta.cleared {
        let written: AHashSet<U256> = (delta.slots.iter())
            .filter(|(of, ..)| of == address)
            .map(|(_, slot, _)| *slot)
            .collect();
        before.for_each_slot(*address, &mut |slot, value| {
            if !written.contains(&slot) {
                sum.slot(*address, slot.into(), value, U256::ZERO);
            }
        });
    }
    sum
}

/// A block's changes and the commitment after them.
struct Prepared<'s> {
    store: &'s MemoryStore,
    commitment: B256,
    lattice: Lattice,
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
        *store.lattice.lock() = self.lattice.clone();
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
