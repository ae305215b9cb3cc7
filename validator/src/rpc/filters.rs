//! Filters that clients install and poll.

use super::{
    context::RpcContext,
    error::RpcError,
    logs::{self, parse_filter},
    message::{Params, Reply, reply},
};
use ahash::AHashMap;
use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U128};
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::{self, error::TryRecvError};

/// A filter nobody polls for this long is forgotten.
const IDLE_MAX: Duration = Duration::from_mins(5);

/// What a filter looks for.
#[derive(Debug)]
enum Kind {
    Logs(Box<Filter>),
    Blocks,
    Pending(broadcast::Receiver<Arc<[B256]>>),
}

#[derive(Debug)]
struct Installed {
    kind: Kind,
    /// The newest block the client was told of.
    seen: u64,
    polled: Instant,
}

/// The filters that are installed.
#[derive(Debug, Default)]
pub struct Filters {
    installed: Mutex<AHashMap<u128, Installed>>,
}

/// What a poll brings.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Changes {
    Logs(Vec<Log>),
    Hashes(Vec<B256>),
}

/// An id that cannot be guessed, so that nobody polls another's filter.
pub(super) fn random_id() -> u128 {
    let half = || ahash::RandomState::new().build_hasher().finish();
    let seeded = |_| {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    (u128::from(half() ^ seeded(0)) << 64) | u128::from(half() ^ seeded(1))
}

fn install(context: &RpcContext, kind: Kind) -> Reply {
    let seen = context.node.head().block.number();
    let mut installed = context.filters.installed.lock();
    if installed.len() >= context.config.filters_max {
        installed.retain(|_, filter| filter.polled.elapsed() < IDLE_MAX);
    }
    if installed.len() >= context.config.filters_max {
        return Err(RpcError::limit(format!(
            "too many filters: {} are installed; uninstall some with eth_uninstallFilter",
            installed.len()
        )));
    }
    let id = random_id();
    let polled = Instant::now();
    installed.insert(id, Installed { kind, seen, polled });
    reply(U128::from(id))
}

pub(super) fn new_filter(context: &RpcContext, params: &Params<'_>) -> Reply {
    install(context, Kind::Logs(Box::new(parse_filter(params)?)))
}

pub(super) fn new_block_filter(context: &RpcContext, _: &Params<'_>) -> Reply {
    install(context, Kind::Blocks)
}

pub(super) fn new_pending_transaction_filter(context: &RpcContext, _: &Params<'_>) -> Reply {
    install(context, Kind::Pending(context.node.events().pending()))
}

pub(super) fn uninstall_filter(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    let found = context.filters.installed.lock().remove(&id.to());
    reply(found.is_some())
}

fn not_found() -> RpcError {
    RpcError::server("filter not found")
}

pub(super) fn get_filter_logs(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    let filter = {
        let mut installed = context.filters.installed.lock();
        let filter = installed.get_mut(&id.to()).ok_or_else(not_found)?;
        filter.polled = Instant::now();
        match &filter.kind {
            Kind::Logs(filter) => filter.clone(),
            _ => return Err(RpcError::server("filter is not a log filter")),
        }
    };
    reply(logs::find(context, &filter)?)
}

pub(super) fn get_filter_changes(context: &RpcContext, params: &Params<'_>) -> Reply {
    let id: U128 = params.required(0, "filter id")?;
    let head = context.node.head().block.number();
    let (seen, filter) = {
        let mut installed = context.filters.installed.lock();
        let filter = installed.get_mut(&id.to()).ok_or_else(not_found)?;
        if filter.polled.elapsed() >= IDLE_MAX {
            installed.remove(&id.to());
            return Err(not_found());
        }
        filter.polled = Instant::now();
        let seen = std::mem::replace(&mut filter.seen, head);
        match &mut filter.kind {
            Kind::Pending(receiver) => return reply(Changes::Hashes(drain(receiver))),
            Kind::Blocks => (seen, None),
            Kind::Logs(filter) => (seen, Some(filter.clone())),
        }
    };
    let first = (seen + 1).max(context.node.store().oldest_block());
    match filter {
        None => {
            let mut hashes = Vec::new();
            for number in first..=head {
                hashes.extend(context.find_block(number.into())?.map(|block| block.hash));
            }
            reply(Changes::Hashes(hashes))
        }
        Some(filter) => {
            let (first, last) = clip(context, &filter, first, head);
            let found = if first > last {
                Vec::new()
            } else {
                logs::find_between(context, &filter, first, last)?
            };
            reply(Changes::Logs(found))
        }
    }
}

/// The part of a range that a filter's own range leaves.
fn clip(context: &RpcContext, filter: &Filter, first: u64, last: u64) -> (u64, u64) {
    match filter.block_option {
        FilterBlockOption::Range {
            from_block,
            to_block,
        } => {
            let from = from_block.and_then(|from| from.as_number());
            let to = to_block.filter(BlockNumberOrTag::is_number);
            (
                first.max(from.unwrap_or_default()),
                last.min(to.map_or(u64::MAX, |to| context.number_of(to))),
            )
        }
        FilterBlockOption::AtBlockHash(_) => (first, last),
    }
}

/// What was announced since the last poll; the oldest is lost to who polls too seldom.
fn drain(receiver: &mut broadcast::Receiver<Arc<[B256]>>) -> Vec<B256> {
    let mut hashes = Vec::new();
    loop {
        match receiver.try_recv() {
            Ok(announced) => hashes.extend_from_slice(&announced),
            Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return hashes,
        }
    }
}
