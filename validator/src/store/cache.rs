//! Caches of blocks: the newest, and those read last.

use crate::chain::ChainBlock;
use lru::LruCache;
use parking_lot::Mutex;
use std::{collections::VecDeque, sync::Arc};

/// Transactions in the cached newest blocks at most; the newest block is always cached.
const RECENT_TRANSACTIONS_MAX: usize = 100_000;
/// Cached newest blocks at most.
const RECENT_BLOCKS_MAX: usize = 4_096;
/// Transactions in cached older blocks at most; the block read last is always cached.
const OLDER_TRANSACTIONS_MAX: usize = 50_000;

#[derive(Debug)]
pub(super) struct BlockCache {
    recent: Mutex<Recent>,
    older: Mutex<Older>,
}

#[derive(Debug, Default)]
struct Recent {
    blocks: VecDeque<Arc<ChainBlock>>,
    transactions: usize,
}

#[derive(Debug)]
struct Older {
    blocks: LruCache<u64, Arc<ChainBlock>>,
    transactions: usize,
}

fn weight(block: &ChainBlock) -> usize {
    block.transactions.len() + 8
}

impl BlockCache {
    pub(super) fn new() -> Self {
        Self {
            recent: Mutex::default(),
            older: Mutex::new(Older {
                blocks: LruCache::unbounded(),
                transactions: 0,
            }),
        }
    }

    /// Adds the next block.
    pub(super) fn push(&self, block: Arc<ChainBlock>) {
        let mut recent = self.recent.lock();
        recent.transactions += weight(&block);
        recent.blocks.push_back(block);
        while recent.blocks.len() > 1
            && (recent.transactions > RECENT_TRANSACTIONS_MAX
                || recent.blocks.len() > RECENT_BLOCKS_MAX)
        {
            if let Some(oldest) = recent.blocks.pop_front() {
                recent.transactions -= weight(&oldest);
            }
        }
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<ChainBlock>> {
        {
            let recent = self.recent.lock();
            if let Some(first) = recent.blocks.front()
                && let Some(position) = number.checked_sub(first.number())
            {
                let position = usize::try_from(position).ok()?;
                return recent.blocks.get(position).cloned();
            }
        }
        self.older.lock().blocks.get(&number).cloned()
    }

    /// Caches an older block that was read.
    pub(super) fn keep(&self, block: Arc<ChainBlock>) {
        let mut older = self.older.lock();
        older.transactions += weight(&block);
        if let Some(same) = older.blocks.put(block.number(), block) {
            older.transactions -= weight(&same);
        }
        while older.transactions > OLDER_TRANSACTIONS_MAX && older.blocks.len() > 1 {
            if let Some((_, oldest)) = older.blocks.pop_lru() {
                older.transactions -= weight(&oldest);
            }
        }
    }
}
