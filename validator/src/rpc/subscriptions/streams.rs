//! The tasks that send a subscription's notifications.

use crate::{
    node::{BlockEvent, Node},
    rpc::{eth::collect_logs, format},
};
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::Filter;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};

/// Sends the notifications of one subscription to its client.
pub(crate) struct Channel {
    pub(crate) id: U128,
    pub(crate) out: mpsc::Sender<String>,
}

/// The client is gone or does not read.
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

/// The next event. A listener that was too slow continues with the oldest event that is left.
async fn next<T: Clone>(receiver: &mut broadcast::Receiver<T>) -> Option<T> {
    loop {
        match receiver.recv().await {
            Ok(event) => return Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return None,
        }
    }
}

pub(crate) async fn heads(channel: Channel, mut receiver: broadcast::Receiver<Arc<BlockEvent>>) {
    while let Some(event) = next(&mut receiver).await {
        let header = event.json(|block| {
            serde_json::to_string(&format::header(block)).unwrap_or_else(|_| "null".to_owned())
        });
        if channel.send(header).is_err() {
            return;
        }
    }
}

pub(crate) async fn new_logs(
    channel: Channel,
    mut receiver: broadcast::Receiver<Arc<BlockEvent>>,
    filter: Box<Filter>,
) {
    while let Some(event) = next(&mut receiver).await {
        if !filter.matches_bloom(event.block().header.logs_bloom) {
            continue;
        }
        let mut found = Vec::new();
        collect_logs(event.block(), &filter, &mut found);
        for log in &found {
            if channel.send_value(log).is_err() {
                return;
            }
        }
    }
}

pub(crate) async fn pending(channel: Channel, mut receiver: broadcast::Receiver<Arc<[B256]>>) {
    while let Some(hashes) = next(&mut receiver).await {
        for hash in &*hashes {
            if channel.send_value(hash).is_err() {
                return;
            }
        }
    }
}

pub(crate) async fn full_pending(
    channel: Channel,
    mut receiver: broadcast::Receiver<Arc<[B256]>>,
    node: Arc<Node>,
) {
    while let Some(hashes) = next(&mut receiver).await {
        for hash in &*hashes {
            // One that is already in a block was announced with the block.
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
