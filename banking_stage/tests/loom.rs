//! Lock table and cells under every interleaving of a small model.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p lockweave-banking-stage --release --test loom`
//!
//! Two threads take granted tasks, run them on the cells, and release them under the table's lock.
//! loom tracks every access to a cell: two that are not ordered fail the model, and so does a result
//! that differs from running the tasks one after another.

#![cfg(loom)]
// Reaches cells as the stage does, by the right of a grant.
#![allow(unsafe_code)]

use lockweave_banking_stage::{Access, LockTable};
use lockweave_runtime::{AccessMode, Cells, DenseId, KeyAccess, KeyId, TaskId};
use loom::{
    sync::{Arc, Mutex},
    thread,
};
use std::collections::VecDeque;

struct Shared {
    cells: Cells<u64>,
    scheduler: Mutex<Scheduler>,
}

struct Scheduler {
    locks: LockTable,
    ready: VecDeque<TaskId>,
    unfinished: usize,
}

/// A task adds up what it reads and writes three times that and its number.
fn run(task: usize, keys: &[KeyAccess], cells: &Cells<u64>) {
    let mut sum = task as u64 + 1;
    for access in keys {
        // SAFETY: the lock table granted the key for reading or writing; that this is enough is
        // what the model checks.
        sum += unsafe { cells.read(access.key, |value| *value) };
    }
    for access in keys
        .iter()
        .filter(|access| access.mode == AccessMode::Write)
    {
        // SAFETY: granted for writing.
        unsafe { cells.write(access.key, |value| *value = sum * 3) };
    }
}

fn work(shared: &Shared, tasks: &[Vec<KeyAccess>]) {
    loop {
        let task = {
            let mut scheduler = shared.scheduler.lock().unwrap();
            if scheduler.unfinished == 0 {
                return;
            }
            scheduler.ready.pop_front()
        };
        let Some(task) = task else {
            thread::yield_now();
            continue;
        };
        let keys = &tasks[task.index()];
        run(task.index(), keys, &shared.cells);
        let mut scheduler = shared.scheduler.lock().unwrap();
        let mut runnable = Vec::new();
        scheduler
            .locks
            .release(task, Access::Keys(keys), &mut runnable);
        scheduler.ready.extend(runnable);
        scheduler.unfinished -= 1;
    }
}

fn check(keys: usize, tasks: Vec<Vec<(usize, AccessMode)>>) {
    let tasks: Vec<Vec<KeyAccess>> = tasks
        .into_iter()
        .map(|task| {
            task.into_iter()
                .map(|(key, mode)| KeyAccess {
                    key: KeyId::from_index(key),
                    mode,
                })
                .collect()
        })
        .collect();
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(move || {
        let mut serial = Cells::new();
        for _ in 0..keys {
            serial.push(0);
        }
        for (task, keys) in tasks.iter().enumerate() {
            run(task, keys, &serial);
        }

        let cells = Cells::new();
        for _ in 0..keys {
            cells.push(0);
        }
        let mut locks = LockTable::new();
        let mut ready = VecDeque::new();
        for (task, keys) in tasks.iter().enumerate() {
            let task = TaskId::from_index(task);
            if locks.acquire(task, Access::Keys(keys)) {
                ready.push_back(task);
            }
        }
        let shared = Arc::new(Shared {
            cells,
            scheduler: Mutex::new(Scheduler {
                locks,
                ready,
                unfinished: tasks.len(),
            }),
        });
        let helper = {
            let (shared, tasks) = (Arc::clone(&shared), tasks.clone());
            thread::spawn(move || work(&shared, &tasks))
        };
        work(&shared, &tasks);
        helper.join().unwrap();
        let Shared { mut cells, .. } = Arc::try_unwrap(shared)
            .ok()
            .expect("the other thread has ended");
        for key in (0..keys).map(KeyId::from_index) {
            assert_eq!(cells.get_mut(key), serial.get_mut(key), "cell {key}");
        }
    });
}

use AccessMode::{Read, Write};

#[test]
fn a_chain_of_writers() {
    check(
        1,
        vec![vec![(0, Write)], vec![(0, Write)], vec![(0, Write)]],
    );
}

#[test]
fn readers_between_writers() {
    check(
        1,
        vec![
            vec![(0, Write)],
            vec![(0, Read)],
            vec![(0, Read)],
            vec![(0, Write)],
        ],
    );
}

#[test]
fn tasks_that_cross() {
    check(
        2,
        vec![
            vec![(0, Write), (1, Read)],
            vec![(0, Read), (1, Write)],
            vec![(0, Write), (1, Write)],
        ],
    );
}
