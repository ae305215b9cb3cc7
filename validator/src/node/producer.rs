//! Block production: one thread makes blocks of the transactions in the pool, another makes them durable.
//!
//! If more transactions wait than fit into a block, the next block executes while the last one is committed,
//! on an [`Overlay`] with its changes. The next block is prepared and proposed only when the last one is
//! durable.

use super::{
    Head, Node,
    block_builder::{BlockBuilder, BuildError, BuiltBlock, LeftOut},
    committer::{Committer, committer_ended},
    consensus::{Attributes, Consensus, Turn, Verdict, Wake},
    overlay::Overlay,
};
use crate::{
    chain::{ChainBlock, execution, fees},
    pool::{DropReason, PooledTransaction, Take},
    store::StoreError,
};
use ahash::AHashSet;
use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{B256, U256};
use crossbeam_channel::{Receiver, select};
use lockweave_banking_stage::InferredStats;
use lockweave_evm_adapter::{ChainSpec, EvmTransaction, SpecId};
use lockweave_runtime::StateDelta;
use std::{sync::Arc, time::Instant};
use thiserror::Error;
use tracing::{debug, error, info, warn};

/// Transactions in a block at most.
const BLOCK_TRANSACTIONS_MAX: usize = 65_536;
/// The gas limits of the candidates may add up to this many blocks: most transactions use less than their limit.
const CANDIDATE_GAS_BLOCKS: u64 = 2;

/// Bytes of a block at most before Osaka, from when EIP-7934 sets a limit. A block is stored and sent whole.
const BLOCK_BYTES_MAX: usize = 64 << 20;
/// Bytes of a block's encoding besides its transactions, at most: header, empty lists, RLP prefixes.
const BLOCK_FRAME_BYTES: usize = 2_048;
/// Bytes of the RLP prefix of a transaction, at most.
const TRANSACTION_HEAD_BYTES: usize = 5;

/// Why block production ended.
#[derive(Debug, Error)]
pub enum ProducerError {
    /// A block cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The chain's storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A block that is being committed, as far as the execution of the next one needs it.
struct InFlight {
    /// The block and the state after it.
    head: Head,
    /// Its transactions, which are still in the pool.
    transactions: AHashSet<B256>,
}

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
                Some(in_flight) => in_flight.head.clone(),
                None => self.node.head(),
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
                self.consensus
                    .next_turn(&parent.block.header, &self.wake, &has_work)
            };
            let Turn::Propose { attributes, empty } = turn else {
                return self.wait_for_commit();
            };
            self.produce(&parent, attributes, empty)?;
            if self.stopped {
                return Ok(());
            }
        }
    }

    fn produce(
        &mut self,
        parent: &Head,
        attributes: Attributes,
        empty: bool,
    ) -> Result<(), ProducerError> {
        if self.node.failure().is_some() {
            return self.wait_for_commit();
        }
        let started = Instant::now();
        let header = self.next_header(&parent.block, attributes);
        let candidates = self.candidates(&header);
        if candidates.is_empty() && !empty {
            return self.wait_for_commit();
        }
        let mut built = self.builder.build(&parent.state, header, &candidates)?;
        let executed = started.elapsed();
        // The previous block must be durable before this one is announced.
        self.wait_for_commit()?;
        if self.stopped {
            return Ok(());
        }
        self.drop_invalid(&mut built);
        if built.transactions.is_empty() && !empty {
            return Ok(());
        }
        let stats = std::mem::take(&mut built.stats);
        let delta = std::mem::take(&mut built.delta);
        let overlap_delta = self.can_overlap(&built).then(|| delta.clone());
        built.header.state_root = self.committer.prepare(built.header.number, delta)?;
        let block = Arc::new(into_block(built));
        if self.consensus.propose(&block) == Verdict::Rejected {
            warn!(target: "producer", number = block.number(), "the proposal was rejected");
            self.committer.forget();
            return Ok(());
        }
        // Recorded before the block is announced, because listeners may then ask for its statistics.
        count(&block, &stats);
        metrics::histogram!("lockweave_block_execute_seconds").record(executed.as_secs_f64());
        let violations = stats.violations;
        self.node.runs.note(block.number(), stats);
        self.committer.commit(Arc::clone(&block));
        self.is_committing = true;
        let overlapped = overlap_delta.is_some();
        match overlap_delta {
            Some(delta) => self.in_flight = Some(self.in_flight(&block, &delta)),
            None => self.wait_for_commit()?,
        }
        info!(
            target: "producer",
            number = block.number(),
            hash = %block.hash,
            transactions = block.transactions.len(),
            violations,
            gas = block.header.gas_used,
            execute_us = executed.as_micros(),
            total_us = started.elapsed().as_micros(),
            overlapped,
            "block"
        );
        Ok(())
    }

    /// Whether the next block can execute while this one is committed: it is due, and more transactions wait
    /// than this block takes.
    fn can_overlap(&self, built: &BuiltBlock) -> bool {
        self.consensus.is_due() && self.node.pool.status().pending > built.transactions.len()
    }

    /// What the next block needs of this one, whose changes are `delta`.
    fn in_flight(&self, block: &Arc<ChainBlock>, delta: &StateDelta) -> InFlight {
        // The previous block is durable and announced; otherwise this one would not be committed yet. This
        // block may become the head at any time; its changes on top of itself read the same.
        let below = self.node.head().state;
        InFlight {
            head: Head {
                block: Arc::clone(block),
                state: Arc::new(Overlay::new(below, delta, block.number(), block.hash)),
            },
            transactions: (block.transactions.iter())
                .map(EvmTransaction::hash)
                .collect(),
        }
    }

    /// Waits until the block that is being committed is durable, if there is one.
    fn wait_for_commit(&mut self) -> Result<(), ProducerError> {
        if !self.is_committing {
            return Ok(());
        }
        loop {
            select! {
                recv(self.committer.committed()) -> done => {
                    self.is_committing = false;
                    self.in_flight = None;
                    return Ok(done.unwrap_or_else(|_| Err(committer_ended()))?);
                }
                recv(self.wake) -> wake => if wake != Ok(Wake::Work) {
                    // Waits for the commit in progress, which is not retried if it fails.
                    self.stopped = true;
                    self.committer.give_up();
                    let done = self.committer.committed().recv();
                    self.is_committing = false;
                    self.in_flight = None;
                    return Ok(done.unwrap_or_else(|_| Err(committer_ended()))?);
                },
            }
        }
    }

    /// The fields of the next header that are known before execution.
    fn next_header(&self, parent: &ChainBlock, attributes: Attributes) -> Header {
        next_header(
            self.node.chain(),
            parent,
            attributes,
            &self.node.config.extra_data,
        )
    }

    /// The best transactions that may fit.
    fn candidates(&self, header: &Header) -> Vec<Arc<PooledTransaction>> {
        let mut candidates = Vec::new();
        let in_flight = self.in_flight.as_ref();
        let is_in_flight =
            |hash: B256| in_flight.is_some_and(|in_flight| in_flight.transactions.contains(&hash));
        let mut gas_left = header.gas_limit.saturating_mul(CANDIDATE_GAS_BLOCKS);
        let mut bytes_left = block_bytes_max(self.node.chain(), header) - BLOCK_FRAME_BYTES;
        let base_fee = header.base_fee_per_gas.unwrap_or_default();
        self.node.pool.best(base_fee, |candidate| {
            if candidates.len() >= BLOCK_TRANSACTIONS_MAX {
                return Take::Stop;
            }
            if is_in_flight(candidate.hash) {
                return Take::Yes;
            }
            let bytes = candidate.size.saturating_add(TRANSACTION_HEAD_BYTES);
            let (Some(gas), Some(bytes)) = (
                gas_left.checked_sub(candidate.gas_limit),
                bytes_left.checked_sub(bytes),
            ) else {
                return Take::SkipSender;
            };
            (gas_left, bytes_left) = (gas, bytes);
            candidates.push(Arc::clone(candidate));
            Take::Yes
        });
        candidates
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

/// How many bytes the encoding of a block may have.
fn block_bytes_max(chain: &ChainSpec, header: &Header) -> usize {
    let fork = chain.fork_at(header.number, header.timestamp);
    if fork.is_enabled_in(SpecId::OSAKA) {
        execution::BLOCK_BYTES_MAX
    } else {
        BLOCK_BYTES_MAX
    }
}

/// Metrics of access inference.
pub(crate) const INFERENCE_COUNTERS: [&str; 9] = [
    "lockweave_sets_known_total",
    "lockweave_sets_by_template_total",
    "lockweave_sets_by_simulation_total",
    "lockweave_simulations_taken_total",
    "lockweave_sets_extended_total",
    "lockweave_access_violations_total",
    "lockweave_rolled_back_total",
    "lockweave_ran_alone_total",
    "lockweave_payments_without_locks_total",
];

/// The values of one block, in the same order.
const fn inference_counts(stats: &InferredStats) -> [usize; 9] {
    [
        stats.known,
        stats.by_template,
        stats.by_simulation,
        stats.simulations_taken,
        stats.late_grants,
        stats.violations,
        stats.rolled_back,
        stats.executed_alone,
        stats.payments,
    ]
}

/// Updates the metrics for a block.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
fn count(block: &ChainBlock, stats: &InferredStats) {
    metrics::counter!("lockweave_blocks_total").increment(1);
    metrics::counter!("lockweave_transactions_total").increment(block.transactions.len() as u64);
    metrics::counter!("lockweave_gas_total").increment(block.header.gas_used);
    metrics::counter!("lockweave_lock_waits_total").increment(stats.run.conflicts as u64);
    metrics::counter!("lockweave_window_full_total").increment(stats.run.window_full as u64);
    for (name, count) in INFERENCE_COUNTERS.iter().zip(inference_counts(stats)) {
        metrics::counter!(*name).increment(count as u64);
    }
    let inference = stats.inference.as_secs_f64();
    metrics::histogram!("lockweave_block_inference_seconds").record(inference);
    for (worker, tasks) in stats.run.executed.iter().enumerate() {
        metrics::counter!("lockweave_worker_tasks_total", "worker" => worker.to_string())
            .increment(*tasks as u64);
    }
    metrics::gauge!("lockweave_head_block").set(block.number() as f64);
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    metrics::gauge!("lockweave_base_fee_wei").set(base_fee as f64);
}

/// The fields of a header that are known before its block is executed.
pub(crate) fn next_header(
    chain: &ChainSpec,
    parent: &ChainBlock,
    attributes: Attributes,
    extra_data: &[u8],
) -> Header {
    let number = parent.number() + 1;
    let timestamp = attributes.timestamp;
    let fork = chain.fork_at(number, timestamp);
    let is = |since: SpecId| fork.is_enabled_in(since);
    Header {
        parent_hash: parent.hash,
        number,
        timestamp,
        beneficiary: attributes.beneficiary,
        mix_hash: attributes.prev_randao,
        gas_limit: parent.header.gas_limit,
        difficulty: U256::ZERO,
        extra_data: extra_data.to_vec().into(),
        base_fee_per_gas: fees::next_base_fee(chain, &parent.header, timestamp),
        withdrawals_root: is(SpecId::SHANGHAI).then_some(EMPTY_WITHDRAWALS),
        blob_gas_used: is(SpecId::CANCUN).then_some(0),
        excess_blob_gas: fees::next_excess_blob_gas(chain, &parent.header, timestamp),
        parent_beacon_block_root: is(SpecId::CANCUN).then_some(B256::ZERO),
        requests_hash: is(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

fn into_block(built: BuiltBlock) -> ChainBlock {
    let withdrawals_root = built.header.withdrawals_root;
    ChainBlock {
        hash: built.header.hash_slow(),
        header: built.header,
        transactions: built.transactions,
        withdrawals: withdrawals_root.map(|_| Withdrawals::default()),
        receipts: built.receipts,
        access: built.access,
        failures: built.failures,
        ..ChainBlock::default()
    }
}
