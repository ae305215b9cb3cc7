//! The index of blocks: by hash and by transaction hash, with the bloom filters over their logs.

use crate::chain::ChainBlock;
use ahash::AHashMap;
use alloy_primitives::{B256, Bloom};
use lockweave_evm_adapter::EvmTransaction;
use rayon::prelude::*;
use std::collections::VecDeque;

/// Shards of the transaction map, by hash: they are filled in parallel when a chain is opened, and a shard
/// that grows moves only its own entries.
const SHARDS: usize = 8;

const fn shard_of(hash: &B256) -> usize {
    hash.0[0] as usize % SHARDS
}

type Places = AHashMap<B256, TransactionPlace>;

/// Where a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionPlace {
    /// Number of its block.
    pub block: u64,
    /// Its index in the block.
    pub index: u32,
}

/// The index entry of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedBlock {
    /// Block number.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// The bloom filter over its logs.
    pub bloom: Bloom,
    /// Hashes of its transactions.
    pub transactions: Vec<B256>,
}

impl IndexedBlock {
    /// Its transactions with their positions.
    fn places(&self) -> impl Iterator<Item = (B256, TransactionPlace)> {
        self.transactions.iter().enumerate().map(|(index, hash)| {
            let place = TransactionPlace {
                block: self.number,
                index: u32::try_from(index).expect("a block has fewer than 2^32 transactions"),
            };
            (*hash, place)
        })
    }
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

/// The index of the kept blocks.
#[derive(Debug, Default)]
pub struct ChainIndex {
    numbers: AHashMap<B256, u64>,
    transactions: [Places; SHARDS],
    blooms: VecDeque<Bloom>,
    first: u64,
}

impl ChainIndex {
    /// An empty index; the first block to be added has this number.
    pub fn starting_at(first: u64) -> Self {
        Self {
            first,
            ..Self::default()
        }
    }

    /// An index of consecutive blocks; `first` is the next number if there are none.
    pub fn of(blocks: &[IndexedBlock], first: u64) -> Self {
        let count: usize = blocks.iter().map(|block| block.transactions.len()).sum();
        let mut index = Self::starting_at(blocks.first().map_or(first, |block| block.number));
        let shards = index.transactions.par_iter_mut().enumerate();
        shards.for_each(|(shard, places)| {
            // An equal share, and some more, because shares differ.
            places.reserve(count / SHARDS + count / 64);
            let all = blocks.iter().flat_map(IndexedBlock::places);
            places.extend(all.filter(|(hash, _)| shard_of(hash) == shard));
        });
        index.numbers = (blocks.iter())
            .map(|block| (block.hash, block.number))
            .collect();
        index.blooms = blocks.iter().map(|block| block.bloom).collect();
        index
    }

    /// Adds the next block.
    pub fn add(&mut self, block: &IndexedBlock) {
        self.numbers.insert(block.hash, block.number);
        for (hash, place) in block.places() {
            self.transactions[shard_of(&hash)].insert(hash, place);
        }
        self.blooms.push_back(block.bloom);
    }

    /// Removes the oldest block, which must be this one.
    pub fn remove_oldest(&mut self, block: &ChainBlock) {
        self.numbers.remove(&block.hash);
        for transaction in &block.transactions {
            let hash = transaction.hash();
            self.transactions[shard_of(&hash)].remove(&hash);
        }
        self.blooms.pop_front();
        self.first += 1;
    }

    /// Number of the oldest block in the index.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// How many transactions can be found.
    pub fn transactions(&self) -> usize {
        self.transactions.iter().map(|places| places.len()).sum()
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
        self.transactions[shard_of(&hash)].get(&hash).copied()
    }

    /// The filter over a block's logs.
    pub fn bloom(&self, number: u64) -> Option<Bloom> {
        let position = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.blooms.get(position).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn made_at_once_it_is_what_blocks_one_by_one_make() {
        let blocks: Vec<_> = (5_u64..40)
            .map(|number| IndexedBlock {
                number,
                hash: keccak256(number.to_le_bytes()),
                bloom: Bloom::repeat_byte(u8::try_from(number).unwrap()),
                transactions: (0..number)
                    .map(|index| keccak256((number << 32 | index).to_le_bytes()))
                    .collect(),
            })
            .collect();
        let whole = ChainIndex::of(&blocks, 9);
        let mut grown = ChainIndex::starting_at(5);
        for block in &blocks {
            grown.add(block);
        }
        for index in [&whole, &grown] {
            assert_eq!((index.first(), index.blocks()), (5, 35));
            assert_eq!(index.transactions(), (5..40).sum::<usize>());
        }
        for block in &blocks {
            assert_eq!(whole.number_of(block.hash), Some(block.number));
            assert_eq!(whole.bloom(block.number), Some(block.bloom));
            for (hash, place) in block.places() {
                assert_eq!(whole.transaction(hash), Some(place));
                assert_eq!(grown.transaction(hash), Some(place));
            }
        }
        assert_eq!(whole.transaction(B256::ZERO), None);
        assert_eq!(ChainIndex::of(&[], 9).first(), 9);
    }
}
