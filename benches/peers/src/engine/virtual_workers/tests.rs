//! The simulated stage on workloads whose best time is known.

use super::{SimulatedCosts, SimulatedTask, simulate};
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};

const FREE: SimulatedCosts = SimulatedCosts {
    turn_again: 0,
    turn: 0,
    task: 0,
    key: 0,
    call: 0,
    hand_over: 0,
    wake: 0,
    spin_time: 40_000,
};

/// Tasks of a microsecond each that write one key.
fn tasks(count: usize, key: impl Fn(usize) -> usize) -> Vec<SimulatedTask> {
    let task = |index| SimulatedTask {
        access: vec![KeyAccess {
            key: KeyId::from_index(key(index)),
            mode: AccessMode::Write,
        }],
        run: 1_000,
        gas: 300_000,
        ..SimulatedTask::default()
    };
    (0..count).map(task).collect()
}

#[test]
fn scheduling_that_costs_nothing_divides_independent_work() {
    let tasks = tasks(1_024, |index| index);
    assert_eq!(simulate(&tasks, 1, FREE).span, 1_024_000);
    assert_eq!(simulate(&tasks, 8, FREE).span, 128_000);
}

#[test]
fn a_chain_is_as_long_on_any_number_of_workers() {
    let tasks = tasks(100, |_| 0);
    for workers in [1, 3, 64] {
        assert_eq!(simulate(&tasks, workers, FREE).span, 100_000);
    }
}

#[test]
fn tasks_without_locks_run_where_they_are_prepared() {
    let task = SimulatedTask {
        prepare: 100,
        run: 900,
        gas: 21_000,
        free_after: Some(Vec::new()),
        ..SimulatedTask::default()
    };
    let mut tasks = vec![task; 2_048];
    let result = simulate(&tasks, 4, FREE);
    assert_eq!((result.free, result.span), (2_048, 512_000));
    // A task that needs a cell of a task behind it is not free, and is fed.
    tasks[0].free_after = Some(vec![TaskId::from_index(1)]);
    assert_eq!(simulate(&tasks, 4, FREE).free, 2_047);
}

#[test]
fn called_helpers_join_late() {
    let costs = SimulatedCosts {
        wake: 50_000,
        ..FREE
    };
    let tasks = tasks(1_024, |index| index);
    let result = simulate(&tasks, 4, costs);
    // The caller calls one in each of its turns; they join 50, 51 and 52 us late. That makes a quarter of
    // 1,024 us and of these 153 us, up to the next whole microsecond.
    assert_eq!(result.called, 3);
    assert!((293_250..=295_000).contains(&result.span), "{result:?}");
}

#[test]
fn the_lock_bounds_what_many_workers_gain() {
    let costs = SimulatedCosts {
        turn: 500,
        turn_again: 500,
        task: 250,
        ..FREE
    };
    let tasks = tasks(4_096, |index| index);
    let result = simulate(&tasks, 128, costs);
    assert!(result.lock_held >= 4_096 * 1_000);
    assert!(result.span >= result.lock_held);
    assert_eq!(result, simulate(&tasks, 128, costs));
}
