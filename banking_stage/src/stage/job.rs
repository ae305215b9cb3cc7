//! How a thread takes part in a run: the caller leads it, helpers join and leave.

use super::{
    run::{Run, RunOutcome},
    worker,
    workload::Workload,
};
use std::sync::Arc;

/// A run whose workload's type is erased, as helpers see it.
pub(crate) trait Job: Send + Sync {
    /// Takes part as worker `worker`, until the run is over or there is nothing to do.
    fn help(&self, worker: usize);
}

/// Takes part as worker 0 until the run is over, and waits for the helpers inside.
pub(crate) fn lead<W: Workload>(run: &Run<W>, workload: Arc<W>) -> RunOutcome<W> {
    worker::work(run, &workload, 0);
    drop(workload);
    run.finish()
}

impl<W: Workload> Job for Run<W> {
    fn help(&self, worker: usize) {
        let Some(workload) = self.join() else {
            return;
        };
        worker::work(self, &workload, worker);
        drop(workload);
        self.leave();
    }
}
