//! Makes snapshots and sends them.

use super::message::{Message, encode_handovers};
use crate::{
    network::{application::blocking, certificate::Marshal, validators::sets::Sets},
    node::Node,
    snapshot::{Chunks, Offer},
};
use commonware_codec::Encode as _;
use commonware_consensus::types::Height;
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner};
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use std::{
    fs,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};
use tracing::{info, warn};

/// Time without a request after which a snapshot is removed.
const KEPT: Duration = Duration::from_mins(10);
/// Time without a request after which another snapshot may replace it.
const REPLACED_AFTER: Duration = Duration::from_secs(30);
/// A snapshot of a block that is further behind is not offered to those who ask for any.
const OFFERED_BLOCKS: u64 = 2_000;
/// Blocks that are searched for one with a certificate.
const SEARCHED_BLOCKS: u64 = 64;
/// How often it is looked whether a snapshot can be removed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a server needs.
pub(in crate::network) struct ServerConfig {
    pub(in crate::network) node: Arc<Node>,
    pub(in crate::network) marshal: Marshal,
    pub(in crate::network) sets: Sets,
    /// Where snapshots are made; nothing else is there.
    pub(in crate::network) folder: PathBuf,
}

/// A snapshot that is complete.
struct Ready {
    offer: Offer,
    chunks: Chunks,
}

/// The snapshot that there is, and the one that is being made.
#[derive(Default)]
struct Snapshots {
    ready: Option<(u64, Arc<Ready>)>,
    used: Option<SystemTime>,
    preparing: Option<(u64, Arc<AtomicU64>)>,
}

/// Answers requests of peers.
pub(in crate::network) struct Server {
    config: ServerConfig,
    snapshots: Arc<Mutex<Snapshots>>,
}

impl Server {
    /// Serves until the node stops.
    pub(in crate::network) fn start<E, S, R>(context: &E, config: ServerConfig, channel: (S, R))
    where
        E: Clock + Spawner,
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        // From before a restart. What cannot be removed fails when a snapshot is made.
        let _ = fs::remove_dir_all(&config.folder);
        let server = Self {
            config,
            snapshots: Arc::default(),
        };
        context
            .child("snapshots")
            .spawn(move |context| server.run(context, channel));
    }

    async fn run<E, S, R>(self, context: E, (mut sender, mut receiver): (S, R))
    where
        E: Clock + Spawner,
        S: Sender<PublicKey = PublicKey>,
        R: Receiver<PublicKey = PublicKey>,
    {
        loop {
            let look = pin!(context.sleep(LOOK_EVERY));
            let (peer, message) = match select(pin!(receiver.recv()), look).await {
                Either::Left((Ok(message), _)) => message,
                Either::Left((Err(_), _)) => return,
                Either::Right(_) => {
                    self.remove_unused(context.current());
                    continue;
                }
            };
            let Ok(message) = borsh::from_slice(message.as_ref()) else {
                warn!(target: "consensus", %peer, "a message about snapshots cannot be decoded");
                continue;
            };
            if let Some(answer) = self.answer(&context, message).await {
                sender.send(Recipients::One(peer), answer.encode(), false);
            }
        }
    }

    async fn answer<E: Clock + Spawner>(&self, context: &E, message: Message) -> Option<Message> {
        match message {
            Message::AskHead { epoch } => {
                let number = self.config.node.head().block.number();
                let handovers = encode_handovers(&self.config.sets, epoch);
                Some(Message::Head { number, handovers })
            }
            Message::AskOffer { number } => Some(self.offer(context, number).await),
            Message::AskChunk { number, index } => Some(self.chunk(context, number, index)),
            // Answers that came too late.
            _ => None,
        }
    }

    fn chunk<E: Clock>(&self, context: &E, number: u64, index: u64) -> Message {
        let mut snapshots = self.snapshots.lock();
        snapshots.used = Some(context.current());
        let ready = snapshots.ready.clone();
        drop(snapshots);
        let Some((_, ready)) = ready.filter(|(ready, _)| *ready == number) else {
            return refused(format!("there is no snapshot of block {number}"));
        };
        let place = usize::try_from(index).unwrap_or(usize::MAX);
        match ready.chunks.read(place) {
            Ok(Some(bytes)) => Message::Chunk {
                number,
                index,
                bytes,
            },
            Ok(None) => refused(format!("the snapshot has no chunk {index}")),
            Err(error) => {
                warn!(target: "consensus", %error, "a snapshot cannot be read");
                refused("the snapshot cannot be read".to_owned())
            }
        }
    }

    async fn offer<E: Clock + Spawner>(&self, context: &E, wanted: Option<u64>) -> Message {
        let now = context.current();
        let head = self.config.node.head().block.number();
        {
            let mut snapshots = self.snapshots.lock();
            if let Some((number, done)) = &snapshots.preparing {
                return if wanted.is_none_or(|wanted| wanted == *number) {
                    Message::Preparing {
                        number: *number,
                        done: done.load(Relaxed),
                    }
                } else {
                    refused(format!("a snapshot of block {number} is being made"))
                };
            }
            if let Some((number, ready)) = snapshots.ready.clone() {
                let is_recent = number + OFFERED_BLOCKS >= head;
                if wanted.map_or(is_recent, |wanted| wanted == number) {
                    snapshots.used = Some(now);
                    return Message::Offer(Box::new(ready.offer.clone()));
                }
                let unused = snapshots.used.map(|used| now.duration_since(used));
                if unused.is_some_and(|unused| unused.is_ok_and(|time| time < REPLACED_AFTER)) {
                    return refused(format!("the snapshot of block {number} is being fetched"));
                }
            }
        }
        // Only this task begins snapshots.
        let Some((number, finalization)) = self.find(wanted, head).await else {
            return refused(
                "the state is not kept, or its successor has no certificate".to_owned(),
            );
        };
        let done = Arc::new(AtomicU64::new(0));
        self.snapshots.lock().preparing = Some((number, Arc::clone(&done)));
        info!(target: "consensus", number, "makes a snapshot for a peer");
        self.prepare(context, number, finalization, done);
        Message::Preparing { number, done: 0 }
    }

    /// The block of a snapshot, and what proves the next block final.
    async fn find(&self, wanted: Option<u64>, head: u64) -> Option<(u64, Vec<u8>)> {
        let oldest = self.config.node.store().oldest_state().max(1);
        let candidates = match wanted {
            Some(wanted) => wanted..wanted.checked_add(1)?,
            None => head.saturating_sub(SEARCHED_BLOCKS)..head,
        };
        for number in candidates.rev().filter(|number| *number >= oldest) {
            let next = Height::new(number + 1);
            if number < head
                && let Some(finalization) = self.config.marshal.get_finalization(next).await
            {
                return Some((number, finalization.encode().to_vec()));
            }
        }
        None
    }

    fn prepare<E: Clock + Spawner>(
        &self,
        context: &E,
        number: u64,
        finalization: Vec<u8>,
        done: Arc<AtomicU64>,
    ) {
        let node = Arc::clone(&self.config.node);
        let folder = self.config.folder.join(number.to_string());
        let snapshots = Arc::clone(&self.snapshots);
        context.child("snapshot").spawn(move |context| async move {
            let began = context.current();
            let work = move || {
                let store = node.store();
                let chunks =
                    Chunks::create(store, number, &folder, |parts| done.store(parts, Relaxed))?;
                let manifest = chunks.manifest().clone();
                let offer = Offer::new(store, number, manifest, finalization)?;
                Ok::<_, crate::snapshot::SnapshotError>(Ready { offer, chunks })
            };
            let made = blocking(&context, work).await;
            let now = context.current();
            let mut snapshots = snapshots.lock();
            snapshots.preparing = None;
            match made {
                Ok(ready) => {
                    let manifest = &ready.offer.manifest;
                    let seconds = now.duration_since(began).unwrap_or_default().as_secs_f64();
                    let (chunks, bytes) = (manifest.count(), manifest.bytes());
                    info!(target: "consensus", number, chunks, bytes, seconds, "made a snapshot");
                    snapshots.ready = Some((number, Arc::new(ready)));
                    snapshots.used = Some(now);
                }
                Err(error) => {
                    warn!(target: "consensus", number, %error, "a snapshot cannot be made");
                }
            }
        });
    }

    fn remove_unused(&self, now: SystemTime) {
        let mut snapshots = self.snapshots.lock();
        let unused = snapshots.used.map(|used| now.duration_since(used));
        if unused.is_some_and(|unused| unused.is_ok_and(|unused| unused > KEPT)) {
            snapshots.ready = None;
        }
    }
}

fn refused(why: String) -> Message {
    Message::Refused { why }
}
