//! Transactions from node to node, so that they reach the leader wherever they came in.
//!
//! Every node is connected to every other one, so a node sends what came in from its own clients and passes
//! nothing on. What is still in the pool after a while is sent again: messages can be lost.

use crate::node::Node;
use ahash::{AHashMap, AHashSet};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::B256;
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
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tracing::{debug, warn};

/// Bytes of a message, at most.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Transactions of a message, at most.
const MESSAGE_TRANSACTIONS_MAX: usize = 4_096;
/// Time after which a transaction that is in no block is sent again.
const SEND_AGAIN: Duration = Duration::from_secs(3);
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
    // When each of this node's own transactions was sent.
    let mut own: AHashMap<B256, SystemTime> = AHashMap::new();
    // Those of the journal came before anybody listened.
    for sender in node.pool().content() {
        own.extend(
            sender
                .pending
                .iter()
                .map(|one| (one.hash, SystemTime::UNIX_EPOCH)),
        );
    }
    let mut next = context.current() + SEND_AGAIN;
    loop {
        let (received, again) = (pin!(pending.recv()), pin!(context.sleep_until(next)));
        let new = select(received, again).await;
        let now = context.current();
        let hashes: Vec<B256> = match new {
            Either::Left((Ok(hashes), _)) => {
                let foreign = foreign.lock();
                let hashes = hashes.iter().copied();
                hashes
                    .filter(|hash| !foreign.hashes.contains(hash))
                    .collect()
            }
            // Those missed are sent with the next round.
            Either::Left((Err(RecvError::Lagged(_)), _)) => {
                let senders = node.pool().content();
                let waiting = senders.iter().flat_map(|sender| &sender.pending);
                let foreign = foreign.lock();
                let hashes = waiting.map(|transaction| transaction.hash);
                hashes
                    .filter(|hash| !foreign.hashes.contains(hash) && !own.contains_key(hash))
                    .collect()
            }
            Either::Left((Err(RecvError::Closed), _)) => return,
            Either::Right(_) => {
                next = now + SEND_AGAIN;
                own.retain(|hash, _| node.pool().contains(*hash));
                let due = own.iter().filter(|(_, sent)| **sent + SEND_AGAIN <= now);
                due.map(|(hash, _)| *hash).collect()
            }
        };
        own.extend(hashes.iter().map(|hash| (*hash, now)));
        send_all(&node, &hashes, &mut sender);
    }
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
            for transaction in &transactions {
                noted.note(alloy_primitives::keccak256(transaction));
            }
            drop(noted);
            let results = submitting.submit(&transactions);
            results.iter().filter(|result| result.is_err()).count()
        };
        let refused = task.spawn(move |_| async move { submit() }).await;
        if let Ok(refused) = refused
            && refused > 0
        {
            // Most were in the pool already, or in a block.
            debug!(target: "consensus", %peer, refused, "transactions of a peer were refused");
        }
    }
}
