//! What the network is doing, as this node sees it.

use super::sync::SyncStatus;
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter,
    simplex::{
        elector::{Config as _, Elector as _, RoundRobin},
        scheme::ed25519::Scheme,
        types::{Activity, Attributable},
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    ed25519::PublicKey,
    sha256::{Digest, Sha256},
};
use commonware_utils::{channel::mpsc, ordered::Set};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::info;

/// Digits of its key that are shown for a validator that has no name here.
const UNNAMED_DIGITS: usize = 8;

/// Another node, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name; for a validator that came later, the first digits of its key.
    pub name: String,
    /// Its public key.
    pub key: String,
    /// Whether it votes.
    pub validator: bool,
    /// Whether there is a connection to it.
    pub connected: bool,
    /// The view of its last vote seen, if any.
    pub last_vote: Option<u64>,
}

/// What the network is doing, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkStatus {
    /// The node's name.
    pub name: String,
    /// Whether it votes.
    pub validator: bool,
    /// The newest block that is durable here.
    pub height: u64,
    /// The newest block that is final in the network, as far as this node knows.
    pub finalized: u64,
    /// Blocks that are final in the network and not durable here.
    pub lag: u64,
    /// The current epoch. Each has its validators.
    pub epoch: u64,
    /// The current view of the epoch.
    pub view: u64,
    /// The name of the current view's leader.
    pub leader: String,
    /// Views that ended without a block since the start.
    pub timeouts: u64,
    /// Proposals that got no vote from this node since the start.
    pub rejected: u64,
    /// Milliseconds since a block became final here.
    pub since_final_ms: Option<u64>,
    /// How far it is with a snapshot, if it fetches one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncStatus>,
    /// The other nodes.
    pub peers: Vec<PeerStatus>,
}

/// A node's name with its key.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The key.
    pub key: PublicKey,
}

#[derive(Debug, Default)]
struct Inner {
    epoch: u64,
    validators: Set<PublicKey>,
    view: u64,
    tip: u64,
    timeouts: u64,
    rejected: u64,
    last_final: Option<SystemTime>,
    last_votes: BTreeMap<usize, u64>,
}

/// What is noted while the node runs.
#[derive(Debug)]
pub struct Status {
    name: String,
    key: PublicKey,
    nodes: Vec<Named>,
    inner: Mutex<Inner>,
}

impl Status {
    /// Nothing noted yet, for a node of these.
    pub fn new(own: Named, validators: Set<PublicKey>, nodes: Vec<Named>) -> Self {
        Self {
            name: own.name,
            key: own.key,
            nodes,
            inner: Mutex::new(Inner {
                validators,
                ..Inner::default()
            }),
        }
    }

    /// Another epoch begins, with these validators. Views are counted anew.
    pub(super) fn begin_epoch(&self, epoch: u64, validators: Set<PublicKey>) {
        let mut inner = self.inner.lock();
        if epoch > inner.epoch {
            (inner.view, inner.last_votes) = (0, BTreeMap::new());
        }
        (inner.epoch, inner.validators) = (epoch, validators);
    }

    pub(super) fn note_tip(&self, round: Round, height: u64) {
        let mut inner = self.inner.lock();
        inner.tip = inner.tip.max(height);
        drop(inner);
        self.enter(after(round));
    }

    pub(super) fn note_rejection(&self) {
        self.inner.lock().rejected += 1;
    }

    pub(super) fn note_final(&self, now: SystemTime) {
        self.inner.lock().last_final = Some(now);
    }

    /// Time since a block became final here; `None` if none did since the start.
    pub(super) fn since_final(&self, now: SystemTime) -> Option<Duration> {
        let last = self.inner.lock().last_final?;
        Some(now.duration_since(last).unwrap_or_default())
    }

    /// The newest block known to be final.
    pub(super) fn tip(&self) -> u64 {
        self.inner.lock().tip
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
    fn enter(&self, round: Round) {
        let view = round.view().get();
        let mut inner = self.inner.lock();
        if round.epoch().get() == inner.epoch && view > inner.view {
            inner.view = view;
            metrics::gauge!("lockweave_consensus_view").set(view as f64);
        }
    }

    fn leader(&self, validators: &Set<PublicKey>, round: Round) -> String {
        let elector = RoundRobin::<Sha256>::default();
        let elector: <RoundRobin<Sha256> as commonware_consensus::simplex::elector::Config<
            Scheme,
        >>::Elector = elector.build(validators);
        let leader = elector.elect(round, ());
        let key = validators.get(leader.get() as usize);
        key.map_or_else(String::new, |key| self.name_of(key))
    }

    fn name_of(&self, key: &PublicKey) -> String {
        let named = self.nodes.iter().find(|node| node.key == *key);
        named.map_or_else(
            || super::keys::to_text(key)[..UNNAMED_DIGITS].to_owned(),
            |node| node.name.clone(),
        )
    }

    /// The state of things. `connected` has the public keys of the nodes that there is a connection to.
    pub fn snapshot(
        &self,
        height: u64,
        connected: &BTreeSet<String>,
        now: SystemTime,
    ) -> NetworkStatus {
        let since_final = self.since_final(now);
        let inner = self.inner.lock();
        let (epoch, view, tip) = (inner.epoch, inner.view, inner.tip.max(height));
        let validators = inner.validators.clone();
        let (timeouts, rejected) = (inner.timeouts, inner.rejected);
        let last_votes = inner.last_votes.clone();
        drop(inner);
        // Validators that came later have no name here.
        let named = self.nodes.iter().map(|node| &node.key);
        let unnamed = validators.iter();
        let unnamed = unnamed.filter(|key| self.nodes.iter().all(|node| node.key != **key));
        let others = named.chain(unnamed).filter(|key| **key != self.key);
        let peers = others.map(|public| {
            let index = validators.position(public);
            let key = super::keys::to_text(public);
            PeerStatus {
                name: self.name_of(public),
                connected: connected.contains(&key),
                key,
                validator: index.is_some(),
                last_vote: index.and_then(|index| last_votes.get(&index).copied()),
            }
        });
        NetworkStatus {
            name: self.name.clone(),
            validator: validators.position(&self.key).is_some(),
            height,
            finalized: tip,
            lag: tip - height,
            epoch,
            view,
            leader: self.leader(
                &validators,
                Round::new(Epoch::new(epoch), View::new(view.max(1))),
            ),
            timeouts,
            rejected,
            since_final_ms: since_final
                .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            sync: None,
            peers: peers.collect(),
        }
    }
}

/// The round after another one, in the same epoch.
const fn after(round: Round) -> Round {
    Round::new(round.epoch(), round.view().next())
}

/// Notes the votes and certificates that the consensus engine reports.
#[derive(Clone, Debug)]
pub(super) struct Observer {
    pub(super) status: Arc<Status>,
    /// Where votes go that conflict, and are not checked yet.
    pub(super) conflicts: mpsc::UnboundedSender<Activity<Scheme, Digest>>,
}

impl Reporter for Observer {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let status = &self.status;
        let vote = |signer: commonware_utils::Participant, round: Round| {
            let (epoch, view) = (round.epoch().get(), round.view());
            let mut inner = status.inner.lock();
            if epoch != inner.epoch {
                return;
            }
            let last = inner.last_votes.entry(signer.get() as usize).or_default();
            *last = view.get().max(*last);
            metrics::counter!("lockweave_consensus_votes_total").increment(1);
        };
        match &activity {
            Activity::Notarize(one) => vote(one.signer(), one.round()),
            Activity::Nullify(one) => vote(one.signer(), one.round()),
            Activity::Finalize(one) => vote(one.signer(), one.round()),
            Activity::Notarization(one) | Activity::Certification(one) => {
                status.enter(after(one.round()));
            }
            Activity::Finalization(one) => status.enter(after(one.round())),
            Activity::Nullification(one) => {
                let view = one.round.view().get();
                let mut inner = status.inner.lock();
                inner.timeouts += 1;
                let validators = inner.validators.clone();
                drop(inner);
                metrics::counter!("lockweave_consensus_timeouts_total").increment(1);
                let leader = status.leader(&validators, one.round);
                info!(target: "consensus", view, leader, "the view ended without a block: its leader was silent, slow, or proposed what a quorum refused");
                status.enter(after(one.round));
            }
            Activity::ConflictingNotarize(_)
            | Activity::ConflictingFinalize(_)
            | Activity::NullifyFinalize(_) => {
                // Without a receiver the node is stopping.
                let _ = self.conflicts.send(activity);
            }
        }
        Feedback::Ok
    }
}
