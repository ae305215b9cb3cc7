//! The counters of a run.

/// Counters of one run. They describe how it went, never its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStats {
    /// Tasks in the workload.
    pub tasks: usize,
    /// Tasks that had to wait for a lock.
    pub conflicts: usize,
    /// How often a task could not be fed because the window was full.
    pub window_full: usize,
    /// Tasks run, by worker; the calling thread is worker 0.
    pub executed: Vec<usize>,
    /// How often a worker took the scheduler's lock for work.
    pub turns: usize,
    /// Batches handed to workers that waited for work.
    pub handed_over: usize,
    /// How often a parked worker was called.
    pub called: usize,
}

impl RunStats {
    /// Adds the counters of another run of the same block.
    pub(crate) fn add(&mut self, other: &Self) {
        self.tasks += other.tasks;
        self.conflicts += other.conflicts;
        self.window_full += other.window_full;
        if self.executed.len() < other.executed.len() {
            self.executed.resize(other.executed.len(), 0);
        }
        for (total, more) in self.executed.iter_mut().zip(&other.executed) {
            *total += more;
        }
        self.turns += other.turns;
        self.handed_over += other.handed_over;
        self.called += other.called;
    }
}
