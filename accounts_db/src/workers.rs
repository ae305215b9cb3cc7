//! Threads that share the work of a commit, a redo or a pass over the whole state.
//!
//! A database with one thread works on the caller's: handing work over and waiting for it costs more than
//! small work itself, and tests that open thousands of databases do little else.

use crate::error::OpenError;
use rayon::prelude::*;

/// The database's threads.
#[derive(Debug)]
pub(crate) struct Workers {
    /// None where the caller's thread does everything.
    pool: Option<rayon::ThreadPool>,
}

impl Workers {
    /// So many threads; 0 means one for each core.
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

    /// Whether something can be done beside what the caller does.
    pub(crate) const fn is_parallel(&self) -> bool {
        self.pool.is_some()
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.pool
            .as_ref()
            .map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// What `work` makes of each chunk of so many items, in their order.
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

    /// What `work` makes of each number below `count`, in their order.
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

    /// Like [`map_range`](Self::map_range), with what comes out merged into one.
    pub(crate) fn reduce_range<R: Send, E: Send>(
        &self,
        count: usize,
        none: impl Fn() -> R + Sync + Send,
        work: impl Fn(usize) -> Result<R, E> + Sync + Send,
        merge: impl Fn(R, R) -> R + Sync + Send,
    ) -> Result<R, E> {
        match &self.pool {
            Some(pool) => pool.install(|| {
                let parts = (0..count).into_par_iter().map(work);
                parts.try_reduce(&none, |left, right| Ok(merge(left, right)))
            }),
            None => (0..count)
                .map(work)
                .try_fold(none(), |sum, part| Ok(merge(sum, part?))),
        }
    }

    /// Has the other threads do something while the caller's does something else; with one thread the
    /// caller's own comes first.
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

    /// Has another thread do something, some time; with one thread it is not done.
    pub(crate) fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        if let Some(pool) = &self.pool {
            pool.spawn(work);
        }
    }
}
