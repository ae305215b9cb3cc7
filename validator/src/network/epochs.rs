//! One consensus engine after the other: each epoch has its own, with its validators.
//!
//! The last block of an epoch is proposed again until it is final. Then its state says who validates next, the engine
//! ends, and that of the next epoch begins with this block as its genesis.

use super::{
    application::{ChainApplication, ChainEvent},
    certificate::{self, Marshal},
    codec::digest,
    config::Timing,
    status::{Observer, Status},
    validators::{
        evidence::{Evidence, EvidenceLog},
        lines::LinesError,
        members::{self, Member, MembersError},
        sets::{Sets, SetsError, participants},
    },
};
use crate::{
    chain::ListedBlock,
    node::{Node, replica::Replica},
    store::StoreError,
};
use alloy_primitives::{B256, Bytes, U256};
use commonware_consensus::{
    Epochable as _, Reporters,
    marshal::standard::Inline,
    simplex::{
        self, Engine,
        config::{Floor, ForwardPolicy, SkipBudget, SkipPolicy},
        elector::RoundRobin,
        scheme::ed25519::Scheme,
        types::{Activity, Finalization},
    },
    types::{Epoch, FixedEpocher, Height, ViewDelta},
};
use commonware_cryptography::{
    ed25519::PublicKey,
    sha256::{Digest, Sha256},
};
use commonware_p2p::{Blocker, Channel, Message, Sender, utils::mux::MuxHandle};
use commonware_parallel::Strategy;
use commonware_runtime::{Clock, Handle, Metrics, Spawner, Storage, buffer::paged::CacheRef};
use commonware_utils::{NZDuration, NZUsize, channel::mpsc, non_empty_vec, ordered::Set};
use lockweave_finality::{Handover, contract};
use lockweave_runtime::StateError;
use rand_core::CryptoRng;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use thiserror::Error;
use tracing::{error, info, warn};

/// Views whose votes are kept after they are final.
const VIEWS_KEPT: u64 = 256;
/// Time after which an inactive leader is passed over without waiting.
const SKIP_AFTER: Duration = Duration::from_secs(5);
/// Time between repeated votes for a view that goes nowhere. The first may be lost with the connections.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Time to wait for an answer of a peer.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time between requests for the same thing.
const FETCH_RETRY: Duration = Duration::from_millis(100);

/// Told of the peers that there should be: a number that grows, the members in the state, and those who vote now.
pub type Track = Box<dyn FnMut(u64, &[Member], &Set<PublicKey>) + Send>;

/// Why an epoch cannot begin.
#[derive(Debug, Error)]
enum EpochError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Sets(#[from] SetsError),
    #[error(transparent)]
    Lines(#[from] LinesError),
    #[error("block {0} or its certificate is not stored here")]
    Missing(u64),
    #[error("the channels are closed")]
    Closed,
}

/// Everything that all engines have in common.
pub(super) struct Epochs<E, A, B, S, T>
where
    E: CryptoRng + Clock + Spawner + Storage + Metrics,
    A: ChainApplication<E>,
    S: Sender,
{
    pub(super) context: E,
    pub(super) chain: Inline<E, Scheme, A, ListedBlock, FixedEpocher>,
    pub(super) marshal: Marshal,
    pub(super) replica: Arc<Replica>,
    pub(super) sets: Sets,
    pub(super) evidence: EvidenceLog,
    pub(super) status: Arc<Status>,
    pub(super) blocker: B,
    pub(super) strategy: T,
    pub(super) timing: Timing,
    /// How the names of the vote journals begin.
    pub(super) prefix: String,
    pub(super) page_cache: CacheRef,
    pub(super) mailbox: std::num::NonZeroUsize,
    pub(super) votes: MuxHandle<S>,
    pub(super) certificates: MuxHandle<S>,
    pub(super) requests: MuxHandle<S>,
    pub(super) track: Track,
}

/// Two votes that conflict, as the consensus engine reports them.
type Conflict = Activity<Scheme, Digest>;
type Conflicts = mpsc::UnboundedSender<Conflict>;

/// Messages of epochs that have no engine here.
pub(super) type Strays = mpsc::Receiver<(Channel, Message<PublicKey>)>;

impl<E, A, B, S, T> Epochs<E, A, B, S, T>
where
    A: ChainApplication<E>,
    E: CryptoRng + Clock + Spawner + Storage + Metrics,
    B: Blocker<PublicKey = PublicKey>,
    S: Sender<PublicKey = PublicKey>,
    T: Strategy,
{
    /// Runs the engine of the epoch of the next block, and those after it. Ends if one ends by itself.
    pub(super) async fn run(
        mut self,
        finalization: Option<Finalization<Scheme, Digest>>,
        events: mpsc::UnboundedReceiver<ChainEvent>,
        strays: Strays,
    ) {
        if let Err(error) = self.run_all(finalization, events, strays).await {
            error!(target: "consensus", %error, "the epoch cannot begin");
            self.node().fail(error.to_string());
        }
    }

    async fn run_all(
        &mut self,
        finalization: Option<Finalization<Scheme, Digest>>,
        mut events: mpsc::UnboundedReceiver<ChainEvent>,
        mut strays: Strays,
    ) -> Result<(), EpochError> {
        let network = self.sets.newest().network();
        let head = self.node().head().block.number();
        let mut epoch = network.epoch(head + 1);
        if network.epoch(head) < epoch {
            // The node may have stopped between the block and what follows from it.
            self.hand_over(head).await?;
        }
        self.enter(epoch, head)?;
        let floor = finalization.filter(|known| known.proposal.round.epoch().get() == epoch);
        let floor = match floor {
            Some(finalization) => Floor::Finalized(finalization),
            None => Floor::Genesis(self.genesis_of(epoch).await?),
        };
        let (conflicts, mut found) = mpsc::unbounded_channel();
        let mut engine = self.start(epoch, floor, &conflicts).await?;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                Some((channel, (peer, _))) = strays.recv() => {
                    if channel > epoch
                        && let Some(last) = network.last_block(epoch)
                    {
                        // The others are ahead: the epoch has ended there.
                        self.marshal.hint_finalized(Height::new(last), non_empty_vec![peer]);
                    }
                    continue;
                }
                Some(conflict) = found.recv() => {
                    self.note_conflict(&conflict)?;
                    continue;
                }
                _ = &mut engine => return Ok(()),
            };
            match event {
                None => return Ok(()),
                Some(ChainEvent::Members { number }) => self.track(number)?,
                Some(ChainEvent::EpochEnd { number, done }) => {
                    let next = network.epoch(number) + 1;
                    // A block that was durable before this node started comes once more.
                    if next > epoch {
                        engine.abort();
                        self.hand_over(number).await?;
                        self.enter(next, number)?;
                        let genesis = self.genesis_of(next).await?;
                        engine = self
                            .start(next, Floor::Genesis(genesis), &conflicts)
                            .await?;
                        epoch = next;
                    }
                    drop(done);
                }
            }
        }
    }

    fn node(&self) -> &Arc<Node> {
        self.replica.node()
    }

    /// What an epoch begins with: the last block of the one before.
    async fn genesis_of(&mut self, epoch: u64) -> Result<Digest, EpochError> {
        let network = self.sets.newest().network();
        let Some(last) = epoch
            .checked_sub(1)
            .and_then(|before| network.last_block(before))
        else {
            let parameters = self.node().parameters();
            let genesis = parameters.genesis_block();
            let genesis = genesis.expect("a chain that was opened has a genesis");
            return Ok(digest(genesis.hash));
        };
        let stored = self.marshal.get_info(Height::new(last)).await;
        stored
            .map(|(_, digest)| digest)
            .ok_or(EpochError::Missing(last))
    }

    /// Reads the validators of the next epoch after the last block of one, and keeps the proof if they are others.
    async fn hand_over(&mut self, number: u64) -> Result<(), EpochError> {
        let before = self.sets.newest();
        let first_epoch = before.network().epoch(number) + 1;
        if before.first_epoch() >= first_epoch {
            return Ok(());
        }
        let store = self.node().store();
        let state = store.state_at(number)?;
        let next = members::next_set(&*state, before.network(), first_epoch);
        let next = match next {
            Ok(next) => next,
            Err(MembersError::State(error)) => return Err(error.into()),
            Err(MembersError::Set(error)) => {
                error!(target: "consensus", number, %error, "the contract has no set of validators; the old ones stay");
                return Ok(());
            }
        };
        if next.keys().eq(before.keys()) {
            return Ok(());
        }
        let missing = EpochError::Missing(number);
        let finalization = self.marshal.get_finalization(Height::new(number)).await;
        let block = store.block(number)?;
        let (Some(finalization), Some(block)) = (finalization, block) else {
            return Err(missing);
        };
        let slots = (0..next.count() as u64).map(contract::key_slot);
        let slots: Vec<U256> = slots.chain([contract::KEY_COUNT]).map(B256::into).collect();
        let proof = store.proof_at(number, contract::ADDRESS, &slots)?;
        let slots = proof.slots.into_iter().flat_map(|slot| slot.proof);
        let nodes: BTreeSet<Bytes> = proof.proof.into_iter().chain(slots).collect();
        self.sets.extend(&Handover {
            header: alloy_rlp::encode(&block.header).into(),
            certificate: certificate::certificate(&finalization),
            nodes: nodes.into_iter().collect(),
        })?;
        let (was, count) = (before.count(), next.count());
        info!(target: "consensus", number, epoch = first_epoch, was, count, "other validators begin");
        Ok(())
    }

    /// Keeps votes that conflict, if their signatures are right.
    fn note_conflict(&mut self, conflict: &Conflict) -> Result<(), LinesError> {
        let scheme = self.sets.scheme(conflict.epoch().get());
        let Some(evidence) = Evidence::of(conflict, &scheme, &mut self.context) else {
            return Ok(());
        };
        let (validator, epoch, view) = (evidence.validator, evidence.epoch, evidence.view);
        if self.evidence.keep(evidence)? {
            warn!(
                target: "consensus", %validator, epoch, view,
                "a validator signed votes that conflict; lockweave_getEvidence has the transaction that removes it"
            );
            metrics::counter!("lockweave_consensus_evidence_total").increment(1);
        }
        Ok(())
    }

    fn enter(&mut self, epoch: u64, number: u64) -> Result<(), EpochError> {
        self.sets.enter(epoch);
        self.status
            .begin_epoch(epoch, participants(&self.sets.of(epoch)));
        self.track(number)
    }

    /// Tells which peers there should be.
    fn track(&mut self, number: u64) -> Result<(), EpochError> {
        let state = self.node().store().state_at(number)?;
        let members = members::members(&*state)?;
        let network = self.sets.newest().network();
        let current = participants(&self.sets.of(network.epoch(number + 1)));
        (self.track)(number, &members, &current);
        Ok(())
    }

    async fn start(
        &mut self,
        epoch: u64,
        floor: Floor<Scheme, Digest>,
        conflicts: &Conflicts,
    ) -> Result<Handle<()>, EpochError> {
        let journal = |epoch: u64| format!("{}votes-{epoch}", self.prefix);
        if let Some(old) = epoch.checked_sub(2) {
            // Its last block is final, so nobody votes in it any more. There is none after a restart.
            let _ = self.context.remove(&journal(old), None).await;
        }
        let certification_timeout = Duration::from_millis(self.timing.certification_timeout);
        let observer = Observer {
            status: Arc::clone(&self.status),
            conflicts: conflicts.clone(),
        };
        let context = self.context.child("simplex");
        let engine = Engine::new(
            context.with_attribute("epoch", epoch),
            simplex::Config {
                scheme: self.sets.scheme(epoch),
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.blocker.clone(),
                automaton: self.chain.clone(),
                relay: self.chain.clone(),
                reporter: Reporters::from((self.chain.clone(), observer)),
                track_historical_votes: false,
                strategy: self.strategy.clone(),
                partition: journal(epoch),
                mailbox_size: self.mailbox,
                epoch: Epoch::new(epoch),
                floor,
                replay_buffer: NZUsize!(8 << 20),
                write_buffer: NZUsize!(1 << 20),
                page_cache: self.page_cache.clone(),
                leader_timeout: Duration::from_millis(self.timing.leader_timeout),
                certification_timeout,
                timeout_retry: RETRY_AFTER,
                view_retention: ViewDelta::new(VIEWS_KEPT),
                skip: SkipPolicy::Enabled {
                    timeout: SKIP_AFTER.max(2 * certification_timeout),
                    budget: SkipBudget::Participants,
                },
                fetch_timeout: NZDuration!(FETCH_TIMEOUT),
                fetch_retry_delay: FETCH_RETRY,
                forward: ForwardPolicy::Disabled,
            },
        );
        let closed = |_| EpochError::Closed;
        let votes = self.votes.register(epoch).await.map_err(closed)?;
        let certificates = self.certificates.register(epoch).await.map_err(closed)?;
        let requests = self.requests.register(epoch).await.map_err(closed)?;
        Ok(engine.start(votes, certificates, requests))
    }
}
