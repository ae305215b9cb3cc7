//! What the consensus engine asks of the chain: propose, verify, finalize.

use super::{
    config::Timing,
    proposal_size::ProposalSize,
    status::Status,
    validators::{members, sets::Sets},
};
use crate::{
    chain::ListedBlock,
    node::replica::{Proposal, ProposalPlan, Rejection, Replica, ReplicaError},
};
use alloy_primitives::{Address, B256, U256};
use commonware_actor::Feedback;
use commonware_consensus::{
    Application, Heightable, Reporter,
    marshal::{Update, ancestry::Ancestry},
    simplex::{scheme::ed25519::Scheme, types::Context},
};
use commonware_cryptography::{Digested, Digestible, ed25519::PublicKey, sha256::Digest};
use commonware_runtime::{Clock, Spawner};
use commonware_utils::{
    Acknowledgement,
    acknowledgement::Exact,
    channel::{mpsc as events, oneshot},
};
use futures_util::{
    StreamExt,
    future::{pending, select},
};
use lockweave_finality::Network;
use parking_lot::Mutex;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc;
use tracing::{error, warn};

/// How far ahead of this node's clock a block's timestamp may be before its vote waits.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(1);
/// How far ahead it may be before it gets no vote at all.
const FUTURE_MAX: Duration = Duration::from_secs(10);
/// Full blocks shall be final within this part of the time that a leader has.
const TARGET_PARTS: u32 = 3;
/// How long to wait after the pool's transactions turned out not to fit the next block.
const RETRY: Duration = Duration::from_millis(20);

/// What the chain tells of its final blocks.
#[derive(Debug)]
pub enum ChainEvent {
    /// The last block of an epoch is durable. The next block waits until `done` is dropped.
    EpochEnd {
        /// The block.
        number: u64,
        /// Dropped when the next epoch has begun.
        done: oneshot::Sender<()>,
    },
    /// The members in the state after this block are others than before.
    Members {
        /// The block.
        number: u64,
    },
}

/// An application of the consensus engine, with the types of this network.
pub trait ChainApplication<E>:
    Application<
        E,
        SigningScheme = Scheme,
        Context = Context<Digest, PublicKey>,
        Block = ListedBlock,
        Input = (),
    >
{
}

impl<E, A> ChainApplication<E> for A where
    A: Application<
            E,
            SigningScheme = Scheme,
            Context = Context<Digest, PublicKey>,
            Block = ListedBlock,
            Input = (),
        >
{
}

/// A final block that waits to become durable here.
type FinalBlock = (Digested<ListedBlock>, Exact);

/// The chain, as the consensus engine sees it.
#[derive(Clone, Debug)]
pub struct Chain {
    replica: Arc<Replica>,
    status: Arc<Status>,
    timing: Timing,
    fee_recipient: Address,
    /// When the newest block was executed here.
    last_block: Arc<Mutex<SystemTime>>,
    size: Arc<Mutex<ProposalSize>>,
    /// Held while a block executes. Those that wait here give up when their view is over.
    turn: Arc<tokio::sync::Mutex<()>>,
    final_blocks: mpsc::UnboundedSender<FinalBlock>,
}

impl Chain {
    /// The chain of a replica, and what it tells of its final blocks. Starts the task that commits them.
    pub fn new<E: Clock + Spawner>(
        context: &E,
        replica: Arc<Replica>,
        sets: &Sets,
        status: Arc<Status>,
        timing: Timing,
        fee_recipient: Address,
    ) -> (Self, events::UnboundedReceiver<ChainEvent>) {
        // Marshal sends a limited number of blocks before it waits for their acknowledgement.
        let (final_blocks, received) = mpsc::unbounded_channel();
        let target = Duration::from_millis(timing.leader_timeout) / TARGET_PARTS;
        let size = Arc::new(Mutex::new(ProposalSize::new(target)));
        let (events, told) = events::unbounded_channel();
        let committer = Committer {
            replica: Arc::clone(&replica),
            network: sets.newest().network(),
            events,
            status: Arc::clone(&status),
            size: Arc::clone(&size),
        };
        context
            .child("commit")
            .spawn(move |context| committer.run(context, received));
        let chain = Self {
            replica,
            status,
            timing,
            fee_recipient,
            last_block: Arc::new(Mutex::new(UNIX_EPOCH)),
            size,
            turn: Arc::default(),
            final_blocks,
        };
        (chain, told)
    }

    /// Executes the blocks of an ancestry that were not executed yet, newest first in the stream. Returns the
    /// newest block, or `None` if one of them is invalid.
    async fn execute<E: Clock + Spawner>(
        &self,
        context: &E,
        mut ancestry: impl Ancestry<ListedBlock>,
    ) -> Option<Digested<ListedBlock>> {
        let newest = ancestry.peek()?.clone();
        let mut missing = Vec::new();
        while !missing.last().map_or(
            self.is_known(newest.inner().hash()),
            |oldest: &Digested<ListedBlock>| self.is_known(oldest.inner().header().parent_hash),
        ) {
            missing.push(ancestry.next().await?);
        }
        while let Some(block) = missing.pop() {
            if let Err(rejection) = wait_for_time(context, block.inner().header().timestamp).await {
                self.refuse(&block, &rejection.into());
                return None;
            }
            let (replica, shared) = (Arc::clone(&self.replica), block.inner_shared());
            let turn = self.turn.lock().await;
            let verified = blocking(context, move || replica.verify(&shared)).await;
            drop(turn);
            match verified {
                Ok(()) => *self.last_block.lock() = context.current(),
                Err(error) => {
                    self.refuse(&block, &error);
                    return match error {
                        ReplicaError::Rejected(_) | ReplicaError::UnknownParent(_) => None,
                        // This node cannot tell; it does not vote.
                        _ => pending().await,
                    };
                }
            }
        }
        Some(newest)
    }

    /// Whether a block was executed here, or is durable.
    fn is_known(&self, hash: B256) -> bool {
        self.replica.knows(hash) || self.replica.node().store().number_of(hash).is_some()
    }

    fn refuse(&self, block: &Digested<ListedBlock>, error: &ReplicaError) {
        let number = block.height().get();
        let hash = block.inner().hash();
        if let ReplicaError::Rejected(rejection) = error {
            let reason = rejection.reason();
            metrics::counter!("lockweave_proposals_rejected_total", "reason" => reason)
                .increment(1);
            self.status.note_rejection();
            warn!(target: "consensus", number, %hash, reason, %error, "no vote for a proposal");
        } else {
            error!(target: "consensus", number, %hash, %error, "a proposal cannot be checked");
        }
    }

    async fn build<E: Clock + Spawner>(&self, context: &E, parent: B256) -> Option<ListedBlock> {
        let last = *self.last_block.lock();
        context.sleep_until(last + self.timing.block()).await;
        let latest = last + self.timing.empty();
        loop {
            let is_latest = context.current() >= latest;
            if is_latest || self.replica.has_work(parent) {
                let replica = Arc::clone(&self.replica);
                let turn = self.turn.lock().await;
                let began = context.current();
                let now = began.duration_since(UNIX_EPOCH).unwrap_or_default();
                let gas = (self.size.lock()).next(|hash| replica.is_ancestor(hash, parent));
                let plan = ProposalPlan {
                    parent,
                    timestamp: now.as_secs(),
                    beneficiary: self.fee_recipient,
                    empty: is_latest,
                    gas,
                };
                let proposed = blocking(context, move || replica.propose(plan)).await;
                drop(turn);
                match proposed {
                    Ok(Some(Proposal { block, gas_limits })) => {
                        (self.size.lock()).note_proposal(block.hash(), began, gas_limits);
                        *self.last_block.lock() = context.current();
                        return Some(block);
                    }
                    Ok(None) => context.sleep(RETRY).await,
                    Err(error) => {
                        error!(target: "consensus", %parent, %error, "no block can be proposed");
                        return None;
                    }
                }
                continue;
            }
            let work = pin!(self.replica.node().wait_for_work());
            select(work, pin!(context.sleep_until(latest))).await;
        }
    }
}

/// Waits until a block's timestamp is not ahead of the clock.
async fn wait_for_time<E: Clock>(context: &E, timestamp: u64) -> Result<(), Rejection> {
    let now = context.current().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let ahead = Duration::from_secs(timestamp).saturating_sub(now);
    if ahead > FUTURE_MAX {
        let seconds = ahead.as_secs();
        return Err(Rejection::Future { seconds });
    }
    context.sleep(ahead.saturating_sub(CLOCK_SKEW_MAX)).await;
    Ok(())
}

/// Runs work that takes a thread for a while.
pub(super) async fn blocking<E, T>(context: &E, work: impl FnOnce() -> T + Send + 'static) -> T
where
    E: Spawner,
    T: Send + 'static,
{
    let task = context.child("execute").shared(true);
    match task.spawn(move |_| async move { work() }).await {
        Ok(result) => result,
        // The node is stopping.
        Err(_) => pending().await,
    }
}

impl<E: Clock + Spawner> Application<E> for Chain {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = ListedBlock;
    type Input = ();

    async fn propose(
        &mut self,
        (context, _): (E, Self::Context),
        ancestry: impl Ancestry<ListedBlock>,
        (): (),
    ) -> Option<Digested<ListedBlock>> {
        let parent = self.execute(&context, ancestry).await?;
        let block = self.build(&context, parent.inner().hash()).await?;
        let digest = block.digest();
        Some(Digested::precomputed(block, digest))
    }

    async fn verify(
        &mut self,
        (context, _): (E, Self::Context),
        ancestry: impl Ancestry<ListedBlock>,
    ) -> bool {
        self.execute(&context, ancestry).await.is_some()
    }
}

impl Reporter for Chain {
    type Activity = Update<ListedBlock>;

    fn report(&mut self, update: Update<ListedBlock>) -> Feedback {
        match update {
            Update::Tip(round, height, _) => self.status.note_tip(round, height.get()),
            Update::Block(block, acknowledgement) => {
                if self.final_blocks.send((block, acknowledgement)).is_err() {
                    return Feedback::Closed;
                }
            }
        }
        Feedback::Ok
    }
}

/// Makes final blocks durable, in order.
struct Committer {
    replica: Arc<Replica>,
    network: Network,
    events: events::UnboundedSender<ChainEvent>,
    status: Arc<Status>,
    size: Arc<Mutex<ProposalSize>>,
}

impl Committer {
    async fn run<E: Clock + Spawner>(
        self,
        context: E,
        mut blocks: mpsc::UnboundedReceiver<FinalBlock>,
    ) {
        let mut changes = self.changes();
        while let Some((block, acknowledgement)) = blocks.recv().await {
            let (replica, shared) = (Arc::clone(&self.replica), block.inner_shared());
            let done = blocking(&context, move || replica.finalize(&shared)).await;
            if let Err(error) = done {
                let number = block.height().get();
                error!(target: "consensus", number, %error, "a final block cannot be committed");
                self.replica.node().fail(error.to_string());
                return;
            }
            let now = context.current();
            self.status.note_final(now);
            self.size.lock().note_final(block.inner().hash(), now);
            let number = block.height().get();
            let changes_now = self.changes();
            if changes_now != changes {
                changes = changes_now;
                let _ = self.events.send(ChainEvent::Members { number });
            }
            if self.network.epoch(number + 1) > self.network.epoch(number) {
                let (done, ended) = oneshot::channel();
                let _ = self.events.send(ChainEvent::EpochEnd { number, done });
                // The sender is dropped when the next epoch has begun.
                let _ = ended.await;
            }
            acknowledgement.acknowledge();
        }
    }

    /// How often the members have changed. An error shows where the members are read.
    fn changes(&self) -> Option<U256> {
        let node = self.replica.node();
        let state = node.store().state_at(node.head().block.number()).ok()?;
        members::changes(&*state).ok()
    }
}
