//! Events of the node and their listeners.

use crate::chain::ChainBlock;
use alloy_primitives::B256;
use std::sync::{Arc, OnceLock};
use tokio::sync::broadcast;

/// Blocks a listener may be behind before it misses some.
const BLOCKS_BEHIND_MAX: usize = 256;
/// Announcements of pending transactions a listener may be behind before it misses some.
const PENDING_BEHIND_MAX: usize = 1_024;

/// A block that became durable, or that a network may make final.
#[derive(Debug)]
pub struct BlockEvent {
    block: Arc<ChainBlock>,
    /// Its header's JSON, made once for all listeners.
    json: OnceLock<String>,
}

impl BlockEvent {
    /// The block.
    pub const fn block(&self) -> &Arc<ChainBlock> {
        &self.block
    }

    /// The header's JSON; `make` is called at most once for all listeners.
    pub fn json(&self, make: impl FnOnce(&ChainBlock) -> String) -> &str {
        self.json.get_or_init(|| make(&self.block))
    }
}

/// Sends events to all listeners. Sending never waits: a listener that is too slow misses events and is
/// notified of that.
#[derive(Clone, Debug)]
pub struct Events {
    blocks: broadcast::Sender<Arc<BlockEvent>>,
    proposed: broadcast::Sender<Arc<BlockEvent>>,
    pending: broadcast::Sender<Arc<[B256]>>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            blocks: broadcast::Sender::new(BLOCKS_BEHIND_MAX),
            proposed: broadcast::Sender::new(BLOCKS_BEHIND_MAX),
            pending: broadcast::Sender::new(PENDING_BEHIND_MAX),
        }
    }
}

impl Events {
    /// Durable blocks, in order.
    pub fn blocks(&self) -> broadcast::Receiver<Arc<BlockEvent>> {
        self.blocks.subscribe()
    }

    /// Blocks of a network that were proposed and found valid here, before they are final. Some never are.
    pub fn proposed(&self) -> broadcast::Receiver<Arc<BlockEvent>> {
        self.proposed.subscribe()
    }

    /// Hashes of transactions that became executable.
    pub fn pending(&self) -> broadcast::Receiver<Arc<[B256]>> {
        self.pending.subscribe()
    }

    pub(super) fn announce_block(&self, block: Arc<ChainBlock>) {
        // An error means that there is no listener.
        let json = OnceLock::new();
        let _ = self.blocks.send(Arc::new(BlockEvent { block, json }));
    }

    pub(super) fn announce_proposed(&self, block: &Arc<ChainBlock>) {
        if self.proposed.receiver_count() > 0 {
            let (block, json) = (Arc::clone(block), OnceLock::new());
            let _ = self.proposed.send(Arc::new(BlockEvent { block, json }));
        }
    }

    pub(super) fn announce_pending(&self, hashes: Vec<B256>) {
        if !hashes.is_empty() && self.pending.receiver_count() > 0 {
            let _ = self.pending.send(hashes.into());
        }
    }
}
