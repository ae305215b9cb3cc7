//! Block production: one thread makes blocks of the transactions in the pool, another makes them durable.
//!
//! If more transactions wait than fit into a block, the next block executes while the state root of the last
//! one is computed and while it is committed, on an [`Overlay`] with its changes. Its transactions wait for
//! the hash of the last block only where they read it. The next block is prepared and proposed only when the
//! last one is durable.

use super::{
    Node,
    block_builder::{BlockBuilder, BuildError, BuiltBlock, LeftOut, ParentHash},
    committer::{Committer, NewBlock, committer_ended},
    consensus::{Attributes, Consensus, Turn, Verdict, Wake},
    late_hash::{HashSetter, LateHash},
    overlay::{Changes, Overlay},
    proposal::{candidate_gas, candidates, next_header},
};
use crate::{pool::DropReason, store::StoreError};
use ahash::AHashSet;
use alloy_consensus::Header;
use alloy_eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy_primitives::{B256, keccak256};
use crossbeam_channel::{Receiver, select};
use lockweave_evm_adapter::{EvmTransaction, SpecId, parent_hash_slot};
use lockweave_runtime::{StateError, StateView};
use std::{
    sync::{Arc, LazyLock},
    time::Instant,
};
use thiserror::Error;
use tracing::{debug, error};

/// Why block production ended.
#[derive(Debug, Error)]
pub enum ProducerError {
    /// A block cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The chain's storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
}

/// A block that is being committed, as far as the execution of the next one needs it.
struct InFlight {
    /// Its header, without the state root.
    header: Header,
    hash: LateHash,
    /// The state before it.
    below: Arc<dyn StateView>,
    /// What it changed.
    changes: Arc<Changes>,
    /// Its transactions, which are still in the pool.
    transactions: AHashSet<B256>,
}

/// The state before the next block.
struct Base {
    view: Arc<dyn StateView>,
    parent_hash: ParentHash,
}

/// The hash of the code of EIP-2935.
static HISTORY_CODE_HASH: LazyLock<B256> = LazyLock::new(|| keccak256(&HISTORY_STORAGE_CODE));

/// The producing thread.
pub(super) struct Producer {
    node: Arc<Node>,
    builder: BlockBuilder,
    consensus: Box<dyn Consensus>,
    committer: Committer,
    wake: Receiver<Wake>,
    /// A block is being committed.
    is_committing: bool,
    in_flight: Option<InFlight>,
    /// The order to stop arrived while a block was being committed.
    stopped: bool,
}

impl Producer {
    pub(super) fn new(
        node: Arc<Node>,
        builder: BlockBuilder,
        consensus: Box<dyn Consensus>,
        committer: Committer,
        wake: Receiver<Wake>,
    ) -> Self {
        Self {
            node,
            builder,
            consensus,
            committer,
            wake,
            is_committing: false,
            in_flight: None,
            stopped: false,
        }
    }

    /// Makes blocks until told to stop.
    pub(super) fn run(mut self) {
        if let Err(failure) = self.produce_until_stopped() {
            error!(target: "producer", %failure, "no more blocks are made");
            *self.node.failure.lock() = Some(failure.to_string());
        }
        debug!(target: "producer", "stopped");
    }

    fn produce_until_stopped(&mut self) -> Result<(), ProducerError> {
        loop {
            let parent = match &self.in_flight {
                Some(in_flight) => in_flight.header.clone(),
                None => self.node.head().block.header.clone(),
            };
            let turn = {
                let node = &self.node;
                let has_work = || {
                    // `produce` reports a block that could not be stored.
                    if node.failure().is_some() {
                        return true;
                    }
                    let base_fee = node.next_base_fee().unwrap_or_default();
                    node.pool.has_executable(base_fee)
                };
                self.consensus.next_turn(&parent, &self.wake, &has_work)
            };
            let Turn::Propose { attributes, empty } = turn else {
                self.wait_for_commit()?;
                return Ok(());
            };
            self.produce(&parent, attributes, empty)?;
            if self.stopped {
                return Ok(());
            }
        }
    }

    fn produce(
        &mut self,
        parent: &Header,
        attributes: Attributes,
        empty: bool,
    ) -> Result<(), ProducerError> {
        if self.node.failure().is_some() {
            self.wait_for_commit()?;
            return Ok(());
        }
        let started = Instant::now();
        let extra_data = &self.node.config.extra_data;
        let mut header = next_header(self.node.chain(), parent, attributes, extra_data);
        let in_flight = self.in_flight.as_ref();
        let candidates = candidates(&self.node, &header, candidate_gas(&header), |hash| {
            in_flight.is_some_and(|in_flight| in_flight.transactions.contains(&hash))
        });
        if candidates.is_empty() && !empty {
            self.wait_for_commit()?;
            return Ok(());
        }
        let base = self.base(&mut header)?;
        let built = (self.builder).build(&base.view, header, base.parent_hash, &candidates);
        let executed = started.elapsed();
        // The previous block must be durable before this one is proposed.
        if self.wait_for_commit()? == Verdict::Rejected || self.stopped {
            return Ok(());
        }
        let mut built = built?;
        self.drop_invalid(&mut built);
        if built.transactions.is_empty() && !empty {
            return Ok(());
        }
        let head = self.node.head();
        match base.parent_hash {
            ParentHash::Known => built.header.parent_hash = head.block.hash,
            ParentHash::Late => built.set_parent_hash(head.block.hash),
        }
        let overlapped = self.can_overlap(&built);
        let setter = HashSetter::default();
        if overlapped {
            self.in_flight = Some(InFlight {
                header: built.header.clone(),
                hash: setter.hash(),
                below: head.state,
                changes: Arc::new(Changes::from(&built.delta)),
                transactions: (built.transactions.iter())
                    .map(EvmTransaction::hash)
                    .collect(),
            });
        }
        self.committer.commit(NewBlock {
            built,
            hash: setter,
            started,
            executed,
            overlapped,
        });
        self.is_committing = true;
        if !overlapped {
            self.wait_for_commit()?;
        }
        Ok(())
    }

    /// Whether the next block can execute while this one is committed: it is due, and more transactions wait
    /// than this block takes.
    fn can_overlap(&self, built: &BuiltBlock) -> bool {
        self.consensus.is_due() && self.node.pool.status().pending > built.transactions.len()
    }

    /// The state before the block with this header, which gets the parent's hash if it is known.
    fn base(&self, header: &mut Header) -> Result<Base, ProducerError> {
        let Some(in_flight) = &self.in_flight else {
            let head = self.node.head();
            header.parent_hash = head.block.hash;
            return Ok(Base {
                view: head.state,
                parent_hash: ParentHash::Known,
            });
        };
        // The parent may become the head at any time; its changes on top of itself read the same.
        let below = Arc::clone(&in_flight.below);
        let changes = Arc::clone(&in_flight.changes);
        let number = in_flight.header.number;
        let overlay = Overlay::new(below, changes, number, in_flight.hash.clone());
        let fork = (self.node.chain()).fork_at(header.number, header.timestamp);
        let history = overlay.account(HISTORY_STORAGE_ADDRESS)?;
        let stores_hash =
            fork.is_enabled_in(SpecId::PRAGUE) && history.is_some_and(|history| history.has_code());
        if stores_hash && history.map(|history| history.code_hash) == Some(*HISTORY_CODE_HASH) {
            let slot = parent_hash_slot(header.number);
            return Ok(Base {
                view: Arc::new(overlay.with_hash_at(slot)),
                parent_hash: ParentHash::Late,
            });
        }
        if stores_hash {
            // What another contract does with the hash shows when it runs. Without a hash the commit fails.
            header.parent_hash = in_flight.hash.wait().unwrap_or_default();
        }
        Ok(Base {
            view: Arc::new(overlay),
            parent_hash: ParentHash::Known,
        })
    }

    /// Waits until the block that is being committed is durable or rejected, if there is one.
    fn wait_for_commit(&mut self) -> Result<Verdict, ProducerError> {
        if !self.is_committing {
            return Ok(Verdict::Accepted);
        }
        let done = loop {
            select! {
                recv(self.committer.committed()) -> done => break done,
                recv(self.wake) -> wake => if wake != Ok(Wake::Work) {
                    // Waits for the commit in progress, which is not retried if it fails.
                    self.stopped = true;
                    self.committer.give_up();
                    break self.committer.committed().recv();
                },
            }
        };
        self.is_committing = false;
        self.in_flight = None;
        Ok(done.unwrap_or_else(|_| Err(committer_ended()))?)
    }

    fn drop_invalid(&self, built: &mut BuiltBlock) {
        for (hash, why) in built.left_out.drain(..) {
            if let LeftOut::Invalid(reason) = why {
                let reason = DropReason::Invalid(reason);
                self.node.pool.drop_transaction(hash, reason);
            }
        }
    }
}
