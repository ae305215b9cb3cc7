//! The interface to a consensus engine, which decides when a block is proposed, whether it is accepted, and when
//! it is final.

use crate::chain::ChainBlock;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, keccak256};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the proposer of a block decides besides its transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Seconds since the Unix epoch; not before the parent's.
    pub timestamp: u64,
    /// The account that receives the tips.
    pub beneficiary: Address,
    /// The block's randomness (EIP-4399).
    pub prev_randao: B256,
}

/// What this node has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Propose a block; one without transactions only if `empty` is set.
    Propose {
        /// What the proposer decides.
        attributes: Attributes,
        /// Whether a block without transactions may be proposed.
        empty: bool,
    },
    /// Stop: the node is shutting down.
    Stop,
}

/// The decision on a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next block.
    Accepted,
    /// Another block won; its transactions go back to the pool.
    Rejected,
}

/// The newest blocks that will not be reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finality {
    /// Number of the newest block that is safe under honest majority.
    pub safe: u64,
    /// Number of the newest final block.
    pub finalized: u64,
}

/// A message to a producer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// There are transactions for a block.
    Work,
    /// The node is shutting down.
    Stop,
}

/// Decides when this node proposes. Called by the producing thread only.
pub trait Consensus: Send {
    /// Waits for this node's next turn after `parent`.
    ///
    /// `wake` carries new work and the order to stop; `has_work` tells whether the pool has transactions for
    /// the next block. An implementation must return `Stop` on [`Wake::Stop`] and when `wake` is closed.
    fn next_turn(
        &mut self,
        parent: &Header,
        wake: &Receiver<Wake>,
        has_work: &dyn Fn() -> bool,
    ) -> Turn;

    /// Whether this node could propose immediately, given transactions. If so, the next block executes while
    /// the state root of the last one is computed and while it is made durable; otherwise the node waits for
    /// that first.
    fn is_due(&self) -> bool {
        false
    }

    /// What decides about the blocks that are made. Called once. By default every block is accepted, and
    /// final when it is durable.
    fn decision(&self) -> Box<dyn Decision> {
        Box::new(AcceptAll)
    }
}

/// Decides which blocks of this node are accepted, and what is final. Called by the committing thread only,
/// for every block in order.
pub trait Decision: Send {
    /// Proposes a block that was executed here.
    fn propose(&mut self, block: &ChainBlock) -> Verdict;

    /// Called when a block is durable and before it is announced; returns what is final then.
    fn committed(&mut self, block: &ChainBlock) -> Finality;
}

/// Every block is accepted, and final when it is durable: for a single node.
#[derive(Debug)]
pub struct AcceptAll;

impl Decision for AcceptAll {
    fn propose(&mut self, _block: &ChainBlock) -> Verdict {
        Verdict::Accepted
    }

    fn committed(&mut self, block: &ChainBlock) -> Finality {
        Finality {
            safe: block.number(),
            finalized: block.number(),
        }
    }
}

/// How a single node makes blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoloConfig {
    /// Time between blocks; zero makes a block as soon as there is a transaction.
    pub block_time: Duration,
    /// Time without a block after which an empty one is made; never if `None`.
    pub empty_block_time: Option<Duration>,
    /// The account that receives the tips.
    pub beneficiary: Address,
}

/// A single node: it makes every block, and a block is final when it is durable.
#[derive(Debug)]
pub struct SoloConsensus {
    config: SoloConfig,
    last: Instant,
}

impl SoloConsensus {
    /// A single node.
    pub fn new(config: SoloConfig) -> Self {
        Self {
            config,
            last: Instant::now(),
        }
    }

    fn attributes(&self, parent: &Header) -> Attributes {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Attributes {
            // Blocks may follow each other within a second. They share its timestamp, which never runs ahead of the clock.
            timestamp: now.map_or(0, |now| now.as_secs()).max(parent.timestamp),
            beneficiary: self.config.beneficiary,
            prev_randao: keccak256(parent.parent_hash),
        }
    }

    fn empty_is_due(&self) -> bool {
        let after = self.config.empty_block_time;
        after.is_some_and(|after| self.last.elapsed() >= after)
    }

    /// Time until the next check: the next slot, or when an empty block is due.
    fn wait_time(&self, has_work: bool) -> Duration {
        let since = self.last.elapsed();
        let slot = self.config.block_time.saturating_sub(since);
        if has_work {
            return slot;
        }
        // Without work, only an empty block or a wake-up can be next.
        let idle = Duration::from_hours(1);
        let empty = self.config.empty_block_time;
        empty.map_or(idle, |after| after.saturating_sub(since).max(slot))
    }
}

impl Consensus for SoloConsensus {
    fn next_turn(
        &mut self,
        parent: &Header,
        wake: &Receiver<Wake>,
        has_work: &dyn Fn() -> bool,
    ) -> Turn {
        loop {
            let work = has_work();
            let is_slot = self.last.elapsed() >= self.config.block_time;
            let empty = self.empty_is_due();
            if is_slot && (work || empty) {
                // An order to stop that arrived meanwhile takes precedence.
                if wake.try_iter().any(|wake| wake == Wake::Stop) {
                    return Turn::Stop;
                }
                self.last = Instant::now();
                let attributes = self.attributes(parent);
                return Turn::Propose { attributes, empty };
            }
            match wake.recv_timeout(self.wait_time(work)) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return Turn::Stop,
                Ok(Wake::Work) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn is_due(&self) -> bool {
        self.last.elapsed() >= self.config.block_time
    }
}

/// A node that makes no blocks and only serves the chain it has.
#[derive(Debug)]
pub struct Idle;

impl Consensus for Idle {
    fn next_turn(
        &mut self,
        _parent: &Header,
        wake: &Receiver<Wake>,
        _has_work: &dyn Fn() -> bool,
    ) -> Turn {
        while wake.recv() == Ok(Wake::Work) {}
        Turn::Stop
    }
}
