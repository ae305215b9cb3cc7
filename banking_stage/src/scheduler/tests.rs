//! The scheduler driven through random orders of completion.

use super::{Fed, Scheduler};
use crate::lock_table::Access;
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};
use proptest::prelude::*;
use std::num::NonZeroUsize;

proptest! {
    /// In every order of completion, conflicting tasks run one at a time and in block order, the window
    /// is respected, and everything is done in the end.
    #[test]
    fn conflicting_tasks_run_in_block_order(
        keys in prop::collection::vec((0_usize..4, any::<bool>()), 1..80),
        window in 1_usize..20,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 80),
    ) {
        let accesses: Vec<_> = keys
            .iter()
            .map(|(key, write)| [KeyAccess {
                key: KeyId::from_index(*key),
                mode: if *write { AccessMode::Write } else { AccessMode::Read },
            }])
            .collect();
        let window = NonZeroUsize::new(window).expect("at least one");
        let mut scheduler = Scheduler::new(window);
        scheduler.begin(keys.len());
        let mut running: Vec<TaskId> = Vec::new();
        let mut done = vec![false; keys.len()];
        let mut picks = picks.into_iter();
        while !scheduler.is_done() {
            while let Some(task) = scheduler.next_to_feed() {
                let fed = scheduler.feed(task, Access::Keys(&accesses[task.index()]));
                if fed == Fed::WindowFull {
                    break;
                }
            }
            while let Some(task) = scheduler.next_ready() {
                running.push(task);
            }
            prop_assert!(!running.is_empty(), "a task can always run");
            prop_assert!(scheduler.taken() + scheduler.waiting() <= window.get());
            for (place, task) in running.iter().enumerate() {
                let (key, write) = keys[task.index()];
                for earlier in 0..task.index() {
                    let conflicts = keys[earlier].0 == key && (write || keys[earlier].1);
                    prop_assert!(!conflicts || done[earlier], "{task:?} overtook {earlier}");
                }
                for other in &running[place + 1..] {
                    let (other_key, other_write) = keys[other.index()];
                    prop_assert!(key != other_key || !(write || other_write));
                }
            }
            let pick = picks.next().map_or(0, |pick| pick.index(running.len()));
            let task = running.swap_remove(pick);
            let mut freed = Vec::new();
            scheduler.complete(task, Access::Keys(&accesses[task.index()]), &mut freed);
            done[task.index()] = true;
            running.extend(freed);
        }
        prop_assert!(done.into_iter().all(|done| done));
        prop_assert_eq!(scheduler.stats().completed, keys.len());
    }
}

#[test]
#[should_panic(expected = "tasks are fed in block order")]
fn feeding_out_of_order_is_refused() {
    let mut scheduler = Scheduler::default();
    scheduler.begin(2);
    let _ = scheduler.feed(TaskId::from_index(1), Access::Keys(&[]));
}

#[test]
fn tasks_behind_a_stop_are_not_fed() {
    let mut scheduler = Scheduler::default();
    scheduler.begin(3);
    let first = scheduler.next_to_feed().expect("three tasks");
    assert_eq!(scheduler.feed(first, Access::Everything), Fed::Granted);
    scheduler.stop_at(1);
    assert_eq!(scheduler.next_to_feed(), None);
    assert!(
        !scheduler.is_done(),
        "what was fed is still to be completed"
    );
    let task = scheduler.next_ready().expect("it is ready");
    scheduler.complete(task, Access::Everything, &mut Vec::new());
    assert!(scheduler.is_done());
}
