//! The configuration of a stage.

use super::cores::PARALLELISM;
use crate::{
    plan::{PAYMENTS_FROM, Path, SEQUENTIAL_BELOW},
    scheduler::WINDOW_DEFAULT,
};
use std::num::NonZeroUsize;

/// The configuration of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageConfig {
    /// Workers, the calling thread included. With one, no thread is started and no message sent.
    pub threads: NonZeroUsize,
    /// Maximum of tasks granted or waiting.
    pub window: NonZeroUsize,
    /// Whether each thread of the stage is pinned to a core of its own, as far as there are enough.
    ///
    /// The system may place a woken thread on the core of the thread that woke it, where it waits for the
    /// end of that thread's time slice: possibly longer than a whole block takes. A pinned thread starts at
    /// once, but cannot move away from a core that other programs use.
    pub pinned: bool,
    /// Blocks with inferred sets and fewer transactions run sequentially on the calling thread, while helpers
    /// simulate what comes next.
    pub sequential_below: usize,
    /// Blocks of payments alone with at least so many transactions run without locks.
    pub payments_from: usize,
    /// The path that blocks take where it applies; see [`Path`]. `None`: the plan chooses.
    pub path: Option<Path>,
}

impl StageConfig {
    /// The default configuration with this many workers, the calling thread included.
    pub const fn with_threads(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            window: WINDOW_DEFAULT,
            pinned: false,
            sequential_below: SEQUENTIAL_BELOW,
            payments_from: PAYMENTS_FROM,
            path: None,
        }
    }

    /// The same, with each thread on a core of its own; see [`pinned`](Self::pinned).
    #[must_use]
    pub const fn pinned(mut self) -> Self {
        self.pinned = true;
        self
    }

    /// The same, with this path forced on every block that it [applies](Path) to.
    #[must_use]
    pub const fn with_path(mut self, path: Path) -> Self {
        self.path = Some(path);
        self
    }
}

impl Default for StageConfig {
    /// One worker for each core.
    fn default() -> Self {
        Self::with_threads(*PARALLELISM)
    }
}
