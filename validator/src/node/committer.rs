//! The thread that finishes blocks while the next one may already execute: it has the state root computed,
//! proposes the block, makes it durable and announces it.
//!
//! It handles one block at a time. A block is announced only when it is durable, and the next block gets here
//! only after that. So everything announced survives a crash; a crash loses at most one block being executed
//! and one being committed.

use super::{
    Node,
    block_builder::BuiltBlock,
    consensus::{Decision, Verdict},
    counters::count,
    late_hash::HashSetter,
    publish::{commit_with_retry, publish},
};
use crate::store::StoreError;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::{
    io, mem,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tracing::{error, info, warn};

/// A block that was executed.
pub(super) struct NewBlock {
    /// The block. Its header lacks the state root only.
    pub(super) built: BuiltBlock,
    /// Whoever waits for its hash.
    pub(super) hash: HashSetter,
    /// When its execution began.
    pub(super) started: Instant,
    /// How long its execution took.
    pub(super) executed: Duration,
    /// Whether the next block may execute meanwhile.
    pub(super) overlapped: bool,
}

/// The producer's end of the thread.
pub(super) struct Committer {
    blocks: Sender<NewBlock>,
    committed: Receiver<Result<Verdict, StoreError>>,
    give_up: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Committer {
    /// Starts the thread.
    pub(super) fn start(node: Arc<Node>, decision: Box<dyn Decision>) -> io::Result<Self> {
        let (blocks, received_blocks) = bounded(1);
        let (send_committed, committed) = bounded(1);
        let (give_up, give_up_order) = bounded(1);
        let mut thread = Thread {
            node,
            decision,
            blocks: received_blocks,
            committed: send_committed,
            give_up: give_up_order,
        };
        let thread = thread::Builder::new()
            .name("block-committer".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self {
            blocks,
            committed,
            give_up,
            thread: Some(thread),
        })
    }

    /// Commits the next block; [`committed`](Self::committed) reports when it is done.
    pub(super) fn commit(&self, block: NewBlock) {
        // If the thread has ended, its closed channel reports that.
        let _ = self.blocks.send(block);
    }

    /// Reports once for each block that it is durable, was rejected, or has failed for good.
    pub(super) const fn committed(&self) -> &Receiver<Result<Verdict, StoreError>> {
        &self.committed
    }

    /// A commit that fails is not retried.
    pub(super) fn give_up(&self) {
        // Once is enough.
        let _ = self.give_up.try_send(());
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
        self.blocks = closed;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own end.
struct Thread {
    node: Arc<Node>,
    decision: Box<dyn Decision>,
    blocks: Receiver<NewBlock>,
    committed: Sender<Result<Verdict, StoreError>>,
    give_up: Receiver<()>,
}

impl Thread {
    /// Runs until the producer has ended.
    fn run(&mut self) {
        while let Ok(block) = self.blocks.recv() {
            let number = block.built.header.number;
            let done = self.finish(block);
            if let Err(error) = &done {
                // Wakes the producer, which may be waiting for work. All others ask the node.
                error!(target: "producer", number, %error, "the block cannot be stored");
                *self.node.failure.lock() = Some(error.to_string());
                self.node.notify();
            }
            let _ = self.committed.send(done);
        }
    }

    /// Completes a block, proposes it, and makes it the head.
    fn finish(&mut self, new: NewBlock) -> Result<Verdict, StoreError> {
        let NewBlock {
            mut built,
            hash,
            started,
            executed,
            overlapped,
        } = new;
        let node = Arc::clone(&self.node);
        let (delta, stats) = (mem::take(&mut built.delta), mem::take(&mut built.stats));
        let root_started = Instant::now();
        let mut prepared = node.store.prepare(built.header.number, delta)?;
        built.header.state_root = prepared.state_root();
        let root_time = root_started.elapsed();
        let block = Arc::new(built.into_block());
        hash.set(block.hash);
        let number = block.number();
        if self.decision.propose(&block) == Verdict::Rejected {
            warn!(target: "producer", number, "the proposal was rejected");
            return Ok(Verdict::Rejected);
        }
        // Recorded before the block is announced, because listeners may then ask for its statistics.
        count(&block, &stats);
        metrics::histogram!("lockweave_block_execute_seconds").record(executed.as_secs_f64());
        metrics::histogram!("lockweave_block_root_seconds").record(root_time.as_secs_f64());
        let violations = stats.violations;
        node.runs.note(number, stats);
        let commit_started = Instant::now();
        commit_with_retry(&node, &self.give_up, &block, || {
            prepared.commit(Arc::clone(&block))
        })?;
        let commit_time = commit_started.elapsed();
        metrics::histogram!("lockweave_block_commit_seconds").record(commit_time.as_secs_f64());
        publish(&node, &block, || self.decision.committed(&block))?;
        info!(
            target: "producer",
            number,
            hash = %block.hash,
            transactions = block.transactions.len(),
            violations,
            gas = block.header.gas_used,
            execute_us = executed.as_micros(),
            root_us = root_time.as_micros(),
            total_us = started.elapsed().as_micros(),
            overlapped,
            "block"
        );
        Ok(Verdict::Accepted)
    }
}
