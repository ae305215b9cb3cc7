//! Blocks that a network agrees on: executed before the vote, durable when they are final.
//!
//! A leader executes its block under locks and proposes it with the access list that the run found. A follower
//! executes it by the list, every transaction at once, and compares list, receipts and state root. Blocks that
//! were executed and are not final yet form a tree on the newest durable block; each has its changes, and the
//! state after it is a stack of `Overlay`s.

use super::{
    Head, Node,
    block_builder::{BlockBuilder, BuildError, LeftOut, ParentHash},
    consensus::{Attributes, Finality},
    counters::count,
    late_hash::LateHash,
    overlay::{Changes, Overlay},
    proposal::{candidate_gas, candidates, next_header},
    publish::{commit_with_retry, publish},
};
use crate::{
    chain::{
        ChainBlock, ListedBlock,
        execution::{BlockRun, InvalidBlock, PreparedBlock},
        header::InvalidHeader,
        listed_block::list_commitment,
    },
    pool::DropReason,
    store::StoreError,
};
use ahash::{AHashMap, AHashSet};
use alloy_consensus::Header;
use alloy_eips::eip7928::{BlockAccessList, compute_block_access_list_hash};
use alloy_primitives::{Address, B256, keccak256};
use crossbeam_channel::{Receiver, Sender, bounded};
use lockweave_banking_stage::InferredStats;
use lockweave_engine::{Access, EngineError, InvalidAccessList};
use lockweave_evm_adapter::{ChainSpec, EvmTransaction};
use lockweave_runtime::{AccessError, StateDelta, StateView};
use parking_lot::{Mutex, RwLock};
use std::{sync::Arc, time::Instant};
use thiserror::Error;
use tracing::{debug, info};

/// Blocks that were executed and are not final, at most. Honest leaders make one in a view, and views without
/// finality are rare; more come from a network that is cut off.
const UNFINAL_BLOCKS_MAX: usize = 1_024;

/// Times a state root is computed again because a block was committed meanwhile.
const ROOT_TRIES: usize = 3;

/// Why a proposal gets no vote.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum Rejection {
    #[error("the header is invalid: {0}")]
    Header(#[from] InvalidHeader),
    #[error("the header's {field} is not what follows from the parent")]
    Field {
        /// The field, as JSON-RPC has it.
        field: String,
    },
    #[error("the block is invalid: {0}")]
    Block(#[from] InvalidBlock),
    #[error("{0}")]
    List(#[from] InvalidAccessList),
    #[error("the block cannot be executed: {0}")]
    Execution(EngineError),
    #[error("the header's stateRoot is {stated}, but the block's is {computed}")]
    StateRoot { stated: B256, computed: B256 },
    #[error("the timestamp is {seconds} s ahead of this node's clock; are the clocks right?")]
    Future { seconds: u64 },
    #[error("block {number} is not after the final block {finalized}")]
    Final { number: u64, finalized: u64 },
    #[error(
        "{UNFINAL_BLOCKS_MAX} blocks wait for finality; no more are executed until one is final"
    )]
    TooMany,
}

impl Rejection {
    /// A short name, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Header(_) | Self::Field { .. } => "header",
            Self::Block(_) => "block",
            Self::List(_) => "access_list",
            Self::Execution(_) => "execution",
            Self::StateRoot { .. } => "state_root",
            Self::Future { .. } => "timestamp",
            Self::Final { .. } => "final",
            Self::TooMany => "limit",
        }
    }
}

/// Why a replica cannot go on, or not with this block.
#[derive(Debug, Error)]
#[expect(missing_docs, reason = "the messages say what the variants mean")]
pub enum ReplicaError {
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The parent was not executed here, or is not on the branch that is final.
    #[error("the parent {0} is not known here")]
    UnknownParent(B256),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network made a block final that this node has another one for.
    #[error("block {number} is final as {network}, but is stored here as {here}")]
    Diverged {
        number: u64,
        network: B256,
        here: B256,
    },
}

/// What a leader decides of its block before execution.
#[derive(Clone, Copy, Debug)]
pub struct ProposalPlan {
    /// The hash of the parent.
    pub parent: B256,
    /// Seconds since 1970; the parent's timestamp if that is later.
    pub timestamp: u64,
    /// The account that receives the tips.
    pub beneficiary: Address,
    /// Whether the block is made if there is no transaction for it.
    pub empty: bool,
    /// What the gas limits of the transactions may add up to. One transaction may always be in the block.
    pub gas: u64,
}

/// A block to propose.
#[derive(Debug)]
pub struct Proposal {
    /// The block with its list.
    pub block: ListedBlock,
    /// What the gas limits of its transactions add up to.
    pub gas_limits: u64,
}

/// A block that was executed and is not final.
struct Unfinal {
    block: Arc<ChainBlock>,
    delta: StateDelta,
    changes: Arc<Changes>,
    stats: InferredStats,
    /// When its execution began here, if this node proposed it.
    proposed: Option<Instant>,
    /// Transactions that cannot follow this block, and why. They leave the pool when it is final.
    invalid: Mutex<Vec<(B256, String)>>,
}

/// Blocks by their hash.
type Tree = AHashMap<B256, Arc<Unfinal>>;

/// Makes, checks and commits the blocks of a network. One block executes at a time; a final one can be committed
/// meanwhile.
pub struct Replica {
    node: Arc<Node>,
    /// Held while a block executes.
    builder: Mutex<BlockBuilder>,
    /// Held for moments.
    tree: RwLock<Tree>,
    stop: Sender<()>,
    stopped: Receiver<()>,
}

/// The blocks between the newest durable one and the next.
struct Path {
    head: Head,
    /// Oldest first.
    blocks: Vec<Arc<Unfinal>>,
}

impl Replica {
    pub(super) fn new(node: Arc<Node>, builder: BlockBuilder) -> Self {
        let (stop, stopped) = bounded(1);
        Self {
            node,
            builder: Mutex::new(builder),
            tree: RwLock::default(),
            stop,
            stopped,
        }
    }

    /// The node that serves the blocks.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whether the state after a block is known: it is the newest durable one, or was executed on top of it.
    pub fn knows(&self, hash: B256) -> bool {
        self.node.head().block.hash == hash || self.tree.read().contains_key(&hash)
    }

    /// Whether the pool may have transactions that are in no block up to this one.
    pub fn has_work(&self, parent: B256) -> bool {
        let in_flight = self
            .path(parent)
            .map_or(0, |path| path.transactions().count());
        self.node.pool.status().pending > in_flight
    }

    /// Whether a block is final, or is an ancestor of a block that was executed.
    pub fn is_ancestor(&self, hash: B256, of: B256) -> bool {
        let on_path = |path: Path| path.blocks.iter().any(|block| block.block.hash == hash);
        self.node.store.number_of(hash).is_some() || self.path(of).is_ok_and(on_path)
    }

    /// Executes a block of the pool's transactions. Returns `None` if there is no transaction for it and it shall
    /// not be empty.
    pub fn propose(&self, plan: ProposalPlan) -> Result<Option<Proposal>, ReplicaError> {
        let began = Instant::now();
        let ProposalPlan {
            parent,
            timestamp,
            beneficiary,
            empty,
            gas,
        } = plan;
        let mut builder = self.builder.lock();
        let path = self.path(parent)?;
        let last = path.header();
        let attributes = attributes(last, parent, timestamp, beneficiary);
        let chain = self.node.chain();
        let mut header = next_header(chain, last, attributes, &[]);
        header.parent_hash = parent;
        let has_list_hash = chain.has_access_list(header.number, header.timestamp);
        header.block_access_list_hash = has_list_hash.then_some(B256::ZERO);
        let in_flight: AHashSet<B256> = path.transactions().collect();
        let gas = gas.min(candidate_gas(&header));
        let is_in_flight = |hash| in_flight.contains(&hash);
        let candidates = candidates(&self.node, &header, gas, is_in_flight);
        if candidates.is_empty() && !empty {
            return Ok(None);
        }
        let mut built = builder.build(&path.state(), header, ParentHash::Known, &candidates)?;
        let left_out = std::mem::take(&mut built.left_out);
        let invalid = left_out.into_iter().filter_map(|(hash, why)| match why {
            LeftOut::Invalid(reason) => Some((hash, reason)),
            LeftOut::Later => None,
        });
        let invalid: Vec<_> = invalid.collect();
        let access_list = built.access_list.take().unwrap_or_default();
        built.header.extra_data = list_commitment(&access_list).to_vec().into();
        if has_list_hash {
            let hash = compute_block_access_list_hash(&access_list);
            built.header.block_access_list_hash = Some(hash);
        }
        built.header.state_root = self.root(parent, &built.delta)?;
        let (delta, stats) = (
            std::mem::take(&mut built.delta),
            std::mem::take(&mut built.stats),
        );
        let block = Arc::new(built.into_block());
        let gas_limits = (block.transactions.iter()).map(|one| one.env().gas_limit);
        let proposal = Proposal {
            gas_limits: gas_limits.sum(),
            block: ListedBlock::new(block.to_consensus(), access_list),
        };
        self.note_invalid(parent, invalid);
        let number = block.number();
        debug!(target: "consensus", number, hash = %block.hash, transactions = block.transactions.len(), "proposal");
        self.insert(block, delta, stats, Some(began));
        metrics::histogram!("lockweave_proposal_seconds").record(began.elapsed().as_secs_f64());
        Ok(Some(proposal))
    }

    /// Executes a block by its list on its parent, which must be [known](Self::knows), and checks its header.
    /// A block that was executed before is accepted at once.
    pub fn verify(&self, listed: &ListedBlock) -> Result<(), ReplicaError> {
        let builder = self.builder.lock();
        let began = Instant::now();
        let header = listed.header();
        let number = header.number;
        {
            let tree = self.tree.read();
            if tree.contains_key(&listed.hash()) {
                return Ok(());
            }
            if tree.len() >= UNFINAL_BLOCKS_MAX {
                return Err(Rejection::TooMany.into());
            }
        }
        let finalized = self.node.head().block.number();
        if number <= finalized {
            let here = self.node.store.block(number)?.map(|block| block.hash);
            return if here == Some(listed.hash()) {
                Ok(())
            } else {
                Err(Rejection::Final { number, finalized }.into())
            };
        }
        let path = self.path(header.parent_hash)?;
        check_header(self.node.chain(), path.header(), header)?;
        let parameters = self.node.parameters();
        // The pool has most transactions already, with their senders.
        let known = |hash| (self.node.pool.get(hash)).map(|pooled| pooled.sender);
        let block = listed.block().clone();
        let prepared = PreparedBlock::with_known_senders(&parameters.spec, block, known);
        let prepared = prepared.map_err(Rejection::from)?;
        let run = (builder.engine().run(prepared.evm())).access(Access::Listed(listed.list()));
        let executed = run.execute(&path.state()).map_err(rejection)?;
        let run = BlockRun {
            sealed: executed.sealed,
            receipt_roots: Vec::new(),
            access_list: BlockAccessList::clone(listed.list()),
        };
        let deposit_contract = parameters.genesis.config.deposit_contract_address;
        let executed = prepared
            .finish(run, deposit_contract)
            .map_err(Rejection::from)?;
        let computed = self.root(header.parent_hash, &executed.delta)?;
        let stated = header.state_root;
        if stated != computed {
            return Err(Rejection::StateRoot { stated, computed }.into());
        }
        let stats = InferredStats::default();
        self.insert(Arc::new(executed.block), executed.delta, stats, None);
        let elapsed = began.elapsed();
        metrics::histogram!("lockweave_verification_seconds").record(elapsed.as_secs_f64());
        Ok(())
    }

    /// Makes a block durable that the network made final, and announces it. Blocks come in order; one that is
    /// durable already is passed over.
    pub fn finalize(&self, listed: &ListedBlock) -> Result<(), ReplicaError> {
        let number = listed.header().number;
        let head = self.node.head().block;
        if number <= head.number() {
            let here = self.node.store.block(number);
            let here = here.ok().flatten().map(|block| block.hash);
            return match here {
                Some(here) if here != listed.hash() => Err(ReplicaError::Diverged {
                    number,
                    network: listed.hash(),
                    here,
                }),
                _ => Ok(()),
            };
        }
        self.verify(listed)?;
        let entry = self.tree.read().get(&listed.hash()).cloned();
        let entry = entry.ok_or(ReplicaError::UnknownParent(listed.hash()))?;
        let block = &entry.block;
        let mut prepared = self.node.store.prepare(number, entry.delta.clone())?;
        count(block, &entry.stats);
        self.node.runs.note(number, entry.stats.clone());
        let commit_started = Instant::now();
        commit_with_retry(&self.node, &self.stopped, block, || {
            prepared.commit(Arc::clone(block))
        })?;
        let commit_time = commit_started.elapsed();
        metrics::histogram!("lockweave_block_commit_seconds").record(commit_time.as_secs_f64());
        publish(&self.node, block, || Finality {
            safe: number,
            finalized: number,
        })?;
        if let Some(proposed) = entry.proposed {
            let elapsed = proposed.elapsed();
            metrics::histogram!("lockweave_finality_seconds").record(elapsed.as_secs_f64());
        }
        // Other branches end here.
        (self.tree.write()).retain(|_, unfinal| unfinal.block.number() > number);
        for (hash, reason) in entry.invalid.lock().drain(..) {
            let reason = DropReason::Invalid(reason);
            self.node.pool.drop_transaction(hash, reason);
        }
        info!(
            target: "consensus",
            number,
            hash = %block.hash,
            transactions = block.transactions.len(),
            gas = block.header.gas_used,
            commit_us = commit_time.as_micros(),
            "final"
        );
        Ok(())
    }

    /// Ends a commit that is being retried.
    pub fn stop(&self) {
        // Once is enough.
        let _ = self.stop.try_send(());
    }

    /// The state root after a block with these changes on a parent.
    fn root(&self, parent: B256, delta: &StateDelta) -> Result<B256, ReplicaError> {
        let mut tries = 0;
        loop {
            let path = self.path(parent)?;
            let before = path
                .blocks
                .iter()
                .fold(StateDelta::default(), |sum, block| {
                    sum.followed_by(&block.delta)
                });
            let durable = path.head.block.number();
            let root = (self.node.store).root_after(durable, &before.followed_by(delta));
            match root {
                // Meanwhile a block was committed, and the state before it is not kept.
                Err(StoreError::StatePruned { .. }) if tries < ROOT_TRIES => tries += 1,
                root => return Ok(root?),
            }
        }
    }

    /// The way from the newest durable block to `last`.
    fn path(&self, last: B256) -> Result<Path, ReplicaError> {
        let tree = self.tree.read();
        let head = self.node.head();
        let mut blocks = Vec::new();
        let mut at = last;
        while at != head.block.hash {
            let block = tree.get(&at).ok_or(ReplicaError::UnknownParent(last))?;
            blocks.push(Arc::clone(block));
            at = block.block.header.parent_hash;
        }
        blocks.reverse();
        Ok(Path { head, blocks })
    }

    fn insert(
        &self,
        block: Arc<ChainBlock>,
        delta: StateDelta,
        stats: InferredStats,
        proposed: Option<Instant>,
    ) {
        let hash = block.hash;
        self.node.events.announce_proposed(&block);
        let unfinal = Unfinal {
            block,
            changes: Arc::new(Changes::from(&delta)),
            delta,
            stats,
            proposed,
            invalid: Mutex::default(),
        };
        self.tree.write().insert(hash, Arc::new(unfinal));
    }

    /// Drops transactions that cannot follow a block: at once if it is durable, else when it is.
    fn note_invalid(&self, parent: B256, invalid: Vec<(B256, String)>) {
        if let Some(parent) = self.tree.read().get(&parent) {
            *parent.invalid.lock() = invalid;
            return;
        }
        for (hash, reason) in invalid {
            let reason = DropReason::Invalid(reason);
            self.node.pool.drop_transaction(hash, reason);
        }
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").finish_non_exhaustive()
    }
}

impl Path {
    /// The header of the last block.
    fn header(&self) -> &Header {
        let last = self
            .blocks
            .last()
            .map_or(&self.head.block, |last| &last.block);
        &last.header
    }

    /// The state after the last block.
    fn state(&self) -> Arc<dyn StateView> {
        let durable = Arc::clone(&self.head.state);
        self.blocks.iter().fold(durable, |below, block| {
            let changes = Arc::clone(&block.changes);
            let hash = LateHash::known(block.block.hash);
            Arc::new(Overlay::new(below, changes, block.block.number(), hash))
        })
    }

    /// The hashes of all transactions.
    fn transactions(&self) -> impl Iterator<Item = B256> {
        let blocks = self.blocks.iter();
        blocks.flat_map(|block| block.block.transactions.iter().map(EvmTransaction::hash))
    }
}

/// What a leader decides. The randomness follows from the parent, so that a leader cannot choose it.
fn attributes(
    parent: &Header,
    parent_hash: B256,
    timestamp: u64,
    beneficiary: Address,
) -> Attributes {
    Attributes {
        timestamp: timestamp.max(parent.timestamp),
        beneficiary,
        prev_randao: keccak256(parent_hash),
    }
}

/// Checks the fields of a header that do not depend on execution.
fn check_header(chain: &ChainSpec, parent: &Header, header: &Header) -> Result<(), Rejection> {
    if header.timestamp < parent.timestamp {
        let (stated, parent) = (header.timestamp, parent.timestamp);
        return Err(InvalidHeader::Timestamp { stated, parent }.into());
    }
    let (timestamp, beneficiary) = (header.timestamp, header.beneficiary);
    let attributes = attributes(parent, header.parent_hash, timestamp, beneficiary);
    let expected = Header {
        parent_hash: header.parent_hash,
        // Checked by execution, or when the block was decoded.
        state_root: header.state_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom,
        gas_used: header.gas_used,
        requests_hash: header.requests_hash,
        transactions_root: header.transactions_root,
        block_access_list_hash: header.block_access_list_hash,
        ..next_header(chain, parent, attributes, &header.extra_data)
    };
    if *header == expected {
        return Ok(());
    }
    Err(Rejection::Field {
        field: first_difference(header, &expected),
    })
}

/// The first field in which two headers differ, as JSON-RPC has it.
fn first_difference(stated: &Header, expected: &Header) -> String {
    let fields = |header: &Header| serde_json::to_value(header).unwrap_or_default();
    let (stated, expected) = (fields(stated), fields(expected));
    let names = stated.as_object().into_iter().chain(expected.as_object());
    let mut names = names.flat_map(|fields| fields.keys());
    let different = names.find(|name| stated.get(name.as_str()) != expected.get(name.as_str()));
    different.cloned().unwrap_or_default()
}

/// An error of an execution by list: the block's fault, or that of this node.
fn rejection(error: EngineError) -> ReplicaError {
    match error {
        EngineError::List(error) => Rejection::List(error).into(),
        EngineError::Access(AccessError::State(error)) => {
            BuildError::Execution(EngineError::from(error)).into()
        }
        EngineError::Stage(_) => BuildError::Execution(error).into(),
        error => Rejection::Execution(error).into(),
    }
}
