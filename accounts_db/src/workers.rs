//! The thread pool for commits, redo and passes over the whole state.
//!
//! A database with one thread works on the caller's thread: handing over small work costs more than
//! the work, and tests that open thousands of databases do mostly such work.

use crate::error::OpenError;
use rayon::prelude::*;

/// The thread pool.
#[derive(Debug)]
pub(crate) struct Workers {
    /// `None` if all work runs on the caller's thread.
    pool: Option<rayon::ThreadPool>,
}

impl Workers {
    /// A pool of `threads` threads; 0 means one for each core.
    pub(crate) fn new(threads: usize) -> Result<Self, OpenError> {
        if threads == 1 {
            return Ok(Self { pool: None });
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|number| format!("accounts-db-{number}"))
            .build()
            .map_err(|error| OpenError::Options {
                option: "threads",
                why: error.to_string(),
            })?;
        let pool = (pool.current_num_threads() > 1).then_some(pool);
        Ok(Self { pool })
    }

    /// Whether there is more than one thread.
    pub(crate) const fn is_parallel(&self) -> bool {
        self.pool.is_some()
    }

    /// The number of threads.
    pub(crate) fn count(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Applies `work` to each chunk of `chunk` items; the results are in the order of the items.
    pub(crate) fn map_chunks<T: Sync, R: Send, E: Send>(
        &self,
        items: &[T],
        chunk: usize,
        work: impl Fn(&[T]) -> Result<R, E> + Sync + Send,
    ) -> Result<Vec<R>, E> {
        match &self.pool {
            Some(pool) if items.len() > chunk => {
                pool.install(|| items.par_chunks(chunk).map(&work).collect())
            }
            _ => items.chunks(chunk).map(work).collect(),
        }
    }

    /// Applies `work` to each number below `count`; the results are in order.
    pub(crate) fn map_range<R: Send, E: Send>(
        &self,
        count: usize,
        work: impl Fn(usize) -> Result<R, E> + Sync + Send,
    ) -> Result<Vec<R>, E> {
        match &self.pool {
            Some(pool) => pool.install(|| (0..count).into_par_iter().map(work).collect()),
            None => (0..count).map(work).collect(),
        }
    }

    /// Runs `work` on the pool, where what it does in parallel uses the pool's threads.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Runs `others` on the pool while the caller's thread runs `own`. With one thread, `own` runs
    /// first.
    pub(crate) fn run_alongside<R: Send, O>(
        &self,
        others: impl FnOnce() -> R + Send,
        own: impl FnOnce() -> O,
    ) -> (R, O) {
        let Some(pool) = &self.pool else {
            let own = own();
            return (others(), own);
        };
        let mut result = None;
        let own = pool.in_place_scope(|scope| {
            scope.spawn(|_| result = Some(others()));
            own()
        });
        (result.expect("a scope ends when its work is done"), own)
    }

    /// Runs `work` on the pool later; with one thread it is dropped.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(pool) = &self.pool {
            pool.spawn(work);
        }
    }
}
