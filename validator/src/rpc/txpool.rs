//! The methods of `txpool_*`.

use crate::{
    pool::PooledTransaction,
    rpc::{
        context::RpcContext,
        format::{self, RpcTransaction},
        message::{Params, Reply, reply},
        method::{Cost, Method},
    },
};
use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, U64};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

pub(crate) fn find(name: &str) -> Option<(Method, Cost)> {
    Some(match name {
        "txpool_content" => (content, Cost::Heavy),
        "txpool_contentFrom" => (content_from, Cost::Heavy),
        "txpool_inspect" => (inspect, Cost::Heavy),
        "txpool_status" => (status, Cost::Light),
        _ => return None,
    })
}

type BySender<T> = BTreeMap<String, BTreeMap<u64, T>>;

#[derive(Debug, Serialize)]
struct Content<T> {
    pending: T,
    queued: T,
}

fn status(context: &RpcContext, _: &Params<'_>) -> Reply {
    let status = context.node.pool().status();
    reply(Content {
        pending: U64::from(status.pending),
        queued: U64::from(status.queued),
    })
}

fn by_nonce<T>(
    transactions: &[Arc<PooledTransaction>],
    show: fn(&PooledTransaction) -> T,
) -> BTreeMap<u64, T> {
    (transactions.iter())
        .map(|pooled| (pooled.nonce, show(pooled)))
        .collect()
}

fn everything<T: Serialize>(context: &RpcContext, show: fn(&PooledTransaction) -> T) -> Reply {
    let mut pending: BySender<T> = BTreeMap::new();
    let mut queued: BySender<T> = BTreeMap::new();
    for content in context.node.pool().content() {
        let sender = content.sender.to_checksum(None);
        if !content.pending.is_empty() {
            pending.insert(sender.clone(), by_nonce(&content.pending, show));
        }
        if !content.queued.is_empty() {
            queued.insert(sender, by_nonce(&content.queued, show));
        }
    }
    reply(Content { pending, queued })
}

fn content(context: &RpcContext, _: &Params<'_>) -> Reply {
    everything::<RpcTransaction>(context, format::pending_transaction)
}

fn content_from(context: &RpcContext, params: &Params<'_>) -> Reply {
    let sender: Address = params.required(0, "address")?;
    let waiting = context.node.pool().content_of(sender);
    let (pending, queued) = waiting.map_or_else(Default::default, |content| {
        let show = format::pending_transaction;
        (
            by_nonce(&content.pending, show),
            by_nonce(&content.queued, show),
        )
    });
    reply(Content { pending, queued })
}

fn inspect(context: &RpcContext, _: &Params<'_>) -> Reply {
    everything(context, |pooled| {
        let envelope = pooled.transaction.envelope();
        let to = envelope
            .to()
            .map_or_else(|| "contract creation".to_owned(), |to| to.to_checksum(None));
        format!(
            "{to}: {} wei + {} gas × {} wei",
            envelope.value(),
            pooled.gas_limit,
            pooled.max_fee
        )
    })
}
