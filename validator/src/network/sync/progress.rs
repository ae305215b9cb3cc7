//! How far a node is with a snapshot, for logs and RPC.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};

/// How far a node is with the snapshot that it fetches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SyncStatus {
    /// The block of the snapshot; `None` while none was found.
    pub block: Option<u64>,
    /// The newest final block that a peer told of.
    pub highest: u64,
    /// Chunks that are durable here.
    pub chunks: u64,
    /// All chunks.
    pub chunks_total: u64,
    /// Peers that send chunks.
    pub peers: u64,
    /// Seconds until the snapshot is complete, if it goes on as fast.
    pub eta_seconds: Option<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    status: Option<SyncStatus>,
    /// When the first chunk of this run came, and how many there were before.
    began: Option<(SystemTime, u64)>,
}

/// What the client notes and others read.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Inner>);

impl Progress {
    /// How far the node is; `None` if it fetches no snapshot.
    pub fn status(&self) -> Option<SyncStatus> {
        self.0.lock().status.clone()
    }

    pub(super) fn begin(&self, highest: u64) {
        self.0.lock().status = Some(SyncStatus {
            block: None,
            highest,
            chunks: 0,
            chunks_total: 0,
            peers: 0,
            eta_seconds: None,
        });
    }

    pub(super) fn note(
        &self,
        block: u64,
        (chunks, total): (u64, u64),
        peers: u64,
        now: SystemTime,
    ) {
        let mut inner = self.0.lock();
        let (began, before) = *inner.began.get_or_insert((now, chunks));
        let elapsed = now.duration_since(began).unwrap_or_default();
        let eta = eta(
            elapsed,
            chunks.saturating_sub(before),
            total.saturating_sub(chunks),
        );
        if let Some(status) = &mut inner.status {
            *status = SyncStatus {
                block: Some(block),
                highest: status.highest,
                chunks,
                chunks_total: total,
                peers,
                eta_seconds: eta.map(|eta| eta.as_secs().max(1)),
            };
        }
    }

    pub(super) fn end(&self) {
        *self.0.lock() = Inner::default();
    }
}

/// The time for the rest, if it takes as long as what is done.
fn eta(elapsed: Duration, done: u64, left: u64) -> Option<Duration> {
    let done = u32::try_from(done).ok().filter(|done| *done > 0)?;
    let left = u32::try_from(left).unwrap_or(u32::MAX);
    Some((elapsed / done).saturating_mul(left))
}

impl SyncStatus {
    /// For a table.
    pub fn short(&self) -> String {
        let (chunks, total) = (self.chunks, self.chunks_total);
        let eta = self.eta_seconds;
        let eta = eta.map_or_else(String::new, |eta| format!(", {eta} s left"));
        format!("snapshot: {chunks} of {total} chunks{eta}")
    }

    /// For people.
    pub fn sentence(&self) -> String {
        let Self {
            chunks,
            chunks_total,
            ..
        } = self;
        match (self.block, self.eta_seconds) {
            (None, _) => "the node looks for a snapshot of the state at its peers".to_owned(),
            (Some(block), None) => {
                format!("the node fetches the state after block {block} from its peers")
            }
            (Some(block), Some(eta)) => format!(
                "the node fetches the state after block {block} from its peers: {chunks} of \
                 {chunks_total} chunks, about {eta} s left"
            ),
        }
    }
}
