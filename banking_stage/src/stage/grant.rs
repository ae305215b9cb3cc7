//! Grants: the proof that a task's locks are held, and what it permits.

use crate::lock_table::Access;
use lockweave_runtime::TaskId;

/// The locks of one task, all granted, for as long as it runs.
///
/// Only the stage makes one: after the lock table has granted everything, or where the workload states
/// that the task [conflicts with no other](crate::Workload::is_free). It cannot be copied or kept:
/// [`Workload::execute`](crate::Workload::execute) borrows it, and the locks are released after that
/// returns.
///
/// A grant does not say *which* cells its keys number; code that combines the two has to ensure that.
/// Such code keeps its workload type private and the cells inside it, as
/// [`BankingStage::run_table`](crate::BankingStage::run_table) does.
#[derive(Debug)]
pub struct Grant<'a> {
    task: TaskId,
    access: Access<'a>,
}

impl<'a> Grant<'a> {
    /// Called by the stage only, between the last grant and the release, or for a free task.
    pub(crate) const fn new(task: TaskId, access: Access<'a>) -> Self {
        Self { task, access }
    }

    /// The task that holds the locks.
    pub const fn task(&self) -> TaskId {
        self.task
    }

    /// The locks.
    pub const fn access(&self) -> Access<'a> {
        self.access
    }
}
