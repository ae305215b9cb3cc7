//! Transactions from node to node, so that they reach the leader wherever they came in.
//!
//! Every node is connected to every other one, so a node sends what came in from its own clients and passes
//! nothing on. What is still in the pool after a while is sent again: messages can be lost.

use crate::node::Node;
use ahash::{AHashMap, AHashSet};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{B256, keccak256};
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::{Receiver as PeerReceiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner};
use futures_util::future::{Either, select};
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};
use tracing::{debug, warn};

/// Bytes of a message, at most.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Transactions of a message, at most.
const MESSAGE_TRANSACTIONS_MAX: usize = 4_096;
/// How long transactions are gathered before they are sent: messages and senders of many cost much less each.
const GATHER: Duration = Duration::from_millis(5);
/// Time after which a transaction that is in no block is sent again. It doubles each time.
const SEND_AGAIN: Duration = Duration::from_secs(3);
/// How often the time doubles, at most.
const DOUBLINGS_MAX: u32 = 5;
/// Hashes of others' transactions that are remembered.
const REMEMBERED_MAX: usize = 1 << 17;

/// Encoded transactions (EIP-2718).
#[derive(BorshSerialize, BorshDeserialize)]
struct Message {
    transactions: Vec<Vec<u8>>,
}

/// The transactions that came from other nodes.
#[derive(Debug, Default)]
struct Foreign {
    hashes: AHashSet<B256>,
    order: VecDeque<B256>,
}

impl Foreign {
    fn note(&mut self, hash: B256) {
        if self.hashes.insert(hash) {
            self.order.push_back(hash);
            if self.order.len() > REMEMBERED_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.hashes.remove(&oldest);
            }
        }
    }
}

/// Sends this node's transactions and takes those of others, until the node stops.
pub(super) fn start<E, S, R>(context: &E, node: &Arc<Node>, (sender, receiver): (S, R))
where
    E: Clock + Spawner,
    S: Sender<PublicKey = PublicKey>,
    R: PeerReceiver<PublicKey = PublicKey>,
{
    let foreign = Arc::new(Mutex::new(Foreign::default()));
    let (sending, noted) = (Arc::clone(node), Arc::clone(&foreign));
    // Before anything can be submitted, so that nothing is missed.
    let pending = node.events().pending();
    context
        .child("gossip_send")
        .spawn(move |context| send(context, sending, pending, noted, sender));
    let receiving = Arc::clone(node);
    context
        .child("gossip_receive")
        .spawn(move |context| receive(context, receiving, foreign, receiver));
}

/// A transaction of this node that was sent.
#[derive(Clone, Copy)]
struct Sent {
    times: u32,
    again: SystemTime,
}

impl Sent {
    fn once(now: SystemTime) -> Self {
        Self {
            times: 1,
            again: now + SEND_AGAIN,
        }
    }

    fn once_more(&mut self, now: SystemTime) {
        self.again = now + SEND_AGAIN * (1 << self.times.min(DOUBLINGS_MAX));
        self.times += 1;
    }
}

async fn send<E, S>(
    context: E,
    node: Arc<Node>,
    mut pending: Receiver<Arc<[B256]>>,
    foreign: Arc<Mutex<Foreign>>,
    mut sender: S,
) where
    E: Clock + Spawner,
    S: Sender<PublicKey = PublicKey>,
{
    let mut own: AHashMap<B256, Sent> = AHashMap::new();
    // Those of the journal came before anybody listened.
    let journal = Sent {
        times: 0,
        again: SystemTime::UNIX_EPOCH,
    };
    for sender in node.pool().content() {
        own.extend(sender.pending.iter().map(|one| (one.hash, journal)));
    }
    let mut next = context.current() + SEND_AGAIN;
    loop {
        let new = {
            let (received, again) = (pin!(pending.recv()), pin!(context.sleep_until(next)));
            match select(received, again).await {
                Either::Left((received, _)) => Some(received),
                Either::Right(_) => None,
            }
        };
        let now = context.current();
        let hashes: Vec<B256> = match new {
            Some(Err(RecvError::Closed)) => return,
            Some(first) => {
                context.sleep(GATHER).await;
                let new = gather(first.ok().as_deref(), &mut pending, &node);
                let foreign = foreign.lock();
                let hashes = new.into_iter();
                hashes
                    .filter(|hash| !foreign.hashes.contains(hash) && !own.contains_key(hash))
                    .collect()
            }
            None => {
                next = now + SEND_AGAIN;
                own.retain(|hash, _| node.pool().contains(*hash));
                let due = own.iter_mut().filter(|(_, sent)| sent.again <= now);
                due.map(|(hash, sent)| {
                    sent.once_more(now);
                    *hash
                })
                .collect()
            }
        };
        for hash in &hashes {
            own.entry(*hash).or_insert_with(|| Sent::once(now));
        }
        send_all(&node, &hashes, &mut sender);
    }
}

/// The transactions announced so far; all that wait if the channel lost some. `first` is `None` if it did already.
fn gather(first: Option<&[B256]>, pending: &mut Receiver<Arc<[B256]>>, node: &Node) -> Vec<B256> {
    let mut is_complete = first.is_some();
    let mut hashes = first.unwrap_or_default().to_vec();
    loop {
        match pending.try_recv() {
            Ok(more) => hashes.extend_from_slice(&more),
            Err(TryRecvError::Lagged(_)) => is_complete = false,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    if is_complete {
        return hashes;
    }
    let senders = node.pool().content();
    let waiting = senders.iter().flat_map(|sender| &sender.pending);
    waiting.map(|transaction| transaction.hash).collect()
}

/// Sends transactions that are still in the pool.
fn send_all(node: &Node, hashes: &[B256], sender: &mut impl Sender<PublicKey = PublicKey>) {
    let mut transactions = Vec::new();
    let mut bytes = 0;
    let mut flush = |transactions: &mut Vec<Vec<u8>>| {
        if !transactions.is_empty() {
            let message = Message {
                transactions: std::mem::take(transactions),
            };
            let message = borsh::to_vec(&message).expect("a vector can be written to");
            sender.send(Recipients::All, message, false);
        }
    };
    for hash in hashes {
        let Some(transaction) = node.pool().get(*hash) else {
            continue;
        };
        let encoded = transaction.transaction.envelope().encoded_2718();
        if bytes + encoded.len() > MESSAGE_BYTES_MAX
            || transactions.len() >= MESSAGE_TRANSACTIONS_MAX
        {
            flush(&mut transactions);
            bytes = 0;
        }
        bytes += encoded.len();
        transactions.push(encoded);
    }
    flush(&mut transactions);
}

async fn receive<E, R>(context: E, node: Arc<Node>, foreign: Arc<Mutex<Foreign>>, mut receiver: R)
where
    E: Spawner,
    R: PeerReceiver<PublicKey = PublicKey>,
{
    while let Ok((peer, message)) = receiver.recv().await {
        let Ok(Message { transactions }) = borsh::from_slice(message.as_ref()) else {
            warn!(target: "consensus", %peer, "a message with transactions cannot be decoded");
            continue;
        };
        let (submitting, foreign) = (Arc::clone(&node), Arc::clone(&foreign));
        let task = context.child("submit").shared(true);
        let submit = move || {
            let mut noted = foreign.lock();
            let mut new = Vec::with_capacity(transactions.len());
            for transaction in transactions {
                let hash = keccak256(&transaction);
                noted.note(hash);
                // What is here already was sent again. Its sender is not recovered again.
                if !submitting.pool().contains(hash) {
                    new.push(transaction);
                }
            }
            drop(noted);
            let results = submitting.submit(&new);
            results.iter().filter(|result| result.is_err()).count()
        };
        let refused = task.spawn(move |_| async move { submit() }).await;
        if let Ok(refused) = refused
            && refused > 0
        {
            // Most are in a block already.
            debug!(target: "consensus", %peer, refused, "transactions of a peer were refused");
        }
    }
}
