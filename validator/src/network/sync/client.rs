//! Fetches a snapshot.

use super::{
    message::{HANDOVERS_MAX, Message, encode_handovers},
    progress::Progress,
};
use crate::{
    network::{
        application::blocking,
        codec::digest,
        validators::sets::{Sets, participants},
    },
    snapshot::{CheckedChunk, InvalidSnapshot, Offer, Restore, Snapshot, SnapshotError},
    store::Datadir,
};
use commonware_codec::Decode as _;
use commonware_consensus::{
    Epochable as _,
    simplex::{scheme::ed25519::Scheme, types::Finalization},
};
use commonware_cryptography::{certificate::Verifier as _, ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Spawner};
use futures_util::future::{Either, select};
use rand_core::CryptoRng;
use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use thiserror::Error;
use tracing::{info, warn};

/// Peers that are asked for one snapshot, at most: each of them has to make it.
const PEERS_MAX: usize = 3;
/// Chunks that are asked for at a time, of each peer and of all, at most.
const ASKED_OF_PEER: usize = 4;
const ASKED_MAX: usize = 32;
/// Time between two questions for an offer, and between two looks at what is late.
const TICK: Duration = Duration::from_millis(250);
/// Time to wait for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Time to wait for peers that are making a snapshot.
const PREPARE_TIMEOUT: Duration = Duration::from_mins(10);
/// Time to wait for a peer that has the snapshot of an interrupted restore.
const RESUME_TIMEOUT: Duration = Duration::from_secs(15);
/// Time without progress after which the snapshot is given up.
const GIVE_UP: Duration = Duration::from_mins(1);
/// Time between two lines in the log.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// How long to wait until enough peers have told of their newest block.
const HEADS_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no snapshot.
#[derive(Debug, Error)]
pub enum SyncError {
    /// No peer has one, or none answers.
    #[error("no peer sent a snapshot for {} s", GIVE_UP.as_secs())]
    NoPeer,
    /// The node stops.
    #[error("the connections were closed")]
    Closed,
    /// It cannot be put into the data folder.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// What the client knows of a peer.
#[derive(Debug, Default)]
struct Peer {
    /// It sent something that is wrong.
    is_bad: bool,
    /// It offers the snapshot that is fetched.
    serves: bool,
    /// When it was asked for an offer last.
    asked: Option<SystemTime>,
    /// When it was heard of last, or first asked.
    heard: Option<SystemTime>,
    /// When it had no snapshot, or did not answer.
    refused: Option<SystemTime>,
    /// Chunks it was asked for, and when.
    chunks: BTreeMap<usize, SystemTime>,
}

impl Peer {
    /// It has no snapshot, or is gone. It can be asked again later.
    fn refuse(&mut self, now: SystemTime) {
        *self = Self {
            is_bad: self.is_bad,
            refused: Some(now),
            ..Self::default()
        };
    }

    /// Whether it sends chunks, or may soon.
    const fn helps(&self) -> bool {
        !self.is_bad && (self.serves || self.asked.is_some())
    }
}

/// Fetches a snapshot from peers.
pub struct Client<'c, E, S, R> {
    context: E,
    sender: &'c mut S,
    receiver: &'c mut R,
    sets: Sets,
    peers: BTreeMap<PublicKey, Peer>,
    progress: Arc<Progress>,
    /// What other nodes are told that ask for this one's newest block.
    head: u64,
}

/// A snapshot on its way.
struct Fetch {
    restore: Option<Restore>,
    number: u64,
    total: usize,
    /// Chunks that came before one that is missing.
    early: BTreeMap<usize, CheckedChunk>,
    began: SystemTime,
    /// When something came last.
    last: SystemTime,
    logged: SystemTime,
}

impl<'c, E, S, R> Client<'c, E, S, R>
where
    E: Clock + Spawner + CryptoRng,
    S: Sender<PublicKey = PublicKey>,
    R: Receiver<PublicKey = PublicKey>,
{
    /// A client of these peers. `sets` check certificates, and learn of changes; `head` is this node's newest block.
    pub fn new(
        context: E,
        channel: (&'c mut S, &'c mut R),
        sets: Sets,
        peers: impl IntoIterator<Item = PublicKey>,
        progress: Arc<Progress>,
        head: u64,
    ) -> Self {
        let (sender, receiver) = channel;
        let peers = peers.into_iter().map(|key| (key, Peer::default()));
        Self {
            context,
            sender,
            receiver,
            sets,
            peers: peers.collect(),
            progress,
            head,
        }
    }

    /// Asks validators for their newest final block. `None` if too few answer soon.
    ///
    /// Of the first answers, one more than there may be liars, the lowest counts: it is at most what an honest
    /// validator has.
    pub async fn newest(&mut self) -> Option<u64> {
        let began = self.context.current();
        let mut heads: BTreeMap<PublicKey, u64> = BTreeMap::new();
        let mut asked = None;
        loop {
            let validators = participants(&self.sets.newest());
            let answers = validators.len().saturating_sub(1) / 3 + 1;
            let voting = heads
                .iter()
                .filter(|(peer, _)| validators.position(peer).is_some());
            if voting.clone().count() >= answers {
                return voting.map(|(_, number)| *number).min();
            }
            let now = self.context.current();
            if now > began + HEADS_TIMEOUT {
                return None;
            }
            if asked.is_none_or(|asked| now >= asked + TICK) {
                asked = Some(now);
                let epoch = self.sets.newest_change();
                let message = Message::AskHead { epoch }.encode();
                self.sender.send(Recipients::All, message, false);
            }
            let received = self.receive().await.ok()?;
            if let Some((peer, Message::Head { number, handovers })) = received {
                // One that has more changes is asked again, and counts when all are known.
                let has_all = handovers.len() < HANDOVERS_MAX;
                match self.learn(&handovers) {
                    Ok(()) if has_all => drop(heads.insert(peer, number)),
                    Ok(()) => {}
                    Err(error) => {
                        warn!(target: "consensus", %peer, %error, "a peer sent a wrong change of the validators");
                        self.peers.entry(peer).or_default().is_bad = true;
                    }
                }
            }
        }
    }

    /// Checks changes of the validators, and keeps them.
    fn learn(&self, handovers: &[Vec<u8>]) -> Result<(), String> {
        for handover in handovers {
            let handover = serde_json::from_slice(handover).map_err(|error| error.to_string())?;
            (self.sets.extend(&handover)).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The next message, or `None` after a while without one. Answers what can be answered now.
    async fn receive(&mut self) -> Result<Option<(PublicKey, Message)>, SyncError> {
        let timeout = pin!(self.context.sleep(TICK));
        let received = match select(pin!(self.receiver.recv()), timeout).await {
            Either::Left((received, _)) => received.map_err(|_| SyncError::Closed)?,
            Either::Right(_) => return Ok(None),
        };
        let (peer, bytes) = received;
        let Ok(message) = borsh::from_slice::<Message>(bytes.as_ref()) else {
            warn!(target: "consensus", %peer, "a message about snapshots cannot be decoded");
            self.peers.entry(peer).or_default().is_bad = true;
            return Ok(None);
        };
        let answer = match message {
            Message::AskHead { epoch } => Message::Head {
                number: self.head,
                handovers: encode_handovers(&self.sets, epoch),
            },
            Message::AskOffer { .. } | Message::AskChunk { .. } => Message::Refused {
                why: "this node fetches a snapshot itself".to_owned(),
            },
            answer => return Ok(Some((peer, answer))),
        };
        self.send(&peer, &answer);
        Ok(None)
    }

    fn send(&mut self, peer: &PublicKey, message: &Message) {
        let to = Recipients::One(peer.clone());
        self.sender.send(to, message.encode(), false);
    }

    /// Fetches a snapshot into a data folder, whose state it replaces. Returns the block's number.
    pub async fn fetch(
        &mut self,
        datadir: &Arc<Datadir>,
        highest: u64,
        trie_memory_bytes: usize,
    ) -> Result<u64, SyncError> {
        self.progress.begin(highest);
        let progress = Arc::clone(&self.progress);
        let result = self.fetch_any(datadir, trie_memory_bytes).await;
        progress.end();
        result
    }

    async fn fetch_any(
        &mut self,
        datadir: &Arc<Datadir>,
        trie_memory_bytes: usize,
    ) -> Result<u64, SyncError> {
        if let Some(offer) = Restore::interrupted(datadir) {
            info!(target: "consensus", number = offer.number(), "goes on with a snapshot");
            if let Some(snapshot) = self.check(&offer) {
                let mut fetch = self
                    .begin(datadir, offer, snapshot, trie_memory_bytes)
                    .await?;
                match self.chunks(&mut fetch, RESUME_TIMEOUT).await {
                    Ok(()) => return self.finish(fetch, datadir).await,
                    Err(SyncError::NoPeer) => {
                        info!(target: "consensus", number = fetch.number, "no peer has that snapshot any more");
                    }
                    // Wrong chunks would have been noticed: it was the offer.
                    Err(SyncError::Snapshot(SnapshotError::Invalid(error))) => {
                        warn!(target: "consensus", %error, "the snapshot is wrong");
                    }
                    Err(error) => return Err(error),
                }
            }
            Restore::discard(datadir)?;
        }
        loop {
            let (peer, offer, snapshot) = self.offer().await?;
            let fetch = self.begin(datadir, offer, snapshot, trie_memory_bytes);
            let mut fetch = fetch.await?;
            for (key, known) in &mut self.peers {
                *known = Peer {
                    is_bad: known.is_bad,
                    serves: *key == peer,
                    ..Peer::default()
                };
            }
            match self.chunks(&mut fetch, GIVE_UP).await {
                Ok(()) => return self.finish(fetch, datadir).await,
                Err(SyncError::Snapshot(SnapshotError::Invalid(error))) => {
                    self.refuse(&peer, &error);
                    drop(fetch);
                    Restore::discard(datadir)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for an offer of one peer after the other.
    async fn offer(&mut self) -> Result<(PublicKey, Offer, Snapshot), SyncError> {
        let mut last = self.context.current();
        let mut order: Vec<PublicKey> = self.peers.keys().cloned().collect();
        // So that not all new nodes ask the same peer.
        let start = self.context.next_u32() as usize % order.len().max(1);
        order.rotate_left(start);
        let mut candidates = order.iter().cycle();
        let mut current: Option<PublicKey> = None;
        let (mut chosen, mut answered) = (last, last);
        let mut asked = None;
        loop {
            let now = self.context.current();
            if now > last + GIVE_UP {
                return Err(SyncError::NoPeer);
            }
            let is_late = now > answered + ANSWER_TIMEOUT || now > chosen + PREPARE_TIMEOUT;
            if is_late || current.is_none() {
                let mut next = candidates.by_ref().take(order.len());
                let next = next.find(|key| !self.peers[*key].is_bad).cloned();
                current = Some(next.ok_or(SyncError::NoPeer)?);
                (chosen, answered, asked) = (now, now, None);
            }
            let peer = current.clone().expect("it was chosen above");
            if asked.is_none_or(|asked| now >= asked + TICK) {
                asked = Some(now);
                self.send(&peer, &Message::AskOffer { number: None });
            }
            match self.receive().await? {
                Some((from, Message::Offer(offer))) if from == peer => {
                    if let Some(snapshot) = self.check(&offer) {
                        return Ok((peer, *offer, snapshot));
                    }
                    self.peers.entry(from).or_default().is_bad = true;
                    current = None;
                }
                Some((from, Message::Preparing { .. })) if from == peer => {
                    (answered, last) = (now, now);
                }
                Some((from, Message::Refused { .. })) if from == peer => {
                    // Another one at the next look; all may refuse for a moment.
                    self.context.sleep(TICK).await;
                    current = None;
                }
                _ => {}
            }
        }
    }

    /// Checks an offer with the certificate of its next block.
    fn check(&mut self, offer: &Offer) -> Option<Snapshot> {
        let checked = offer.clone().check().and_then(|snapshot| {
            let wrong = |why: &str| InvalidSnapshot::Finality(why.to_owned());
            let limits = Scheme::certificate_codec_config_unbounded();
            let bytes = offer.finalization.clone();
            let finalization = Finalization::<Scheme, Digest>::decode_cfg(bytes, &limits);
            let finalization =
                finalization.map_err(|_| wrong("the certificate cannot be decoded"))?;
            if finalization.proposal.payload != digest(snapshot.next()) {
                return Err(wrong("the certificate is that of another block"));
            }
            let scheme = self.sets.scheme(finalization.epoch().get());
            if !finalization.verify(&mut self.context, &scheme, &Sequential) {
                return Err(wrong("its signatures are not those of a quorum"));
            }
            Ok(snapshot)
        });
        match checked {
            Ok(snapshot) => Some(snapshot),
            Err(error) => {
                warn!(target: "consensus", %error, "a snapshot is refused");
                None
            }
        }
    }

    fn refuse(&mut self, peer: &PublicKey, error: &InvalidSnapshot) {
        warn!(target: "consensus", %peer, %error, "a peer sent a wrong snapshot; it is not asked again");
        let peer = self.peers.entry(peer.clone()).or_default();
        peer.is_bad = true;
        peer.chunks.clear();
    }

    async fn begin(
        &mut self,
        datadir: &Arc<Datadir>,
        offer: Offer,
        snapshot: Snapshot,
        trie_memory_bytes: usize,
    ) -> Result<Fetch, SyncError> {
        let datadir = Arc::clone(datadir);
        let open = move || Restore::open(&datadir, &offer, snapshot, trie_memory_bytes);
        let restore = blocking(&self.context, open).await?;
        let snapshot = restore.snapshot();
        let (number, manifest) = (snapshot.number(), snapshot.manifest());
        let (total, bytes) = (manifest.count(), manifest.bytes());
        info!(target: "consensus", number, chunks = total, bytes, have = restore.next(), "fetches a snapshot");
        let now = self.context.current();
        Ok(Fetch {
            number,
            total,
            restore: Some(restore),
            early: BTreeMap::new(),
            began: now,
            last: now,
            logged: now,
        })
    }

    /// Fetches all chunks. Gives up after `patience` without one.
    async fn chunks(&mut self, fetch: &mut Fetch, patience: Duration) -> Result<(), SyncError> {
        let mut patience = patience;
        while let Some(next) = fetch.next()
            && next < fetch.total
        {
            let now = self.context.current();
            if now > fetch.last + patience {
                return Err(SyncError::NoPeer);
            }
            self.ask(fetch, next, now);
            self.note(fetch, next, now);
            let Some((peer, message)) = self.receive().await? else {
                continue;
            };
            match message {
                Message::Offer(offer) if offer.number() == Some(fetch.number) => {
                    let restore = fetch.restore.as_ref();
                    let manifest = restore.map(|restore| restore.snapshot().manifest());
                    let known = self.peers.entry(peer).or_default();
                    // One that lies about the list has no right chunks either.
                    known.serves = manifest == Some(&offer.manifest);
                }
                Message::Preparing { number, .. } if number == fetch.number => {
                    // It will have the snapshot.
                    if now < fetch.began + PREPARE_TIMEOUT {
                        fetch.last = now;
                    }
                    self.peers.entry(peer).or_default().heard = Some(now);
                }
                Message::Refused { .. } => self.peers.entry(peer).or_default().refuse(now),
                Message::Chunk {
                    number,
                    index,
                    bytes,
                } if number == fetch.number => {
                    let index = usize::try_from(index).unwrap_or(usize::MAX);
                    let known = self.peers.entry(peer.clone()).or_default();
                    if known.chunks.remove(&index).is_none() {
                        continue;
                    }
                    if let Err(error) = self.add(fetch, index, bytes).await? {
                        self.refuse(&peer, &error);
                        continue;
                    }
                    (fetch.last, patience) = (self.context.current(), GIVE_UP);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks peers for the snapshot, and those that have it for chunks.
    fn ask(&mut self, fetch: &Fetch, next: usize, now: SystemTime) {
        let is_late = |asked: &SystemTime| now > *asked + ANSWER_TIMEOUT;
        let mut asked: BTreeSet<usize> = BTreeSet::new();
        for peer in self.peers.values_mut() {
            let is_silent = !peer.serves && peer.heard.as_ref().is_some_and(is_late);
            if is_silent || peer.chunks.values().any(is_late) {
                peer.refuse(now);
            }
            asked.extend(peer.chunks.keys());
        }
        let mut helping = self.peers.values().filter(|peer| peer.helps()).count();
        let wanted = (next..fetch.total.min(next + ASKED_MAX))
            .filter(|index| !asked.contains(index) && !fetch.early.contains_key(index));
        let mut wanted: Vec<usize> = wanted.collect();
        // The first ones are needed first.
        wanted.reverse();
        let number = fetch.number;
        let mut messages = Vec::new();
        for (key, peer) in self.peers.iter_mut().filter(|(_, peer)| !peer.is_bad) {
            if !peer.serves {
                if !peer.helps() {
                    let is_needed = helping < PEERS_MAX;
                    if !is_needed || peer.refused.as_ref().is_some_and(|at| !is_late(at)) {
                        continue;
                    }
                    helping += 1;
                    peer.heard = Some(now);
                }
                if peer.asked.is_none_or(|asked| now >= asked + 4 * TICK) {
                    peer.asked = Some(now);
                    let number = Some(number);
                    messages.push((key.clone(), Message::AskOffer { number }));
                }
                continue;
            }
            while peer.chunks.len() < ASKED_OF_PEER
                && let Some(index) = wanted.pop()
            {
                peer.chunks.insert(index, now);
                let index = index as u64;
                messages.push((key.clone(), Message::AskChunk { number, index }));
            }
        }
        for (key, message) in messages {
            self.send(&key, &message);
        }
    }

    /// Checks a chunk, and adds those that are complete up to there. The inner error is the peer's fault.
    async fn add(
        &self,
        fetch: &mut Fetch,
        index: usize,
        bytes: Vec<u8>,
    ) -> Result<Result<(), InvalidSnapshot>, SyncError> {
        let Some(mut restore) = fetch.restore.take() else {
            return Ok(Ok(()));
        };
        let mut early = std::mem::take(&mut fetch.early);
        let add = move || {
            let checked = restore.snapshot().check_chunk(index, &bytes);
            let checked = checked.map(|chunk| drop(early.insert(index, chunk)));
            let mut added = Ok(());
            while added.is_ok()
                && let Some(chunk) = early.remove(&restore.next())
            {
                added = restore.add(chunk);
            }
            (restore, early, added.map(|()| checked))
        };
        let (restore, early, added) = blocking(&self.context, add).await;
        (fetch.restore, fetch.early) = (Some(restore), early);
        Ok(added?)
    }

    fn note(&self, fetch: &mut Fetch, next: usize, now: SystemTime) {
        let peers = self.peers.values().filter(|peer| peer.serves).count();
        let (number, chunks) = (fetch.number, (next as u64, fetch.total as u64));
        self.progress.note(number, chunks, peers as u64, now);
        if now > fetch.logged + LOG_EVERY {
            fetch.logged = now;
            let status = self.progress.status();
            let eta_seconds = status.and_then(|status| status.eta_seconds);
            info!(target: "consensus", number, chunks = next, total = fetch.total, peers, eta_seconds, "fetches a snapshot");
        }
    }

    async fn finish(&mut self, fetch: Fetch, datadir: &Arc<Datadir>) -> Result<u64, SyncError> {
        let Some(restore) = fetch.restore else {
            return Err(SyncError::Closed);
        };
        let datadir = Arc::clone(datadir);
        let hash = blocking(&self.context, move || restore.finish(&datadir)).await?;
        info!(target: "consensus", number = fetch.number, %hash, "the snapshot is complete");
        Ok(fetch.number)
    }
}

impl Fetch {
    /// The first chunk that is missing.
    fn next(&self) -> Option<usize> {
        self.restore.as_ref().map(Restore::next)
    }
}
