//! Runs that fail, panic, or have nothing to do.

use super::{
    BankingStage, Grant, StageConfig, StageError, Workload, panic_message, pin_thread,
    spin_wait::{SPIN_TIME, SpinWait},
};
use crate::lock_table::Access;
use crossbeam_channel::bounded;
use lockweave_runtime::{AccessMode, DenseId, KeyAccess, KeyId, TaskId};
use std::{
    collections::BTreeSet,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {0} does not like it here")]
struct Dislike(usize);

/// Counts its tasks, and fails or panics where it is told to.
#[derive(Default)]
struct Counting {
    tasks: usize,
    executed: Vec<AtomicUsize>,
    failing: BTreeSet<usize>,
    panicking: BTreeSet<usize>,
    panicking_in_prepare: BTreeSet<usize>,
    /// Those that fail and are left behind.
    left_behind: BTreeSet<usize>,
    /// Ten keys, of which each task writes one.
    chains: Vec<[KeyAccess; 1]>,
}

impl Counting {
    fn new(tasks: usize) -> Self {
        Self {
            tasks,
            executed: (0..tasks).map(|_| AtomicUsize::new(0)).collect(),
            ..Self::default()
        }
    }

    fn executed(&self, task: usize) -> usize {
        self.executed[task].load(Ordering::Relaxed)
    }
}

impl Workload for Counting {
    type Worker = ();
    type Error = Dislike;

    fn tasks(&self) -> usize {
        self.tasks
    }

    fn enter(&self, _worker: usize) {}

    fn prepare(&self, (): &mut (), task: TaskId) -> Result<(), Dislike> {
        let task = task.index();
        assert!(!self.panicking_in_prepare.contains(&task), "not prepared");
        Ok(())
    }

    fn access(&self, task: TaskId) -> Access<'_> {
        let keys = match self.chains.len() {
            0 => &[][..],
            chains => &self.chains[task.index() % chains],
        };
        Access::Keys(keys)
    }

    fn is_left_behind(&self, task: TaskId, _error: &Dislike) -> bool {
        self.left_behind.contains(&task.index())
    }

    fn execute(&self, (): &mut (), grant: &Grant<'_>) -> Result<(), Dislike> {
        let task = grant.task().index();
        self.executed[task].fetch_add(1, Ordering::Relaxed);
        assert!(!self.panicking.contains(&task), "out of sorts");
        if self.failing.contains(&task) || self.left_behind.contains(&task) {
            return Err(Dislike(task));
        }
        Ok(())
    }
}

fn stages() -> impl Iterator<Item = BankingStage> {
    [1, 2, 4, 8]
        .into_iter()
        .filter_map(NonZeroUsize::new)
        .map(|threads| BankingStage::new(StageConfig::with_threads(threads)).expect("threads"))
}

#[test]
fn every_task_runs_once() {
    for stage in stages() {
        for tasks in [0, 1, 2, 33, 5_000] {
            let (workload, result) = stage.run(Counting::new(tasks));
            let stats = result.expect("nothing fails");
            assert_eq!(stats.executed.iter().sum::<usize>(), tasks);
            assert!((0..tasks).all(|task| workload.executed(task) == 1));
        }
    }
}

#[test]
fn tiny_runs_in_a_row_do_not_hang() {
    for stage in stages() {
        for round in 0..5_000 {
            let (_, result) = stage.run(Counting::new(round % 4));
            assert!(result.is_ok());
        }
    }
}

#[test]
fn the_lowest_failing_task_is_reported_and_all_before_it_ran() {
    for stage in stages() {
        for _ in 0..50 {
            let mut workload = Counting::new(400);
            workload.failing = BTreeSet::from([123, 124, 300]);
            workload.panicking = BTreeSet::from([200]);
            let (workload, result) = stage.run(workload);
            let Err(StageError::Task { task, source }) = result else {
                panic!("a task failed");
            };
            assert_eq!((task.index(), source), (123, Dislike(123)));
            assert!((0..=123).all(|task| workload.executed(task) == 1));
        }
    }
}

#[test]
fn tasks_that_wait_for_a_task_left_behind_do_not_run() {
    let write = |key| KeyAccess {
        key: KeyId::from_index(key),
        mode: AccessMode::Write,
    };
    for stage in stages() {
        for window in [8, 2_048] {
            let config = StageConfig {
                window: NonZeroUsize::new(window).unwrap(),
                ..stage.config()
            };
            let stage = BankingStage::new(config).expect("threads");
            let mut workload = Counting::new(400);
            workload.chains = (0..10).map(|key| [write(key)]).collect();
            workload.left_behind = BTreeSet::from([57, 23, 123]);
            let (workload, result) = stage.run(workload);
            let Err(StageError::Task { task, source }) = result else {
                panic!("a task failed");
            };
            assert_eq!((task.index(), source), (23, Dislike(23)));
            let waits = |task: usize| match task % 10 {
                3 => task > 23,
                7 => task > 57,
                _ => false,
            };
            // Waiting tasks fill a small window; then no task can be fed any more.
            let end = if window == 8 { 64 } else { 400 };
            for task in 0..400 {
                let expected = usize::from(!waits(task));
                if task < end || waits(task) {
                    assert_eq!(workload.executed(task), expected, "task {task}");
                }
            }
            let (_, result) = stage.run(Counting::new(100));
            assert!(result.is_ok(), "the stage can be used again");
        }
    }
}

#[test]
fn background_work_is_done_beside_runs() {
    for stage in stages() {
        let (start, started) = bounded::<()>(1);
        let work = stage.start_background(move || started.recv().map(|()| 7));
        let (_, result) = stage.run(Counting::new(1_000));
        assert!(result.is_ok());
        assert_eq!(work.is_some(), stage.config().threads.get() > 1);
        if let Some(work) = work {
            start.send(()).expect("the helper waits for it");
            assert_eq!(work.join().expect("no panic"), Ok(7));
        }
        if let Some(work) = stage.start_background::<()>(|| panic!("out of sorts")) {
            let payload = work.join().expect_err("it panicked");
            assert_eq!(panic_message(&*payload), "out of sorts");
        }
        let (_, result) = stage.run(Counting::new(1_000));
        assert!(result.is_ok(), "the helper is there again");
    }
}

#[test]
fn a_panic_fails_its_run_and_nothing_else() {
    for stage in stages() {
        let mut workload = Counting::new(100);
        workload.panicking = BTreeSet::from([40]);
        let (workload, result) = stage.run(workload);
        let Err(StageError::Panicked { task, message }) = result else {
            panic!("a task panicked");
        };
        assert_eq!(task.map(DenseId::index), Some(40));
        assert!(message.contains("out of sorts"), "{message}");
        assert!((0..40).all(|task| workload.executed(task) == 1));

        let mut workload = Counting::new(100);
        workload.panicking_in_prepare = BTreeSet::from([17]);
        let (_, result) = stage.run(workload);
        let Err(StageError::Panicked { task, message }) = result else {
            panic!("a preparation panicked");
        };
        assert_eq!(task.map(DenseId::index), Some(17));
        assert!(message.contains("not prepared"), "{message}");

        let (_, result) = stage.run(Counting::new(100));
        assert!(result.is_ok(), "the stage can be used again");
    }
}

#[test]
fn runs_of_several_callers_come_one_after_another() {
    let stage = BankingStage::new(StageConfig::default()).expect("threads");
    let call = || {
        for tasks in 0..200 {
            let (_, result) = stage.run(Counting::new(tasks));
            assert!(result.is_ok());
        }
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        // The thread sanitizer sees a join, not how a scope waits for its end.
        for caller in callers {
            caller.join().expect("no panic");
        }
    });
}

/// Starts another run from inside one of its tasks.
struct Nesting(Arc<BankingStage>);

impl Workload for Nesting {
    type Worker = ();
    type Error = StageError<Dislike>;

    fn tasks(&self) -> usize {
        1
    }

    fn enter(&self, _worker: usize) {}

    fn access(&self, _task: TaskId) -> Access<'_> {
        Access::Everything
    }

    fn execute(&self, (): &mut (), _grant: &Grant<'_>) -> Result<(), Self::Error> {
        self.0.run(Counting::new(1)).1.map(|_| ())
    }
}

#[test]
fn a_run_inside_a_run_is_refused_instead_of_waiting_for_itself() {
    let stage = Arc::new(BankingStage::new(StageConfig::default()).expect("threads"));
    let (_, result) = stage.run(Nesting(Arc::clone(&stage)));
    assert!(matches!(
        result,
        Err(StageError::Task {
            source: StageError::Nested,
            ..
        })
    ));
}

/// A stage made by a pinned thread is like any other: its threads have cores of their own.
#[test]
fn a_pinned_thread_makes_stages_that_spin_as_long() {
    let before = format!("{:?}", SpinWait::for_threads(2, SPIN_TIME));
    let pinned = thread::spawn(|| {
        pin_thread(0);
        let default = StageConfig::default().threads;
        (
            format!("{:?}", SpinWait::for_threads(2, SPIN_TIME)),
            default,
        )
    });
    let (spin_wait, threads) = pinned.join().expect("no panic");
    assert_eq!(spin_wait, before);
    assert_eq!(threads, StageConfig::default().threads);
}
