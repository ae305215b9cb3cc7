//! The node: from the bytes of a transaction to a durable block.
//!
//! ```text
//! submit: decode ─ check ─ recover sender ─► pool ─► producer: plan ─ execute ─ seal ─► store ─► events
//! ```
//!
//! RPC and the command line use a [`Node`]; nothing here depends on them.

pub mod block_builder;
mod committer;
pub mod consensus;
mod counters;
mod events;
mod gas_history;
mod late_hash;
mod overlay;
mod producer;
mod proposal;
mod publish;
pub mod replica;
mod run_log;
mod submit;

pub(crate) use counters::INFERENCE_COUNTERS;
pub use events::{BlockEvent, Events};
pub use producer::ProducerError;
pub use submit::SubmitError;

use crate::{
    chain::{ChainBlock, ChainParameters, fees},
    pool::{Admission, Journal, Pool, PoolConfig},
    store::{ChainStore, StoreError},
};
use alloy_eips::eip2718::Encodable2718 as _;
use block_builder::BlockBuilder;
use committer::Committer;
use consensus::{Consensus, Finality, Wake};
use crossbeam_channel::{Receiver, Sender, bounded};
use lockweave_banking_stage::{InferredStats, StageConfig, StartError};
use lockweave_engine::Engine;
use lockweave_evm_adapter::ChainSpec;
use lockweave_runtime::StateView;
use parking_lot::{Mutex, RwLock};
use replica::Replica;
use run_log::RunLog;
use std::{
    io,
    num::NonZeroUsize,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};
use thiserror::Error;
use tokio::sync::Notify;
use tracing::error;

/// Transactions of the journal that are checked at a time.
const RESTORED_AT_ONCE: usize = 4_096;

/// How a node runs.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The threads that execute transactions, and how.
    pub stage: StageConfig,
    /// Threads that recover senders.
    pub signature_threads: NonZeroUsize,
    /// Limits of the pool.
    pub pool: PoolConfig,
    /// Text in the headers of blocks that this node makes; at most 32 bytes.
    pub extra_data: Vec<u8>,
    /// File that keeps the pool's transactions over a restart, if any.
    pub journal: Option<PathBuf>,
}

/// Why a node cannot start.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The worker threads could not be started.
    #[error(transparent)]
    Stage(#[from] StartError),
    /// The threads that recover senders could not be started.
    #[error("cannot start the signature threads: {0}")]
    Signatures(#[from] rayon::ThreadPoolBuildError),
    /// The producer's thread could not be started.
    #[error("cannot start the block producer's thread: {0}")]
    Producer(io::Error),
    /// The pool's journal cannot be used.
    #[error("cannot use the journal {path}: {source}; choose another --pool.journal")]
    Journal {
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// The chain's storage cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The newest durable block with the state after it.
#[derive(Clone)]
pub struct Head {
    /// The block.
    pub block: Arc<ChainBlock>,
    /// The state after it.
    pub state: Arc<dyn StateView>,
}

/// A running node.
pub struct Node {
    parameters: ChainParameters,
    config: NodeConfig,
    store: Arc<dyn ChainStore>,
    pool: Pool,
    events: Events,
    head: RwLock<Head>,
    /// Held for reading from the lookup of a sender until its transaction is in the pool, and for writing
    /// while a block is published. Otherwise the pool would learn an outdated state and wait for a nonce that
    /// is used.
    intake: RwLock<()>,
    admission: RwLock<Admission>,
    finality: Mutex<Finality>,
    signatures: rayon::ThreadPool,
    wake: Sender<Wake>,
    /// Notified with every new executable transaction.
    work: Notify,
    producer: Mutex<Option<JoinHandle<()>>>,
    runs: RunLog,
    /// Where accepted transactions are kept.
    journal: Mutex<Option<Journal>>,
    /// Why the node stopped making blocks, if it did.
    failure: Mutex<Option<String>>,
    /// Why the newest block cannot be stored yet, if so.
    storage_failure: Mutex<Option<String>>,
}

impl Node {
    /// Starts a node that makes blocks by itself.
    pub fn start(
        parameters: ChainParameters,
        config: NodeConfig,
        store: Arc<dyn ChainStore>,
        consensus: Box<dyn Consensus>,
    ) -> Result<Arc<Self>, NodeError> {
        let (node, builder, woken) = Self::new(parameters, config, store)?;
        let committer = Committer::start(Arc::clone(&node), consensus.decision());
        let committer = committer.map_err(NodeError::Producer)?;
        let producer =
            producer::Producer::new(Arc::clone(&node), builder, consensus, committer, woken);
        let thread = thread::Builder::new()
            .name("block-producer".to_owned())
            .spawn(move || producer.run())
            .map_err(NodeError::Producer)?;
        *node.producer.lock() = Some(thread);
        Ok(node)
    }

    /// Makes a node whose blocks a network agrees on: the node serves them, the [`Replica`] makes and checks them.
    pub fn replicated(
        parameters: ChainParameters,
        config: NodeConfig,
        store: Arc<dyn ChainStore>,
    ) -> Result<(Arc<Self>, Replica), NodeError> {
        let (node, builder, _) = Self::new(parameters, config, store)?;
        let replica = Replica::new(Arc::clone(&node), builder.with_lists());
        Ok((node, replica))
    }

    fn new(
        parameters: ChainParameters,
        config: NodeConfig,
        store: Arc<dyn ChainStore>,
    ) -> Result<(Arc<Self>, BlockBuilder, Receiver<Wake>), NodeError> {
        let engine = Engine::builder().stage(config.stage).build()?;
        let chain = Arc::clone(&parameters.spec);
        let builder = BlockBuilder::new(&parameters, engine);
        let signatures = rayon::ThreadPoolBuilder::new()
            .num_threads(config.signature_threads.get())
            .thread_name(|index| format!("signature-{index}"))
            .build()?;
        let block = store.head();
        let state = store.state_at(block.number())?;
        let number = block.number();
        // Room for one `Work` and one `Stop`: a second `Work` would add nothing.
        let (wake, woken) = bounded(2);
        let node = Arc::new(Self {
            pool: Pool::new(config.pool.clone()),
            events: Events::default(),
            admission: RwLock::new(admission_after(&chain, &block)),
            head: RwLock::new(Head { block, state }),
            intake: RwLock::default(),
            finality: Mutex::new(Finality {
                safe: number,
                finalized: number,
            }),
            parameters,
            config,
            store,
            signatures,
            wake,
            work: Notify::new(),
            producer: Mutex::default(),
            runs: RunLog::default(),
            journal: Mutex::default(),
            failure: Mutex::default(),
            storage_failure: Mutex::default(),
        });
        node.restore()?;
        Ok((node, builder, woken))
    }

    /// Takes the transactions of the journal into the pool, and keeps new ones there from now on.
    fn restore(&self) -> Result<(), NodeError> {
        let Some(path) = &self.config.journal else {
            return Ok(());
        };
        let failed = |source| NodeError::Journal {
            path: path.display().to_string(),
            source,
        };
        let (mut journal, transactions) = Journal::open(path).map_err(failed)?;
        for share in transactions.chunks(RESTORED_AT_ONCE) {
            // Those that are in a block by now are refused.
            self.submit(share);
        }
        journal.rewrite(self.waiting()).map_err(failed)?;
        *self.journal.lock() = Some(journal);
        Ok(())
    }

    /// The encodings of all waiting transactions.
    fn waiting(&self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let senders = self.pool.content().into_iter();
        let transactions = senders.flat_map(|sender| [sender.pending, sender.queued].concat());
        transactions.map(|one| one.transaction.envelope().encoded_2718())
    }

    /// Keeps accepted transactions in the journal, if there is one.
    fn keep<'t>(&self, accepted: impl Iterator<Item = &'t [u8]>) {
        let mut journal = self.journal.lock();
        let Some(journal) = &mut *journal else {
            return;
        };
        journal.append(accepted);
        if journal.is_large()
            && let Err(failure) = journal.rewrite(self.waiting())
        {
            error!(target: "pool", %failure, "the journal cannot be written anew");
        }
    }

    /// The chain's rules.
    pub fn chain(&self) -> &Arc<ChainSpec> {
        &self.parameters.spec
    }

    /// The chain's rules and genesis.
    pub const fn parameters(&self) -> &ChainParameters {
        &self.parameters
    }

    /// How the node runs.
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// Blocks and states.
    pub fn store(&self) -> &dyn ChainStore {
        &*self.store
    }

    /// The transactions that wait for a block.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// New blocks and pending transactions, as they appear.
    pub const fn events(&self) -> &Events {
        &self.events
    }

    /// The newest durable block with the state after it.
    pub fn head(&self) -> Head {
        self.head.read().clone()
    }

    /// The newest blocks that will not be reverted.
    pub fn finality(&self) -> Finality {
        *self.finality.lock()
    }

    /// The base fee of the next block, in wei.
    pub fn next_base_fee(&self) -> Option<u64> {
        let head = self.head.read();
        let header = &head.block.header;
        fees::next_base_fee(self.chain(), header, header.timestamp)
    }

    /// How a block that this node made was executed; `None` for blocks from before the start, and for old ones.
    pub fn run_of(&self, number: u64) -> Option<Arc<InferredStats>> {
        self.runs.of(number)
    }

    /// Why the node stopped making blocks, if it did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// Why the newest block cannot be stored yet, if so. The node retries every second.
    pub fn storage_failure(&self) -> Option<String> {
        self.storage_failure.lock().clone()
    }

    /// Ends block production for a reason that stays.
    pub(crate) fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
        self.notify();
    }

    /// Stops block production and waits for the block in progress.
    pub fn stop(&self) {
        // Waits while the channel is full. An error means that the producer has ended.
        let _ = self.wake.send(Wake::Stop);
        if let Some(producer) = self.producer.lock().take() {
            let _ = producer.join();
        }
    }

    /// Tells the producer that there is work.
    fn notify(&self) {
        // A full channel holds a wake-up already.
        let _ = self.wake.try_send(Wake::Work);
        self.work.notify_one();
    }

    /// Waits for an executable transaction that came after the last call returned.
    pub async fn wait_for_work(&self) {
        self.work.notified().await;
    }
}

/// The rules that new transactions are checked against after a block.
fn admission_after(chain: &Arc<ChainSpec>, block: &ChainBlock) -> Admission {
    let header = &block.header;
    Admission::new(
        Arc::clone(chain),
        header.number + 1,
        header.timestamp,
        header.gas_limit,
    )
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("chain_id", &self.chain().chain_id)
            .finish_non_exhaustive()
    }
}
