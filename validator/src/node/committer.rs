//! The thread that makes blocks durable and announces them while the next one may already execute.
//!
//! It handles one block at a time. The producer hands over the block's state changes, receives the state root
//! for its header, and then orders the finished block to be committed or forgotten. A block is announced only
//! when it is durable, and the next block is prepared only after that. So everything announced survives a
//! crash; a crash loses at most one block being executed and one being committed.

use super::{Head, Node, admission_after, consensus::FinalityRule, submit::sender_state};
use crate::{chain::ChainBlock, store::StoreError};
use alloy_primitives::{Address, B256};
use crossbeam_channel::{Receiver, Sender, bounded};
use lockweave_evm_adapter::EvmTransaction;
use lockweave_runtime::StateDelta;
use std::{
    collections::BTreeSet,
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::{error, info};

/// How long to wait before a block that could not be stored is stored again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// An order of the producer.
enum Order {
    /// Prepare the commit of a block with this number and these changes.
    Prepare { number: u64, delta: StateDelta },
    /// Make the prepared block durable and announce it.
    Commit(Arc<ChainBlock>),
    /// Drop the prepared block.
    Forget,
}

/// The producer's end of the thread.
pub(super) struct Committer {
    orders: Sender<Order>,
    prepared: Receiver<Result<B256, StoreError>>,
    committed: Receiver<Result<(), StoreError>>,
    give_up: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(node: Arc<Node>, finality: Box<dyn FinalityRule>) -> io::Result<Self> {
        let (orders, received_orders) = bounded(1);
        let (send_prepared, prepared) = bounded(1);
        let (send_committed, committed) = bounded(1);
        let (give_up, give_up_order) = bounded(1);
        let mut thread = Thread {
            node,
            finality,
            orders: received_orders,
            prepared: send_prepared,
            committed: send_committed,
            give_up: give_up_order,
        };
        let thread = thread::Builder::new()
            .name("block-committer".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            orders,
            prepared,
            committed,
            give_up,
            thread: Some(thread),
        })
    }

    /// Prepares the next block; returns the state root after it.
    pub(super) fn prepare(&self, number: u64, delta: StateDelta) -> Result<B256, StoreError> {
        self.order(Order::Prepare { number, delta });
        self.prepared
            .recv()
            .unwrap_or_else(|_| Err(committer_ended()))
    }

    /// Commits the prepared block; [`committed`](Self::committed) reports when it is done.
    pub(super) fn commit(&self, block: Arc<ChainBlock>) {
        self.order(Order::Commit(block));
    }

    /// Drops the prepared block.
    pub(super) fn forget(&self) {
        self.order(Order::Forget);
    }

    /// Reports once for each commit that it is done or has failed for good.
    pub(super) const fn committed(&self) -> &Receiver<Result<(), StoreError>> {
        &self.committed
    }

    /// A commit that fails is not retried.
    pub(super) fn give_up(&self) {
        // Once is enough.
        let _ = self.give_up.try_send(());
    }

    /// If the thread has ended, its closed channels report that.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// The thread ended before its time.
pub(super) fn committer_ended() -> StoreError {
    StoreError::Failed(Arc::new(io::Error::other(
        "the thread that commits blocks has ended",
    )))
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.give_up();
        let (closed, _) = bounded(1);
        self.orders = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own end.
struct Thread {
    node: Arc<Node>,
    finality: Box<dyn FinalityRule>,
    orders: Receiver<Order>,
    prepared: Sender<Result<B256, StoreError>>,
    committed: Sender<Result<(), StoreError>>,
    give_up: Receiver<()>,
}

impl Thread {
    /// Runs until the producer has ended.
    fn run(&mut self) {
        while let Ok(order) = self.orders.recv() {
            let Order::Prepare { number, delta } = order else {
                // Nothing is prepared; the producer got the error.
                continue;
            };
            let node = Arc::clone(&self.node);
            let mut prepared = match node.store.prepare(number, delta) {
                Ok(prepared) => prepared,
                Err(error) => {
                    let _ = self.prepared.send(Err(error));
                    continue;
                }
            };
            let _ = self.prepared.send(Ok(prepared.state_root()));
            let Ok(Order::Commit(block)) = self.orders.recv() else {
                continue;
            };
            let started = Instant::now();
            let commit = || prepared.commit(Arc::clone(&block));
            let mut done = self.commit_with_retry(&block, commit);
            if done.is_ok() {
                let seconds = started.elapsed().as_secs_f64();
                metrics::histogram!("lockweave_block_commit_seconds").record(seconds);
                done = self.publish(&block);
            }
            if let Err(error) = &done {
                // Wakes the producer, which may be waiting for work. All others ask the node.
                error!(target: "producer", number = block.number(), %error, "the block cannot be stored");
                *node.failure.lock() = Some(error.to_string());
                node.notify();
            }
            let _ = self.committed.send(done);
        }
    }

    /// Makes a block durable. If the storage fails, the commit is retried: nothing is lost, and the node
    /// continues when, for example, the disk has space again.
    fn commit_with_retry(
        &self,
        block: &ChainBlock,
        mut commit: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut has_failed = false;
        loop {
            let Err(error) = commit() else {
                if has_failed {
                    self.node.storage_failure.lock().take();
                    info!(target: "producer", number = block.number(), "the storage works again");
                }
                return Ok(());
            };
            if !matches!(error, StoreError::Backend(_)) {
                return Err(error);
            }
            error!(target: "producer", number = block.number(), %error, "the block is not durable yet");
            *self.node.storage_failure.lock() = Some(error.to_string());
            has_failed = true;
            if self.give_up.recv_timeout(STORE_RETRY).is_ok() {
                return Err(error);
            }
        }
    }

    /// Makes a durable block the head and announces it.
    fn publish(&mut self, block: &Arc<ChainBlock>) -> Result<(), StoreError> {
        let node = &*self.node;
        let state = node.store.state_at(block.number())?;
        let included: ahash::AHashSet<B256> = (block.transactions.iter())
            .map(EvmTransaction::hash)
            .collect();
        let senders: BTreeSet<Address> = (block.transactions.iter())
            .map(EvmTransaction::sender)
            .collect();
        let states = senders.into_iter().filter_map(|sender| {
            // A sender that became a contract cannot send; its transactions are dropped when they come up for
            // a block.
            let state = sender_state(&*state, sender).ok()?;
            Some((sender, state))
        });
        let states: Vec<_> = states.collect();
        let intake = node.intake.write();
        *node.admission.write() = admission_after(node.chain(), block);
        *node.head.write() = Head {
            block: Arc::clone(block),
            state,
        };
        node.pool.advance(states, |hash| included.contains(&hash));
        *node.finality.lock() = self.finality.committed(block);
        drop(intake);
        node.events.announce_block(Arc::clone(block));
        Ok(())
    }
}
