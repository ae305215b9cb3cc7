//! What finds a block: its hash, its transactions' hashes, and the filter over its logs.

use crate::chain::ChainBlock;
use ahash::AHashMap;
use alloy_primitives::{B256, Bloom};
use lockweave_evm_adapter::EvmTransaction;
use std::collections::VecDeque;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPlace {
    /// Number of its block.
    pub block: u64,
    /// Its place among the block's transactions.
    pub index: u32,
}

/// What the index has of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// The filter over its logs.
    pub bloom: Bloom,
    /// Hashes of its transactions.
    pub transactions: Vec<B256>,
}

impl From<&ChainBlock> for IndexedBlock {
    fn from(block: &ChainBlock) -> Self {
        Self {
            number: block.number(),
            hash: block.hash,
            bloom: block.header.logs_bloom,
            transactions: block
                .transactions
                .iter()
                .map(EvmTransaction::hash)
                .collect(),
        }
    }
}

/// Finds the kept blocks.
#[derive(Debug, Default)]
pub struct ChainIndex {
    numbers: AHashMap<B256, u64>,
    transactions: AHashMap<B256, TransactionPlace>,
    blooms: VecDeque<Bloom>,
    first: u64,
}

impl ChainIndex {
    /// An index of nothing; the first block to be added has this number.
    pub fn starting_at(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// Makes room for these blocks, so that adding them moves nothing.
    pub fn reserve_for(&mut self, blocks: &[IndexedBlock]) {
        let transactions = blocks.iter().map(|block| block.transactions.len()).sum();
        self.transactions.reserve(transactions);
        self.numbers.reserve(blocks.len());
        self.blooms.reserve(blocks.len());
    }

    /// Adds the next block.
    pub fn add(&mut self, block: &IndexedBlock) {
        self.numbers.insert(block.hash, block.number);
        for (index, hash) in block.transactions.iter().enumerate() {
            let place = TransactionPlace {
                block: block.number,
                index: u32::try_from(index).expect("a block has fewer than 2^32 transactions"),
            };
            self.transactions.insert(*hash, place);
        }
        self.blooms.push_back(block.bloom);
    }

    /// Forgets the oldest block, which is this one.
    pub fn remove_oldest(&mut self, block: &ChainBlock) {
        self.numbers.remove(&block.hash);
        for transaction in &block.transactions {
            self.transactions.remove(&transaction.hash());
        }
        self.blooms.pop_front();
        self.first += 1;
    }

    /// Number of the oldest block here.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many transactions can be found.
    pub fn transactions(&self) -> usize {
        self.transactions.len()
    }

    /// How many blocks can be found.
    pub fn blocks(&self) -> usize {
        self.blooms.len()
    }

    /// The number of the block with this hash.
    pub fn number_of(&self, hash: B256) -> Option<u64> {
        self.numbers.get(&hash).copied()
    }

    /// Where a transaction is.
    pub fn transaction(&self, hash: B256) -> Option<TransactionPlace> {
        self.transactions.get(&hash).copied()
    }

    /// The filter over a block's logs.
    pub fn bloom(&self, number: u64) -> Option<Bloom> {
        let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.blooms.get(position).copied()
    }
}
