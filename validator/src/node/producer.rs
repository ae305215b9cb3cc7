//! Block production: one thread that turns what waits in the pool into durable blocks.

use super::{
    Head, Node, admission_after,
    block_builder::{BlockBuilder, BuildError, BuiltBlock, LeftOut},
    consensus::{Attributes, Consensus, Turn, Verdict, Wake},
    submit::sender_state,
};
use crate::{
    chain::{ChainBlock, fees},
    pool::{DropReason, PooledTransaction, Take},
    store::{PreparedCommit, StoreError},
};
use alloy_consensus::{Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip4895::Withdrawals, eip7685::EMPTY_REQUESTS_HASH};
use alloy_primitives::{Address, B256, U256};
use crossbeam_channel::Receiver;
use lockweave_banking_stage::RunStats;
use lockweave_evm_adapter::{ChainSpec, SpecId};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use thiserror::Error;
use tracing::{debug, error, info, warn};

/// Transactions in a block at most.
const BLOCK_TRANSACTIONS_MAX: usize = 65_536;
/// Candidates may have gas limits of this many blocks together: most use less than their limit.
const CANDIDATE_GAS_BLOCKS: u64 = 2;
/// How long to wait before a block that could not be stored is stored again.
const STORE_RETRY: Duration = Duration::from_secs(1);

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
    #[error("the state cannot be read: {0}")]
    State(String),
}

/// The producing thread.
pub(super) struct Producer {
    node: Arc<Node>,
    builder: BlockBuilder,
    consensus: Box<dyn Consensus>,
    wake: Receiver<Wake>,
}

impl Producer {
    pub(super) fn new(
        node: Arc<Node>,
        builder: BlockBuilder,
        consensus: Box<dyn Consensus>,
        wake: Receiver<Wake>,
    ) -> Self {
        Self {
            node,
            builder,
            consensus,
            wake,
        }
    }

    /// Makes blocks until told to stop.
    pub(super) fn run(mut self) {
        loop {
            let head = self.node.head();
            let turn = {
                let node = &self.node;
                let has_work = || {
                    let base_fee = node.next_base_fee().unwrap_or_default();
                    node.pool.has_executable(base_fee)
                };
                self.consensus
                    .next_turn(&head.block.header, &self.wake, &has_work)
            };
            let Turn::Propose { attributes, empty } = turn else {
                break;
            };
            if let Err(failure) = self.produce(&head, attributes, empty) {
                error!(target: "producer", %failure, "no more blocks are made");
                *self.node.failure.lock() = Some(failure.to_string());
                break;
            }
        }
        debug!(target: "producer", "stopped");
    }

    fn produce(
        &mut self,
        head: &Head,
        attributes: Attributes,
        empty: bool,
    ) -> Result<(), ProducerError> {
        let started = Instant::now();
        let header = self.next_header(&head.block, attributes);
        let candidates = self.candidates(&header);
        if candidates.is_empty() && !empty {
            return Ok(());
        }
        let mut built = self.builder.build(&head.state, header, &candidates)?;
        let executed = started.elapsed();
        self.drop_invalid(&mut built);
        if built.transactions.is_empty() && !empty {
            return Ok(());
        }
        let (transactions, violations) = (built.transactions.len(), built.violations);
        let delta = std::mem::take(&mut built.delta);
        let mut prepared = self.node.store.prepare(built.header.number, delta)?;
        built.header.state_root = prepared.commitment();
        let stats = std::mem::take(&mut built.stats);
        let block = Arc::new(into_block(built));
        if self.consensus.propose(&block) == Verdict::Rejected {
            warn!(target: "producer", number = block.number(), "the proposal was rejected");
            return Ok(());
        }
        let committing = Instant::now();
        make_durable(&mut *prepared, &block, &self.wake)?;
        drop(prepared);
        let committed = committing.elapsed();
        let node = Arc::clone(&self.node);
        self.publish(&node, &block)?;
        count(&block, &stats, violations);
        metrics::histogram!("lockweave_block_execute_seconds").record(executed.as_secs_f64());
        metrics::histogram!("lockweave_block_commit_seconds").record(committed.as_secs_f64());
        info!(
            target: "producer",
            number = block.number(),
            hash = %block.hash,
            transactions,
            violations,
            gas = block.header.gas_used,
            execute_us = executed.as_micros(),
            commit_us = committed.as_micros(),
            "block"
        );
        Ok(())
    }

    /// What is known of the next header before anything runs.
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
        let mut gas_left = header.gas_limit.saturating_mul(CANDIDATE_GAS_BLOCKS);
        let base_fee = header.base_fee_per_gas.unwrap_or_default();
        self.node.pool.best(base_fee, |candidate| {
            if candidates.len() >= BLOCK_TRANSACTIONS_MAX {
                return Take::Stop;
            }
            let Some(left) = gas_left.checked_sub(candidate.gas_limit) else {
                return Take::SkipSender;
            };
            gas_left = left;
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

    /// Makes a durable block the head.
    fn publish(&mut self, node: &Node, block: &Arc<ChainBlock>) -> Result<(), ProducerError> {
        let state = node.store.state_at(block.number())?;
        let included: ahash::AHashSet<B256> = (block.transactions.iter())
            .map(lockweave_evm_adapter::EvmTransaction::hash)
            .collect();
        let senders: BTreeSet<Address> = (block.transactions.iter())
            .map(lockweave_evm_adapter::EvmTransaction::sender)
            .collect();
        let states = senders.into_iter().filter_map(|sender| {
            // A sender that became a contract has no use for its transactions; they are refused when
            // their turn comes.
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
        drop(intake);
        *node.finality.lock() = self.consensus.committed(block);
        node.events.announce_block(Arc::clone(block));
        Ok(())
    }
}

/// Makes a block durable. A medium that fails is asked again: nothing is lost, and the node goes on
/// when there is room.
fn make_durable(
    prepared: &mut dyn PreparedCommit,
    block: &Arc<ChainBlock>,
    wake: &Receiver<Wake>,
) -> Result<(), StoreError> {
    loop {
        let Err(error) = prepared.commit(Arc::clone(block)) else {
            return Ok(());
        };
        if !matches!(error, StoreError::Backend(_)) {
            return Err(error);
        }
        error!(target: "producer", number = block.number(), %error, "the block is not durable yet");
        if wake.recv_timeout(STORE_RETRY) == Ok(Wake::Stop) {
            return Err(error);
        }
    }
}

/// Counts what an operator asks of a block.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
fn count(block: &ChainBlock, stats: &RunStats, violations: usize) {
    metrics::counter!("lockweave_blocks_total").increment(1);
    metrics::counter!("lockweave_transactions_total").increment(block.transactions.len() as u64);
    metrics::counter!("lockweave_gas_total").increment(block.header.gas_used);
    metrics::counter!("lockweave_lock_waits_total").increment(stats.conflicts as u64);
    metrics::counter!("lockweave_window_full_total").increment(stats.window_full as u64);
    metrics::counter!("lockweave_access_violations_total").increment(violations as u64);
    for (worker, tasks) in stats.executed.iter().enumerate() {
        metrics::counter!("lockweave_worker_tasks_total", "worker" => worker.to_string())
            .increment(*tasks as u64);
    }
    metrics::gauge!("lockweave_head_block").set(block.number() as f64);
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    metrics::gauge!("lockweave_base_fee_wei").set(base_fee as f64);
}

/// What is known of a header before its block is executed.
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
    let withdrawals = built
        .header
        .withdrawals_root
        .map(|_| Withdrawals::default());
    ChainBlock {
        hash: built.header.hash_slow(),
        header: built.header,
        transactions: built.transactions,
        ommers: Vec::new(),
        withdrawals,
        receipts: built.receipts,
        receipt_roots: Vec::new(),
        access: built.access,
        failures: built.failures,
    }
}
