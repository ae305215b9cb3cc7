//! What the tasks of a run share.

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use tokio::{sync::Notify, time::Instant};

use super::ledger::Ledger;
use crate::transaction::Signed;

/// What the tasks of a run share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// All transactions of the run.
    pub signed: Vec<Signed>,
    /// The run's start.
    pub start: Instant,
    /// Rung when something ended.
    pub ended: Notify,
    /// The run's patience has ended: nothing more is handed over.
    pub over: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Shared {
    /// A run that starts now.
    pub(crate) fn new(signed: Vec<Signed>, senders: usize) -> Self {
        let ledger = Mutex::new(Ledger::new(&signed, senders));
        Self {
            signed,
            start: Instant::now(),
            ended: Notify::new(),
            over: AtomicBool::new(false),
            ledger,
        }
    }

    /// The ledger, for a short while.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
