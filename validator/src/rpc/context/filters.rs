//! The filters that clients installed.

use crate::rpc::message::RpcError;
use ahash::AHashMap;
use alloy_primitives::B256;
use alloy_rpc_types_eth::Filter;
use parking_lot::Mutex;
use std::{
    hash::{BuildHasher, Hasher},
    mem,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::broadcast::{self, error::TryRecvError};

/// A filter that is not polled for this long is removed.
const IDLE_MAX: Duration = Duration::from_mins(5);

/// What a filter selects.
#[derive(Debug)]
pub(crate) enum FilterKind {
    Logs(Box<Filter>),
    Blocks,
    Pending(broadcast::Receiver<Arc<[B256]>>),
}

#[derive(Debug)]
struct Installed {
    kind: FilterKind,
    /// The newest block that the client has been told of.
    seen: u64,
    polled: Instant,
}

/// What a poll has to report.
pub(crate) enum Poll {
    /// Hashes of pending transactions.
    Pending(Vec<B256>),
    /// Blocks after `seen`.
    Blocks { seen: u64 },
    /// Logs of the blocks after `seen`.
    Logs { seen: u64, filter: Box<Filter> },
}

/// The installed filters, by id.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    installed: Mutex<AHashMap<u128, Installed>>,
}

impl Filters {
    /// Installs a filter and returns its id. `seen` is the newest block.
    pub(crate) fn install(
        &self,
        kind: FilterKind,
        seen: u64,
        filters_max: usize,
    ) -> Result<u128, RpcError> {
        let mut installed = self.installed.lock();
        if installed.len() >= filters_max {
            installed.retain(|_, filter| filter.polled.elapsed() < IDLE_MAX);
        }
        if installed.len() >= filters_max {
            return Err(RpcError::limit(format!(
                "too many filters: {} are installed; uninstall some with eth_uninstallFilter",
                installed.len()
            )));
        }
        let id = random_id();
        let polled = Instant::now();
        installed.insert(id, Installed { kind, seen, polled });
        Ok(id)
    }

    /// Removes a filter; `false` if there is none with this id.
    pub(crate) fn uninstall(&self, id: u128) -> bool {
        self.installed.lock().remove(&id).is_some()
    }

    pub(crate) fn log_filter(&self, id: u128) -> Result<Box<Filter>, RpcError> {
        let mut installed = self.installed.lock();
        let filter = installed.get_mut(&id).ok_or_else(not_found)?;
        filter.polled = Instant::now();
        match &filter.kind {
            FilterKind::Logs(filter) => Ok(filter.clone()),
            _ => Err(RpcError::server("filter is not a log filter")),
        }
    }

    /// Polls a filter. `head` is the newest block, up to which the client is then told.
    pub(crate) fn poll(&self, id: u128, head: u64) -> Result<Poll, RpcError> {
        let mut installed = self.installed.lock();
        let filter = installed.get_mut(&id).ok_or_else(not_found)?;
        if filter.polled.elapsed() >= IDLE_MAX {
            installed.remove(&id);
            return Err(not_found());
        }
        filter.polled = Instant::now();
        let seen = mem::replace(&mut filter.seen, head);
        Ok(match &mut filter.kind {
            FilterKind::Pending(receiver) => Poll::Pending(drain(receiver)),
            FilterKind::Blocks => Poll::Blocks { seen },
            FilterKind::Logs(filter) => Poll::Logs {
                seen,
                filter: filter.clone(),
            },
        })
    }
}

fn not_found() -> RpcError {
    RpcError::server("filter not found")
}

/// What was announced since the last poll. The oldest announcements are lost if polls are too rare.
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

/// An id that cannot be guessed, so that a client cannot poll another client's filter.
pub(crate) fn random_id() -> u128 {
    let half = || ahash::RandomState::new().build_hasher().finish();
    let seeded = |_| {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    (u128::from(half() ^ seeded(0)) << 64) | u128::from(half() ^ seeded(1))
}
