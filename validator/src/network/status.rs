//! What the network is doing, as this node sees it.

use super::sync::SyncStatus;
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Viewable,
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
use commonware_utils::ordered::Set;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// Evidence of conflicting votes that is kept, at most.
const EVIDENCE_MAX: usize = 1_000;

/// Another node, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerStatus {
    /// Its name.
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
    /// The current view.
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
    view: u64,
    tip: u64,
    timeouts: u64,
    rejected: u64,
    last_final: Option<SystemTime>,
    last_votes: BTreeMap<usize, u64>,
    evidence: Vec<Activity<Scheme, Digest>>,
}

/// What is noted while the node runs.
#[derive(Debug)]
pub struct Status {
    name: String,
    key: PublicKey,
    validators: Set<PublicKey>,
    nodes: Vec<Named>,
    inner: Mutex<Inner>,
}

impl Status {
    /// Nothing noted yet, for a node of these.
    pub fn new(own: Named, validators: Set<PublicKey>, nodes: Vec<Named>) -> Self {
        Self {
            name: own.name,
            key: own.key,
            validators,
            nodes,
            inner: Mutex::default(),
        }
    }

    pub(super) fn note_tip(&self, round: Round, height: u64) {
        let mut inner = self.inner.lock();
        inner.tip = inner.tip.max(height);
        drop(inner);
        self.enter(round.view().get() + 1);
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

    /// Conflicting votes that were seen.
    pub(super) fn evidence(&self) -> Vec<Activity<Scheme, Digest>> {
        self.inner.lock().evidence.clone()
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point")]
    fn enter(&self, view: u64) {
        let mut inner = self.inner.lock();
        if view > inner.view {
            inner.view = view;
            metrics::gauge!("lockweave_consensus_view").set(view as f64);
        }
    }

    fn leader(&self, view: u64) -> String {
        let elector = RoundRobin::<Sha256>::default();
        let elector: <RoundRobin<Sha256> as commonware_consensus::simplex::elector::Config<
            Scheme,
        >>::Elector = elector.build(&self.validators);
        let round = Round::new(Epoch::zero(), View::new(view.max(1)));
        let leader = elector.elect(round, ());
        let key = self.validators.get(leader.get() as usize);
        key.map_or_else(String::new, |key| self.name_of(key))
    }

    fn name_of(&self, key: &PublicKey) -> String {
        let named = self.nodes.iter().find(|node| node.key == *key);
        named.map_or_else(|| super::keys::to_text(key), |node| node.name.clone())
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
        let (view, tip) = (inner.view, inner.tip.max(height));
        let (timeouts, rejected) = (inner.timeouts, inner.rejected);
        let last_votes = inner.last_votes.clone();
        drop(inner);
        let peers = self.nodes.iter().filter(|node| node.key != self.key);
        let peers = peers.map(|node| {
            let index = self.validators.position(&node.key);
            let key = super::keys::to_text(&node.key);
            PeerStatus {
                name: node.name.clone(),
                connected: connected.contains(&key),
                key,
                validator: index.is_some(),
                last_vote: index.and_then(|index| last_votes.get(&index).copied()),
            }
        });
        NetworkStatus {
            name: self.name.clone(),
            validator: self.validators.position(&self.key).is_some(),
            height,
            finalized: tip,
            lag: tip - height,
            view,
            leader: self.leader(view),
            timeouts,
            rejected,
            since_final_ms: since_final
                .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
            sync: None,
            peers: peers.collect(),
        }
    }
}

/// Notes the votes and certificates that the consensus engine reports.
#[derive(Clone, Debug)]
pub(super) struct Observer(pub(super) Arc<Status>);

impl Reporter for Observer {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let status = &self.0;
        let vote = |signer: commonware_utils::Participant, view: View| {
            let mut inner = status.inner.lock();
            let last = inner.last_votes.entry(signer.get() as usize).or_default();
            *last = view.get().max(*last);
            metrics::counter!("lockweave_consensus_votes_total").increment(1);
        };
        match &activity {
            Activity::Notarize(one) => vote(one.signer(), one.view()),
            Activity::Nullify(one) => vote(one.signer(), one.view()),
            Activity::Finalize(one) => vote(one.signer(), one.view()),
            Activity::Notarization(one) | Activity::Certification(one) => {
                status.enter(one.view().get() + 1);
            }
            Activity::Finalization(one) => status.enter(one.view().get() + 1),
            Activity::Nullification(one) => {
                let view = one.view().get();
                status.inner.lock().timeouts += 1;
                metrics::counter!("lockweave_consensus_timeouts_total").increment(1);
                let leader = status.leader(view);
                info!(target: "consensus", view, leader, "the view ended without a block: its leader was silent, slow, or proposed what a quorum refused");
                status.enter(view + 1);
            }
            Activity::ConflictingNotarize(_)
            | Activity::ConflictingFinalize(_)
            | Activity::NullifyFinalize(_) => {
                warn!(target: "consensus", ?activity, "a validator voted twice");
                metrics::counter!("lockweave_consensus_evidence_total").increment(1);
                let mut inner = status.inner.lock();
                if inner.evidence.len() < EVIDENCE_MAX {
                    inner.evidence.push(activity);
                }
            }
        }
        Feedback::Ok
    }
}
