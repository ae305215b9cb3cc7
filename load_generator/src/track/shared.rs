//! State shared by the tasks of a run.

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use tokio::{sync::Notify, time::Instant};

use super::ledger::Ledger;
use crate::transaction::Signed;

/// State shared by the tasks of a run.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All transactions of the run.
    pub signed: Vec<Signed>,
    /// Start of the run.
    pub start: Instant,
    /// Notified when new blocks were read.
    pub progress: Notify,
    /// The run has progress: nothing more is submitted.
    pub stopped: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Shared {
    /// A run that starts now.
    pub(crate) fn new(signed: Vec<Signed>, senders: usize) -> Self {
        let ledger = Mutex::new(Ledger::new(&signed, senders));
        Self {
            signed,
            start: Instant::now(),
            progress: Notify::new(),
            stopped: AtomicBool::new(false),
            ledger,
        }
    }

    /// Locks the ledger. Hold the lock only briefly.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
