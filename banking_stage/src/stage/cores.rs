//! How many cores there are, and pinning threads to them.

use core_affinity::CoreId;
use std::{num::NonZeroUsize, sync::LazyLock, thread};

/// The cores the process could use at the first request; a pinned thread sees only its own.
pub(crate) static CORES: LazyLock<Option<Vec<CoreId>>> = LazyLock::new(core_affinity::get_core_ids);

/// How many threads could run at the same time at the first request; a pinned thread sees one core only.
pub(crate) static PARALLELISM: LazyLock<NonZeroUsize> =
    LazyLock::new(|| thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));

/// Pins the calling thread to the core of this worker, among the cores that the process could use at the
/// first request. Where the system refuses, nothing happens: pinning never affects a result.
///
/// A [pinned](crate::StageConfig::pinned) stage pins its own threads; this is for threads that are to be
/// compared with them.
pub fn pin_thread(worker: usize) {
    LazyLock::force(&PARALLELISM);
    if let Some(cores) = CORES.as_ref()
        && let Some(core) = cores.get(worker % cores.len().max(1))
    {
        core_affinity::set_for_current(*core);
    }
}
