//! Subscriptions of one WebSocket connection.

use super::{
    context::RpcContext,
    error::RpcError,
    filters::random_id,
    format, logs,
    message::{Params, Reply, reply},
};
use crate::node::BlockEvent;
use ahash::AHashMap;
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::Filter;
use parking_lot::Mutex;
use serde::Serialize;
use std::sync::Arc;
use tokio::{
    runtime::Handle,
    sync::{broadcast, mpsc},
    task::JoinHandle,
};

/// One WebSocket connection.
#[derive(Debug)]
pub(super) struct Session {
    runtime: Handle,
    /// To the connection's writer. A full one means a client that does not read.
    out: mpsc::Sender<String>,
    subscriptions: Mutex<AHashMap<u128, JoinHandle<()>>>,
}

/// What a subscription is told.
#[derive(Clone, Debug)]
enum Kind {
    Heads,
    Logs(Box<Filter>),
    Pending,
    FullPending,
}

impl Session {
    pub(super) fn new(runtime: Handle, out: mpsc::Sender<String>) -> Self {
        Self {
            runtime,
            out,
            subscriptions: Mutex::default(),
        }
    }

    pub(super) fn subscribe(&self, context: &RpcContext, params: &Params<'_>) -> Reply {
        let kind: String = params.required(0, "subscription")?;
        let kind = match kind.as_str() {
            "newHeads" => Kind::Heads,
            "logs" => {
                let rest = Params(params.0.get(1..).unwrap_or_default().to_vec());
                let filter = if rest.raw(0).is_some() {
                    logs::parse_filter(&rest)?
                } else {
                    Filter::default()
                };
                Kind::Logs(Box::new(filter))
            }
            "newPendingTransactions" => {
                if params.optional(1, "full transactions")?.unwrap_or(false) {
                    Kind::FullPending
                } else {
                    Kind::Pending
                }
            }
            "syncing" => return Err(RpcError::server("the node never syncs: it has every block")),
            other => {
                return Err(RpcError::invalid_params(format!(
                    "no {other:?} subscription in eth namespace"
                )));
            }
        };
        let mut subscriptions = self.subscriptions.lock();
        subscriptions.retain(|_, task| !task.is_finished());
        if subscriptions.len() >= context.config.subscriptions_per_connection_max {
            return Err(RpcError::limit(format!(
                "a connection may have {} subscriptions",
                context.config.subscriptions_per_connection_max
            )));
        }
        let id = random_id();
        let channel = Channel {
            id: U128::from(id),
            out: self.out.clone(),
        };
        let node = Arc::clone(&context.node);
        // Listening begins here, so that nothing after the answer is missed.
        let task = match kind {
            Kind::Heads => self.runtime.spawn(heads(channel, node.events().blocks())),
            Kind::Logs(filter) => {
                (self.runtime).spawn(new_logs(channel, node.events().blocks(), filter))
            }
            Kind::Pending => self
                .runtime
                .spawn(pending(channel, node.events().pending())),
            Kind::FullPending => {
                let receiver = node.events().pending();
                self.runtime.spawn(full_pending(channel, receiver, node))
            }
        };
        subscriptions.insert(id, task);
        reply(U128::from(id))
    }

    pub(super) fn unsubscribe(&self, params: &Params<'_>) -> Reply {
        let id: U128 = params.required(0, "subscription id")?;
        let task = self.subscriptions.lock().remove(&id.to());
        let found = task.is_some();
        if let Some(task) = task {
            task.abort();
        }
        reply(found)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for (_, task) in self.subscriptions.get_mut().drain() {
            task.abort();
        }
    }
}

/// The way of one subscription's notifications to its client.
struct Channel {
    id: U128,
    out: mpsc::Sender<String>,
}

/// The client went away, or does not read.
struct Gone;

impl Channel {
    fn send(&self, result: &str) -> Result<(), Gone> {
        let id = self.id;
        let message = format!(
            r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{id:#x}","result":{result}}}}}"#
        );
        self.out.try_send(message).map_err(|_| Gone)
    }

    fn send_value(&self, value: &impl Serialize) -> Result<(), Gone> {
        self.send(&serde_json::to_string(value).map_err(|_| Gone)?)
    }
}

/// The next event. A listener that was too slow goes on with what is still there.
async fn next<T: Clone>(receiver: &mut broadcast::Receiver<T>) -> Option<T> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

async fn heads(channel: Channel, mut receiver: broadcast::Receiver<Arc<BlockEvent>>) {
    while let Some(event) = next(&mut receiver).await {
        let header = event.json(|block| {
            serde_json::to_string(&format::header(block)).unwrap_or_else(|_| "null".to_owned())
        });
        if channel.send(header).is_err() {
            return;
        }
    }
}

async fn new_logs(
    channel: Channel,
    mut receiver: broadcast::Receiver<Arc<BlockEvent>>,
    filter: Box<Filter>,
) {
    while let Some(event) = next(&mut receiver).await {
        if !filter.matches_bloom(event.block().header.logs_bloom) {
            continue;
        }
        let mut found = Vec::new();
        logs::collect(event.block(), &filter, &mut found);
        for log in &found {
            if channel.send_value(log).is_err() {
                return;
            }
        }
    }
}

async fn pending(channel: Channel, mut receiver: broadcast::Receiver<Arc<[B256]>>) {
    while let Some(hashes) = next(&mut receiver).await {
        for hash in &*hashes {
            if channel.send_value(hash).is_err() {
                return;
            }
        }
    }
}

async fn full_pending(
    channel: Channel,
    mut receiver: broadcast::Receiver<Arc<[B256]>>,
    node: Arc<crate::node::Node>,
) {
    while let Some(hashes) = next(&mut receiver).await {
        for hash in &*hashes {
            // One that is in a block already was announced by that.
            if let Some(pooled) = node.pool().get(*hash)
                && channel
                    .send_value(&format::pending_transaction(&pooled))
                    .is_err()
            {
                return;
            }
        }
    }
}
