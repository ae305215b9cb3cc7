//! Subscriptions of one WebSocket connection.

use super::streams::{Channel, full_pending, heads, new_logs, pending};
use crate::rpc::{
    context::{RpcContext, random_id},
    eth::parse_filter,
    message::{Params, Reply, RpcError, reply},
};
use ahash::AHashMap;
use alloy_primitives::U128;
use alloy_rpc_types_eth::Filter;
use futures_util::FutureExt;
use parking_lot::Mutex;
use serde::Deserialize;
use std::sync::Arc;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};

/// Options of `newHeads`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HeadOptions {
    /// Heads as soon as they are proposed and found valid, before they are final.
    proposed: bool,
}

/// One WebSocket connection.
#[derive(Debug)]
pub(crate) struct Session {
    runtime: Handle,
    /// To the connection's writer. It is full if the client does not read.
    out: mpsc::Sender<String>,
    subscriptions: Mutex<AHashMap<u128, JoinHandle<()>>>,
}

impl Session {
    pub(crate) fn new(runtime: Handle, out: mpsc::Sender<String>) -> Self {
        Self {
            runtime,
            out,
            subscriptions: Mutex::default(),
        }
    }

    pub(crate) fn subscribe(&self, context: &RpcContext, params: &Params<'_>) -> Reply {
        let id = random_id();
        let channel = Channel {
            id: U128::from(id),
            out: self.out.clone(),
        };
        let (node, events) = (&context.node, context.node.events());
        let kind: String = params.required(0, "subscription")?;
        // Listening starts here, so that nothing after the response is missed.
        let task = match kind.as_str() {
            "newHeads" => {
                let options: HeadOptions = params.optional(1, "options")?.unwrap_or_default();
                // A node that is alone makes blocks that are final at once.
                let receiver = if options.proposed && context.network.is_some() {
                    events.proposed()
                } else {
                    events.blocks()
                };
                heads(channel, receiver).boxed()
            }
            "logs" => {
                let rest = Params(params.0.get(1..).unwrap_or_default().to_vec());
                let filter = if rest.raw(0).is_some() {
                    parse_filter(&rest)?
                } else {
                    Filter::default()
                };
                new_logs(channel, events.blocks(), Box::new(filter)).boxed()
            }
            "newPendingTransactions" => {
                if params.optional(1, "full transactions")?.unwrap_or(false) {
                    full_pending(channel, events.pending(), Arc::clone(node)).boxed()
                } else {
                    pending(channel, events.pending()).boxed()
                }
            }
            "syncing" => {
                return Err(RpcError::server(
                    "there is no such notification; ask eth_syncing",
                ));
            }
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
        subscriptions.insert(id, self.runtime.spawn(task));
        reply(U128::from(id))
    }

    pub(crate) fn unsubscribe(&self, params: &Params<'_>) -> Reply {
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
