//! The lock table: a first-in-first-out queue of requests per key.
//!
//! A request is granted when everything in front of it in its queue is compatible with it. The
//! table is data only: no threads, no clocks, no channels. Its owner decides which thread calls it
//! when.
//!
//! Files, each using only those below it:
//!
//! * `table`: [`LockTable`], acquire and release over all queues; [`Access`], what a task locks;
//! * `queue`: the queue of one key, and the requests that wait.
//!
//! # Why nothing deadlocks
//!
//! A task enters all of its queues in one call of [`LockTable::acquire`]. So any two tasks stand in
//! the same order in every queue that both are in: the order of the calls, which is the block order.
//! Therefore the oldest task that has not been released is at the front of each of its queues, and
//! a request at the front is granted. As long as a task is unfinished, one is runnable.
//!
//! # Why nothing starves
//!
//! A request waits only for requests in front of it, and later ones never overtake it on a key:
//! a read behind a waiting write waits too, even if the present holders are readers. So a task
//! waits for finitely many others, all older than itself, whatever is fed afterwards.
//!
//! # Why one group of holders is enough
//!
//! The holders of a key are one writer, or readers, or creditors; modes do not mix. If a request
//! waits, the first in line is incompatible with the holders, and no mode is compatible with two
//! different ones. So a new request behind a waiting one always waits. A release changes nothing
//! until the last holder is gone; then the longest run of one shared mode at the head of the line is
//! granted at once. A key without conflict costs one 16-byte record.
//!
//! # The whole state
//!
//! One built-in key stands for the whole state. An ordinary task holds it in `Read` mode; a task
//! with [`Access::Everything`] holds it in `Write` mode, and so runs alone by the same mechanism.

mod queue;
mod table;

pub use table::Access;
pub use table::LockTable;

#[cfg(all(test, not(loom)))]
mod tests;
